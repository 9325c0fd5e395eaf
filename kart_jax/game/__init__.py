"""All that knows SuperTuxKart. Nothing here imports JAX."""

from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

import gymnasium as gym

from kart_jax.game.config import RaceConfig
from kart_jax.validation import UserError, check

__all__ = ["RaceConfig", "make", "make_env"]


def make_env(config: RaceConfig | None = None, render_mode: str | None = None) -> gym.Env[Any, Any]:
    """Make the environment of a configuration, on the real game or the fake one.

    Raises:
        ValueError: a value that the game cannot take; names the field and what is allowed.
        DataError: the game's data is missing or of another version.
    """
    config = config or RaceConfig()
    if config.simulator == "fake":
        from kart_jax.game.fake import FakeKartEnv

        return FakeKartEnv(config, render_mode)
    from kart_jax.game.env import KartEnv

    return KartEnv(config, render_mode)


def make(
    config: RaceConfig | None = None, render_mode: str | None = None, **options: Any
) -> gym.Env[Any, Any]:
    """Make the environment for `gymnasium.make`; `options` are fields of `RaceConfig`.

    Raises:
        ValueError: as `make_env`, or `RaceConfig` has no such field.
    """
    config = RaceConfig() if config is None else config
    check(isinstance(config, RaceConfig), "config", config, "a RaceConfig; fields go by name")
    known = [field.name for field in fields(RaceConfig)]
    for name in options:
        if name not in known:
            near = " or ".join(get_close_matches(name, known))
            raise UserError(
                f"RaceConfig has no field {name}: "
                + (f"did you mean {near}?" if near else "it has " + ", ".join(known))
            )
    return make_env(replace(config, **options), render_mode)
