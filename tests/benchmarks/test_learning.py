"""Curves of runs that imitate first, and when they got where."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import learning
from benchmarks.learning import ends, milestones, record
from benchmarks.runs import Line, read_lines
from kart_jax.cli.options import parse
from kart_jax.config import TrainConfig


def updates(*steps: int) -> list[Line]:
    return [
        {
            "step": step,
            "wall_time": 1000.0 + step,
            "episode/progress_m": 100.0 + step,
            "episode/finish_rate": step / 100,
            "episode/finish_time": 100.0 - step,
        }
        for step in steps
    ]


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


def test_a_curve_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    curve = record("ours", 3, 1.5, lambda: updates(0, 60, 90, 100))
    assert curve["minutes"] == [0.0, 1.0, 1.5]
    assert ends(curve) | {"system": "ours", "seed": 3} == ends(curve)
    assert ends(curve)["progress_m"] == 190.0
    reached = {"200 m": None, "400 m": None, "first lap": 1.0, "90% of laps": 1.5}
    assert milestones(curve) == {"system": "ours", "seed": 3, **reached}
    # At 40 s few laps are finished: the mean of those is no lap time.
    assert milestones(curve, beat=45.0)["laps below 45 s"] == 1.0
    assert milestones(curve, beat=9.0)["laps below 9 s"] is None


def test_one_imitates_and_all_race_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[TrainConfig] = []

    def train(config: TrainConfig, *_: float) -> list[Line]:
        trained.append(config)
        return updates(1)

    monkeypatch.setattr(learning, "load_peer", lambda: SimpleNamespace(train=train))
    monkeypatch.setattr(learning, "train_ours", lambda arguments: train(parse(arguments)))
    flags = ["--imitation-steps", "3000", "--epochs", "2"]
    curves = learning.compare(flags, 1.0, [7], also_alone=True)
    assert [curve["system"] for curve in curves] == ["kart_jax", "kart_jax, PPO alone", "sb3"]
    ours, alone, theirs = trained
    assert alone == theirs
    assert (ours.imitation.imitation_steps, theirs.imitation.imitation_steps) == (3000, 0)
    assert ours.race == replace(alone.race, observation="both")
    assert ours.network == replace(alone.network, critic="state")
    assert ours.workers == alone.workers
    assert {config.run.seed for config in trained} == {7}
    assert {config.ppo.epochs for config in trained} == {2}


def test_a_run_without_an_episode_got_nowhere() -> None:
    curve = record("ours", 0, 1.0, lambda: [{"step": 1, "wall_time": 0.0}])
    assert ends(curve)["progress_m"] is None
    assert set(milestones(curve).values()) == {"ours", 0, None}
