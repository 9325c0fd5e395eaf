"""One whole update as training makes it, but for the races."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator.presets import preset, random_seen, with_rollout
from benchmarks.accelerator.process import attempt
from kart_jax.config import TrainConfig
from kart_jax.ppo.update import Outcomes
from kart_jax.training.devices import Devices, prepare_jax
from kart_jax.training.loop import make_learner

SHORT = 4
"""Steps, and minibatches, of the preset `reference`: its 256 gradient steps take minutes."""


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each preset."""
    prepare_jax()
    for name in ("reference",) if small else ("gpu", "reference"):
        config = preset(name, small)
        if name == "reference" and not small:
            config = with_rollout(config, SHORT, SHORT)
        known = {
            "preset": name,
            "environments": config.workers.num_envs,
            "rollout": config.ppo.rollout_length,
        }
        yield attempt(known, partial(measure, config, 1 if name == "reference" else None))


def measure(config: TrainConfig, epochs: int | None = None) -> dict[str, float]:
    """Return seconds of the parts of an update, and the policy steps per second they allow."""
    config = replace(config, ppo=replace(config.ppo, epochs=epochs or config.ppo.epochs))
    envs, length = config.workers.num_envs, config.ppo.rollout_length
    seen, first = random_seen(config, envs), np.zeros(envs, bool)
    outcomes = Outcomes(
        rewards=np.random.default_rng(0).normal(size=(length, envs)).astype(np.float32),
        terminated=np.zeros((length, envs), bool),
        truncated=np.zeros((length, envs), bool),
    )
    ours = make_learner(config, Devices())
    rollouts = ours.create_rollouts(envs, groups=1)

    def update() -> dict[str, float]:
        nonlocal rollouts
        marks = [time.perf_counter()]

        def mark(wait_for: Any) -> None:
            jax.block_until_ready(wait_for)
            marks.append(time.perf_counter())

        actor = ours.actor()
        for _ in range(length):
            rollouts[0], _ = ours.act(actor, rollouts[0], seen, first)
        mark(rollouts)
        begun, rollouts = ours.begin_update(rollouts, [outcomes], [(seen, first)], 0, 1)
        mark(rollouts)
        begun.finish(lambda: None)
        mark(ours.state)
        act, prepare, learn = np.diff(marks).tolist()
        return {
            "act_s": act,
            "prepare_s": prepare,
            "learn_s": learn,
            "samples": envs * length,
            "gradient_steps": config.ppo.gradient_steps,
            "steps_per_s": envs * length / (marks[-1] - marks[0]),
        }

    update()
    return update()
