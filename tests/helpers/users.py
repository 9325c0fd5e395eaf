"""What users do with the environment, in processes of their own: plain functions."""

import warnings
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import env_checker
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.wrappers import RecordEpisodeStatistics

from kart_jax.game import RaceConfig
from kart_jax.game.env import KartEnv

FORWARD = [1, 0, 1, 0, 0, 0, 0]


def count_return(options: dict[str, Any]) -> tuple[tuple[float, int], dict[str, Any]]:
    """An episode with Gymnasium's statistics around: return and length as seen, the last info."""
    env = RecordEpisodeStatistics(gymnasium.make("kart_jax/SuperTuxKart-v0", **options))
    env.reset(seed=0)
    total, steps, ended = 0.0, 0, False
    while not ended:
        *_, reward, terminated, truncated, info = env.step([1, 1])
        total, steps, ended = total + float(reward), steps + 1, terminated or truncated
    env.close()
    return (total, steps), info


def count_return_in_workers(options: dict[str, Any]) -> dict[str, Any]:
    """The infos at the end of two episodes in Gymnasium's own workers."""
    make = partial(_with_statistics, options)
    envs = AsyncVectorEnv(
        [make, make], context="spawn", autoreset_mode=AutoresetMode.SAME_STEP, shared_memory=False
    )
    envs.reset(seed=0)
    infos: dict[str, Any] = {}
    while "final_info" not in infos:
        *_, infos = envs.step(np.ones((2, 2), int))
    envs.close()
    return infos


def _with_statistics(options: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    return RecordEpisodeStatistics(gymnasium.make("kart_jax/SuperTuxKart-v0", **options))


def check_env(options: dict[str, Any]) -> None:
    """Gymnasium's checks as its documents call them."""
    env = gymnasium.make("kart_jax/SuperTuxKart-v0", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of spaces that are no images of its own size
        env_checker.check_env(env.unwrapped)


def drop_and_make_again(config: RaceConfig) -> list[bool]:
    """Begin races in environments that are dropped, also in a circle of references."""
    begun = []
    for circle in (False, True, False):
        env = KartEnv(config)
        frames, _ = env.reset(seed=0)
        begun.append(bool(frames.max() > 0))
        if circle:
            env.itself = env  # type: ignore[attr-defined]
    env.step(FORWARD)
    return begun


def sample(config: RaceConfig, count: int) -> list[list[int]]:
    """What the user's seeded action space gives."""
    env = KartEnv(config)
    env.action_space.seed(7)
    return [env.action_space.sample().tolist() for _ in range(count)]


def sample_around_a_reset(config: RaceConfig, count: int) -> list[list[int]]:
    """The same, with a start in between, and another environment that is seeded."""
    env = KartEnv(config)
    env.action_space.seed(7)
    KartEnv(config).action_space.seed(8)
    env.reset(seed=0)
    taken = [env.action_space.sample().tolist() for _ in range(count)]
    env.close()
    return taken


def step_with_jax_arrays(config: RaceConfig) -> None:
    """Step with what is no NumPy array."""
    import jax.numpy as jnp

    env = KartEnv(config)
    env.reset(seed=0)
    env.step(jnp.array(FORWARD))
    env.step(list(FORWARD))
    with pytest.raises(ValueError, match="action = "):
        env.step(jnp.array(FORWARD) + 9)
    env.close()


def paint_over(config: RaceConfig) -> tuple[Any, Any]:
    """Black out an observation; it, and what is drawn of the same moment."""
    env = KartEnv(config, render_mode="rgb_array")
    frames, _ = env.reset(seed=0)
    frames[:] = 0
    drawn = env.render()
    env.close()
    return frames, drawn
