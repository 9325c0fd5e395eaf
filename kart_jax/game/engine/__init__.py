"""All that touches pystk2 and its data. Nothing here imports JAX."""
