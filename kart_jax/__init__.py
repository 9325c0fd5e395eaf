"""kart_jax: reinforcement learning that races the real SuperTuxKart from pixels, in JAX.

Importing the package imports no JAX, so that worker processes start fast.
"""

from typing import TYPE_CHECKING, Any

from kart_jax.registration import register_envs

if TYPE_CHECKING:
    from kart_jax.policy.policy import load_policy

__all__ = ["load_policy"]
__version__ = "0.1.0"

register_envs()


def __getattr__(name: str) -> Any:
    if name == "load_policy":
        from kart_jax.policy.policy import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
