"""Four races on five tracks of the fake game, as every kind of workers has them."""

from typing import Any

import numpy as np

from kart_jax.game import RaceConfig
from kart_jax.workers.config import WorkerConfig

RACE = RaceConfig(
    simulator="fake", track=("one", "two", "three", "four", "five"), action_set="drive", stack=3
)
MODES = [
    WorkerConfig(num_envs=4, groups=2),
    WorkerConfig(num_envs=4, groups=1),
    WorkerConfig(num_envs=4, groups=2, workers="serial"),
]
IDS = ["two groups", "one group", "serial"]


def actions(rng: np.random.Generator, count: int = 4) -> Any:
    """Draw actions `[count, 2]`: full throttle, any steering."""
    return np.stack([np.ones(count, int), rng.integers(3, size=count)], axis=1)
