"""One 3-D convolution over time, height and width."""

import jax
from jax import lax

from kart_jax.policy.config import Shape


def conv3d(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve `x [B, T, H, W, I]` with `kernel [3, 3, 3, I, O]`, zero padded on all three axes."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(padding, padding)] * 3,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )
