"""All that knows SuperTuxKart. Nothing here imports JAX."""

from typing import Any

import gymnasium as gym

from kart_jax.game.config import RaceConfig

__all__ = ["RaceConfig", "make_env"]


def make_env(config: RaceConfig | None = None, render_mode: str | None = None) -> gym.Env[Any, Any]:
    """The environment of a configuration, on the real game or the fake one."""
    config = config or RaceConfig()
    if config.simulator == "fake":
        from kart_jax.game.fake import FakeKartEnv

        return FakeKartEnv(config, render_mode)
    from kart_jax.game.env import KartEnv

    return KartEnv(config, render_mode)
