"""The presets that are measured, and what stands for them where sizes are small."""

from dataclasses import replace
from typing import Any

import numpy as np

from kart_jax.config import PRESETS, TrainConfig


def preset(name: str, small: bool) -> TrainConfig:
    """Return a preset, or the same with small frames and few channels."""
    config = PRESETS[name]
    if not small:
        return config
    return replace(
        config,
        race=replace(config.race, height=32, width=40),
        workers=replace(config.workers, num_envs=4),
        network=replace(config.network, channels=8, blocks=(1, 0), actor_channels=4),
        ppo=replace(config.ppo, rollout_length=8, minibatches=2),
    )


def with_rollout(config: TrainConfig, length: int, minibatches: int = 1) -> TrainConfig:
    """Return `config` with rollouts of another length."""
    ppo = replace(config.ppo, rollout_length=length, minibatches=minibatches)
    return replace(config, ppo=ppo)


def random_seen(config: TrainConfig, envs: int) -> dict[str, Any]:
    """Return a step of random frames `[B, H, W, C]`, and states `[B, D]`, on the host."""
    race, random = config.race, np.random.default_rng(0)
    shape = (envs, race.height, race.width, race.channels)
    seen = {"frames": random.integers(0, 256, shape, dtype=np.uint8)}
    if config.state_size:
        seen["state"] = random.normal(size=(envs, config.state_size)).astype(np.float32)
    return seen
