"""kart_jax: reinforcement learning that races the real SuperTuxKart from pixels, in JAX.

Importing the package imports no JAX, so that worker processes start fast.
"""

from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register, registry

if TYPE_CHECKING:
    from kart_jax.run_folder.loading import load_policy

__all__ = ["load_policy"]
__version__ = "0.2.0"

ENV_ID = "kart_jax/SuperTuxKart-v0"
if ENV_ID not in registry:
    # Animated textures follow the wall clock, so frames of equal states differ.
    register(id=ENV_ID, entry_point="kart_jax.game:make", nondeterministic=True)


def __getattr__(name: str) -> Any:
    if name == "load_policy":
        from kart_jax.run_folder.loading import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
