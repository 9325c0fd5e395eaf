"""Acting, by the number of environments."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator.presets import preset, random_seen, with_rollout
from benchmarks.accelerator.process import attempt
from benchmarks.network import best_ms
from kart_jax.config import TrainConfig
from kart_jax.training.devices import Devices, prepare_jax
from kart_jax.training.learner import Learner
from kart_jax.training.loop import make_learner

ENVIRONMENTS = {"gpu": (8, 16, 32, 64, 128, 256), "reference": (8, 16, 64)}
SMALL = {"gpu": (8, 16)}
SECONDS = 0.5
LENGTH = 4
"""Steps of a rollout, which acting fills over and over."""


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each preset and number of environments."""
    prepare_jax()
    for name, counts in (SMALL if small else ENVIRONMENTS).items():
        config = with_rollout(preset(name, small), LENGTH)
        ours = make_learner(config, Devices())
        for envs in counts:
            known = {"preset": name, "environments": envs}
            yield attempt(known, partial(measure, ours, config, envs, 0.1 if small else SECONDS))


def measure(ours: Learner, config: TrainConfig, envs: int, seconds: float) -> dict[str, float]:
    """Return the time of a step of all environments, and of copying its frames."""
    seen, first = random_seen(config, envs), np.zeros(envs, bool)
    actor, (rollout,) = ours.actor(), ours.create_rollouts(envs, groups=1)

    def act() -> None:
        nonlocal rollout
        rollout, _ = ours.act(actor, rollout, seen, first)

    act_ms = best_ms(act, seconds)
    copy_ms = best_ms(lambda: jax.block_until_ready(ours.devices.shard(seen)), seconds)
    return {"act_ms": act_ms, "copy_ms": copy_ms, "steps_per_s": 1e3 * envs / act_ms}
