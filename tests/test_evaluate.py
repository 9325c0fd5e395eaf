"""Evaluation from the command line, on the fake game and, where it is there, the real one."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kart_jax import evaluate
from kart_jax.cli.command import INTERRUPTED
from kart_jax.evaluate import EvaluateConfig, main
from kart_jax.evaluation import trials
from kart_jax.evaluation.trials import Driver, Trial, TrialResult, make_trial, run_trials
from kart_jax.game import RaceConfig
from tests.helpers.tiny import RACE, write_tiny_policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_policy(tmp_path_factory.mktemp("policies") / "tiny"))


def test_the_report_has_every_track_driver_and_episode(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out.json"
    command = f"{policy} --tracks bends other --episodes 3 --baseline-episodes 1 --json {path}"
    assert main(command.split()) == 0
    report = json.loads(path.read_text())
    assert list(report["tracks"]) == ["bends", "other"]
    for track, figures in report["tracks"].items():
        assert [e["seed"] for e in figures["episodes"]] == [0, 1, 2]
        assert {e["track"] for e in figures["episodes"]} == {track}
        mean = sum(e["progress_m"] for e in figures["episodes"]) / 3
        assert figures["progress_mean"] == pytest.approx(mean)
        drivers = {"ai 0", "ai 1", "ai 2", "ai 3", "guide", "straight", "random"}
        assert set(figures["baselines"]) == drivers
        assert all(f["count"] == 1 for f in figures["baselines"].values())
        for name in ("finish_rate", "lap_time_mean", "lap_time_best"):
            assert name in figures
    printed = capsys.readouterr()
    assert "bends, difficulty 2, 0 opponents" in printed.out
    assert "straight" in printed.out
    plan, *progress = printed.err.splitlines()
    assert plan.startswith("driving 6 episodes of the policy and 14 of other drivers")
    assert plan.endswith("on bends, other")
    assert len(progress) == 20


def test_an_interrupt_shows_the_table_so_far(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_one(*arguments: Any) -> Iterator[TrialResult]:
        yield from islice(run_trials(*arguments), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "run_trials", run_one)
    path = tmp_path / "out.json"
    command = f"{policy} --tracks bends,other --episodes 1 --workers 1 --json {path}"
    assert main(command.split()) == INTERRUPTED
    printed = capsys.readouterr()
    assert "bends, difficulty" in printed.out
    assert "other, difficulty" not in printed.out
    assert "interrupted after 1 of 72 episodes" in printed.err
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("POLICY --json /no/such/folder/out.json", "a file in a folder that exists"),
        ("POLICY --tracks", "tracks = () is not allowed"),
        ("POLICY --episodes 0", "episodes = 0 is not allowed"),
        ("POLICY --seed -1", "seed = -1 is not allowed"),
        ("POLICY --opponents 20", "opponents = 20 is not allowed"),
        ("POLICY --difficulty 4", "difficulty = 4 is not allowed"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(
    arguments: str, message: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:  # which the command line's parser raises itself
        raise SystemExit(main(arguments.replace("POLICY", policy).split()))
    assert refusal.value.code in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.real_game
def test_an_unknown_track_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    race = RaceConfig(height=RACE.height, width=RACE.width, stack=3, action_set="drive")
    policy = write_tiny_policy(tmp_path / "tiny", race)
    assert main([str(policy), "--tracks", "nowhere"]) == 1
    assert "lighthouse" in capsys.readouterr().err


@pytest.mark.real_game
def test_the_human_record_is_told_beside_the_drivers(tmp_path: Path) -> None:
    race = RaceConfig(
        observation="state", action_set="drive", track=("olivermath",), time_limit=2.0
    )
    config = EvaluateConfig("none", episodes=1, baseline_episodes=1)
    trial = make_trial("policy", "olivermath", 0, 2, 1)
    results = list(run_trials(race, [trial], lambda seen: np.ones((len(seen["state"]), 2), int), 1))
    figures = evaluate.report(config, race, results)["tracks"]["olivermath"]["baselines"]
    record = figures["human record 3"]
    assert record["count"] == record["finish_rate"] == 1
    assert record["lap_time_mean"] == pytest.approx(10.9, abs=0.2)
    assert record["progress_mean"] == pytest.approx(496, abs=3)
    assert len(record["episodes"][0]["path"]) == 23


@pytest.mark.real_game
def test_real_races_with_opponents_end_and_are_told(tmp_path: Path) -> None:
    race = RaceConfig(
        height=RACE.height, width=RACE.width, stack=3, action_set="drive", time_limit=3.0
    )
    policy = write_tiny_policy(tmp_path / "tiny", race)
    path = tmp_path / "out.json"
    command = f"{policy} --episodes 2 --baseline-episodes 1 --opponents 1 --json {path}"
    assert main(command.split()) == 0
    figures = json.loads(path.read_text())["tracks"]["lighthouse"]
    assert len(figures["outline"]) > 10
    straight = figures["baselines"]["straight"]["episodes"][0]
    start, end = straight["path"][0], straight["path"][-1]
    assert 10 < ((start[0] - end[0]) ** 2 + (start[1] - end[1]) ** 2) ** 0.5 < 100
    fast, slow = (figures["baselines"][f"ai {d}"]["progress_mean"] for d in (2, 0))
    assert fast > slow > 10


def test_drivers_get_processes_that_can_have_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that has had another driver would refuse it; only the policy's draws."""
    together: list[list[Driver]] = []

    def run_once(_: Any, some: Sequence[Trial], *__: Any) -> Iterator[tuple[int, TrialResult]]:
        together.append([trial.driver for trial in some])
        yield from ((number, TrialResult(trial, {})) for number, trial in enumerate(some))

    monkeypatch.setattr(trials, "_run_once", run_once)
    drivers: list[Driver] = ["policy", "ai", "guide", "ai"]
    asked = [make_trial(driver, "bends", 0, 2, 1) for driver in drivers]
    results = list(run_trials(RACE, asked, lambda frames: frames))
    assert together == [["policy"], ["ai", "ai"], ["guide"]]
    assert sorted(r.trial.driver for r in results) == sorted(drivers)
