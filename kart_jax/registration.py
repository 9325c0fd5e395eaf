"""Makes `gymnasium.make("kart_jax/SuperTuxKart-v0")` work; imports neither game nor JAX."""

from gymnasium.envs.registration import register, registry

ENV_ID = "kart_jax/SuperTuxKart-v0"


def register_envs() -> None:
    """Register the environment, once."""
    if ENV_ID not in registry:
        # Animated textures follow the wall clock, so frames of equal states differ.
        register(id=ENV_ID, entry_point="kart_jax.game:make", nondeterministic=True)
