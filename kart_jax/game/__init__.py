"""All that knows SuperTuxKart. Nothing here imports JAX."""
