"""Evaluation during training: when, what is best, and the end at a target."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from kart_jax.cli.command import UNFINISHED
from kart_jax.config import RunConfig, TrainConfig
from kart_jax.evaluation.evaluator import Evaluator
from kart_jax.policy.policy import PolicySpec
from kart_jax.ppo.config import PPOConfig
from kart_jax.run_folder import checkpoints
from kart_jax.training.signals import Interrupted
from kart_jax.workers.config import WorkerConfig
from tests.helpers.tiny import ACTIONS, NETWORK, RACE
from tests.helpers.tiny_run import metrics as read_metrics
from tests.helpers.tiny_run import train_in

CONFIG = TrainConfig(
    run=RunConfig(total_steps=96, eval_steps=32, eval_episodes=2, keep=1, quiet=True),
    race=RACE,
    workers=WorkerConfig(num_envs=2, groups=1, workers="serial"),
    network=NETWORK,
    ppo=PPOConfig(rollout_length=16, minibatches=1, epochs=1),
)


SPEC = PolicySpec(NETWORK, ACTIONS, CONFIG.observation_shape)


def metrics(rate: float, fraction: float, time: float | None = None) -> dict[str, float]:
    result = {
        "eval/finish_rate": rate,
        "eval/progress_fraction": fraction,
        "eval/progress_m": 200 * fraction,
        "eval/return": 0.0,
    }
    return result if time is None else {**result, "eval/finish_time": time}


def test_more_finishes_beat_more_progress_beat_less_time() -> None:
    better, best = Evaluator.is_better, metrics(0.5, 0.55, 39.0)
    assert not better(metrics(0.0, 0.5), metrics(0.0, 0.5))
    assert better(metrics(0.0, 0.6), metrics(0.0, 0.5))
    assert better(best, metrics(0.0, 0.6))
    assert better(best, metrics(0.5, 0.55, 40.0))
    assert not better(metrics(0.5, 0.55, 39.5), best)


def test_it_races_against_as_many_as_the_policy_trains_with() -> None:
    crowded = replace(CONFIG, race=replace(RACE, karts=3, start_position=0))
    assert {trial.karts for trial in Evaluator(crowded, SPEC)._trials} == {3}
    assert {trial.karts for trial in Evaluator(CONFIG, SPEC)._trials} == {1}


def test_it_races_the_weights_that_it_is_given() -> None:
    judge = Evaluator(CONFIG, SPEC)
    variables = SPEC.init(jax.random.key(0))
    for throttle, moves in (((9.0, 0.0), False), ((0.0, 9.0), True)):
        logits = {"kernel": 0 * variables["params"]["logits"]["kernel"]}
        logits["bias"] = np.array([*throttle, 0.0, 9.0, 0.0], np.float32)
        variables = {"params": {**variables["params"], "logits": logits}}
        assert (judge.evaluate(variables)["eval/progress_m"] > 1) is moves


@pytest.mark.parametrize(("target", "steps"), [(None, [96, 32]), (0.9, [64])])
def test_training_keeps_the_best_and_stops_at_the_target(
    target: float | None, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([0.5, 0.9, 0.4] if target else [0.5, 0.3, 0.4])
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: metrics(next(rates), 0.5, 30.0))
    run = replace(CONFIG.run, stop_at_finish_rate=target)
    train_in(tmp_path, replace(CONFIG, run=run))
    folder = tmp_path / "checkpoints"
    best = checkpoints.read_best(folder)
    assert best is not None
    assert best["step"] == steps[-1]
    assert checkpoints.steps(folder) == sorted(steps)
    assert checkpoints.find(tmp_path) == folder / str(steps[-1])
    assert checkpoints.latest(folder) == folder / str(steps[0])


def test_a_run_that_evaluates_no_more_says_that_its_best_is_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: metrics(0.5, 0.5, 30.0))
    run = replace(CONFIG.run, total_steps=32)
    train_in(tmp_path, replace(CONFIG, run=run))
    assert not caplog.records
    run = replace(run, run_dir=tmp_path, resume=True, eval_steps=0, total_steps=64)
    train_in(tmp_path, replace(CONFIG, run=run))
    assert "the best checkpoint stays that of step 32" in caplog.text
    assert checkpoints.find(tmp_path) == tmp_path / "checkpoints" / "32"
    assert checkpoints.latest(tmp_path / "checkpoints").name == "64"


def test_a_target_needs_evaluations() -> None:
    with pytest.raises(ValueError, match="eval_steps"):
        RunConfig(stop_at_finish_rate=0.9)


def test_what_could_not_be_saved_is_not_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the best policy is to be saved; a later, worse one is the best then."""
    rates = iter([0.9, 0.3, 0.4])
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: metrics(next(rates), 0.5, 30.0))
    write = checkpoints.Checkpoints._write

    def full_at_first(self: Any, checkpoint: Any, target: Path) -> None:
        if checkpoint.step == 32:
            raise OSError(28, "No space left on device")
        write(self, checkpoint, target)

    monkeypatch.setattr(checkpoints.Checkpoints, "_write", full_at_first)
    train_in(tmp_path, CONFIG)
    best = checkpoints.read_best(tmp_path / "checkpoints")
    assert best is not None
    assert (best["step"], best["metrics"]["eval/finish_rate"]) == (96, 0.4)


def test_an_evaluation_that_a_stop_cut_short_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def evaluate(self: Any, variables: Any) -> dict[str, float]:
        steps.append(len(steps))
        if len(steps) == 2:
            raise Interrupted
        return metrics(0.5, 0.5, 30.0)

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    train_in(tmp_path, CONFIG, UNFINISHED)
    assert checkpoints.latest(tmp_path / "checkpoints").name == "64"
    train_in(tmp_path, replace(CONFIG, run=replace(CONFIG.run, resume=True, run_dir=tmp_path)))
    evaluated = [line["step"] for line in read_metrics(tmp_path) if "eval/return" in line]
    assert evaluated == [32, 64, 96]
