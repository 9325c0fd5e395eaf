"""Evaluation during training: when, what is best, and the end at a target."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from kart_jax.config import RunConfig, TrainConfig
from kart_jax.evaluation.evaluator import Evaluator
from kart_jax.policy.policy import PolicySpec
from kart_jax.ppo.config import PPOConfig
from kart_jax.run_folder import checkpoints
from kart_jax.workers.config import WorkerConfig
from tests.helpers.tiny import ACTIONS, NETWORK, RACE

CONFIG = TrainConfig(
    run=RunConfig(total_steps=96, eval_steps=32, eval_episodes=2, keep=1, quiet=True),
    race=RACE,
    workers=WorkerConfig(num_envs=2, groups=1, workers="serial"),
    network=NETWORK,
    ppo=PPOConfig(rollout_length=16, minibatches=1, epochs=1),
)


def evaluator(best: dict[str, float] | None = None, **run: Any) -> Evaluator:
    config = replace(CONFIG, run=replace(CONFIG.run, **run))
    return Evaluator(config, PolicySpec(NETWORK, ACTIONS, config.observation_shape), best)


def metrics(rate: float, fraction: float, time: float | None = None) -> dict[str, float]:
    result = {
        "eval/finish_rate": rate,
        "eval/progress_fraction": fraction,
        "eval/progress_m": 200 * fraction,
        "eval/return": 0.0,
    }
    return result if time is None else {**result, "eval/finish_time": time}


def test_it_is_due_at_multiples_of_its_interval() -> None:
    due = [step for step in range(10, 100, 10) if evaluator().is_due(step - 10, step)]
    assert due == [40, 70]
    assert not evaluator(eval_steps=0).is_due(0, 1000)


def test_more_finishes_beat_more_progress_beat_less_time() -> None:
    judge = evaluator(best=metrics(0.0, 0.5))
    assert not judge.is_best(metrics(0.0, 0.5))
    assert judge.is_best(metrics(0.0, 0.6))
    assert judge.is_best(metrics(0.5, 0.55, 40.0))
    assert judge.is_best(metrics(0.5, 0.55, 39.0))
    assert not judge.is_best(metrics(0.5, 0.55, 39.5))


def test_it_races_the_weights_that_it_is_given() -> None:
    judge = evaluator()
    frames = np.zeros((1, *CONFIG.observation_shape), np.uint8)
    spec = PolicySpec(NETWORK, ACTIONS, CONFIG.observation_shape)
    variables = spec.module().init(jax.random.key(0), frames)
    for throttle, moves in (((9.0, 0.0), False), ((0.0, 9.0), True)):
        logits = {"kernel": 0 * variables["params"]["logits"]["kernel"]}
        logits["bias"] = np.array([*throttle, 0.0, 9.0, 0.0], np.float32)
        variables = {"params": {**variables["params"], "logits": logits}}
        assert (judge.evaluate(variables)["eval/progress_m"] > 1) is moves


@pytest.mark.parametrize(("target", "steps"), [(None, [96, 32]), (0.9, [64])])
def test_training_keeps_the_best_and_stops_at_the_target(
    target: float | None, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kart_jax.training.devices import Devices
    from kart_jax.training.trainer import Trainer

    rates = iter([0.5, 0.9, 0.4] if target else [0.5, 0.3, 0.4])
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: metrics(next(rates), 0.5, 30.0))
    run = replace(CONFIG.run, stop_at_finish_rate=target)
    assert Trainer(replace(CONFIG, run=run), tmp_path, Devices()).train()
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
    from kart_jax.training.devices import Devices
    from kart_jax.training.trainer import Trainer

    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: metrics(0.5, 0.5, 30.0))
    run = replace(CONFIG.run, total_steps=32)
    assert Trainer(replace(CONFIG, run=run), tmp_path, Devices()).train()
    assert not caplog.records
    run = replace(run, run_dir=tmp_path, resume=True, eval_steps=0, total_steps=64)
    assert Trainer(replace(CONFIG, run=run), tmp_path, Devices()).train()
    assert "the best checkpoint stays that of step 32" in caplog.text
    assert checkpoints.find(tmp_path) == tmp_path / "checkpoints" / "32"
    assert checkpoints.latest(tmp_path / "checkpoints").name == "64"


def test_a_target_needs_evaluations() -> None:
    with pytest.raises(ValueError, match="eval_steps"):
        RunConfig(stop_at_finish_rate=0.9)
