"""A policy of the fake game, too small to drive well, in seconds."""

from pathlib import Path

import jax
import jax.numpy as jnp

from kart_jax.config import TrainConfig
from kart_jax.game import RaceConfig
from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.exported import write_policy
from kart_jax.policy.policy import PolicySpec

RACE = RaceConfig(
    simulator="fake", track=("bends",), height=12, width=16, stack=3, action_set="drive"
)
NETWORK = NetworkConfig(
    channels=2,
    blocks=(0, 0),
    stem_stride=(1, 2, 2),
    middle_stride=(1, 1, 1),
    actor_channels=2,
    norm="none",
    dtype="float32",
)
ACTIONS = ActionSpec("multi_discrete", nvec=(2, 3))


def write_tiny_policy(folder: Path, race: RaceConfig = RACE) -> Path:
    """Export an untrained policy to a new folder."""
    config = TrainConfig(race=race, network=NETWORK)
    spec = PolicySpec(NETWORK, ACTIONS, config.observation_shape)
    frames = jnp.zeros((1, *config.observation_shape), jnp.uint8)
    variables = spec.module().init(jax.random.key(0), frames)
    folder.mkdir()
    write_policy(folder, spec, variables, config.to_dict(), step=0)
    return folder
