"""Who learns faster: runs that imitate first, how they compare, and races of their checkpoints."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import learning
from benchmarks.learning import Runner, runners
from benchmarks.runs import Line, read_lines
from kart_jax.cli.options import parse
from kart_jax.config import TrainConfig
from tests.benchmarks.test_curves import updates


def write(path: Path, lines: list[Line]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_imitation_comes_first_and_the_guides_driving_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", updates(10, 20))
    assert read_lines(tmp_path) == updates(10, 20)
    common = {"progress_m": 50.0, "finish_rate": 0.25}
    rounds = [
        {"guided": 1.0, "steps": 500, "seconds": 30.0, **common},
        {"guided": 0.1, "steps": 900, "seconds": 60.0, **common},
        {"guided": 0.0, "steps": 1300, "seconds": 90.0, **common},
    ]
    write(tmp_path / "imitation.jsonl", rounds)
    os.utime(tmp_path / "imitation.jsonl", (990.0, 990.0))  # when the last round ended
    first, *later = read_lines(tmp_path)
    figures = {"episode/progress_m": 50.0, "episode/finish_rate": 0.25}
    assert first == {"step": 1300, "wall_time": 990.0, **figures}
    assert later == [{**line, "step": 1300 + line["step"]} for line in updates(10, 20)]


def test_one_imitates_and_all_race_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained: list[TrainConfig] = []

    def train(config: TrainConfig, *_: object) -> list[Line]:
        trained.append(config)
        return updates(1)

    def train_in(run_dir: Path, arguments: Sequence[str]) -> list[Line]:
        return train(parse(arguments))

    peer = SimpleNamespace(train=train, load=train)
    monkeypatch.setattr(learning, "load_peer", lambda: peer)
    monkeypatch.setattr(learning, "train_in", train_in)
    flags = ["--imitation-steps", "3000", "--epochs", "2"]
    found = runners(flags, 1.0, [7], also_alone=True)
    assert [one.system for one in found] == ["kart_jax", "kart_jax, PPO alone", "sb3"]
    for one in found:
        one.run(1.0, 0)
    ours, alone, theirs = trained
    assert replace(alone, run=replace(alone.run, keep=theirs.run.keep)) == theirs
    assert (ours.imitation.imitation_steps, theirs.imitation.imitation_steps) == (3000, 0)
    assert ours.race == replace(alone.race, observation="both")
    assert ours.network == replace(alone.network, critic="state")
    assert ours.workers == alone.workers
    assert {config.run.seed for config in trained} == {7}
    assert {config.ppo.epochs for config in trained} == {2}


def test_checkpoints_race_greedily_from_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """One drives straight on and gets stuck; what was saved after the time is not raced."""
    config = parse(
        [
            "--simulator",
            "fake",
            "--action-set",
            "drive",
            "--observation",
            "frames",
            "--critic",
            "frames",
        ]
    )
    monkeypatch.setattr("time.time", lambda: 1000.0)

    def train(folder: Path) -> list[Line]:
        for step in (30, 60, 90):
            (folder / "saved" / str(step)).mkdir(parents=True)
        return updates(30, 60, 90)

    asked: list[str] = []

    def load(path: Path) -> object:
        asked.append(path.name)
        return lambda seen: np.tile([1, 1], (len(seen["frames"]), 1))

    curve = Runner("kart_jax", config, train, "saved", load).run(1.2, 2)
    assert asked == ["30", "60"]
    assert [race["steps"] for race in curve["greedy"]] == [30, 60]
    assert {race["finish_rate"] for race in curve["greedy"]} == {0.0}
    assert {race["finish_time"] for race in curve["greedy"]} == {None}
