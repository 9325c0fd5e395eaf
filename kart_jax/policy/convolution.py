"""One 3-D convolution over time, height and width, written in the way each kind of device likes.

All formulations mean the same and agree to rounding, gradients included.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from kart_jax.policy.config import KERNEL, Shape

Formulation = Callable[[jax.Array, jax.Array, Shape, int], jax.Array]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv3d(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve `x [B, T, H, W, I]` with `kernel [3, 3, 3, I, O]`, zero padded on all three axes.

    The formulation is chosen for the platform that the program is lowered for.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(by_time, strides=strides, padding=padding),
        default=partial(native_in_space, strides=strides, padding=padding),
    )


def _forward(
    x: jax.Array, kernel: jax.Array, strides: Shape, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv3d(x, kernel, strides, padding), (x, kernel)


def _backward(
    strides: Shape, padding: int, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def gradients(
        formulation: Formulation, x: jax.Array, kernel: jax.Array, cotangent: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(lambda x, k: formulation(x, k, strides, padding), x, kernel)[1](cotangent)

    return lax.platform_dependent(
        *residuals,
        cotangent,
        cpu=partial(gradients, by_time),
        default=partial(gradients, native_in_space),
    )


# The choice has a gradient of its own because that of `platform_dependent` keeps what the
# backward pass of every formulation needs, not only the chosen one's.
conv3d.defvjp(_forward, _backward)


def native(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """XLA's own 3-D convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(padding, padding)] * 3,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def by_time(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """One 2-D convolution per output frame, over the channels of all frames that it sees.

    Frames of padding are left out: with one frame, two thirds of the arithmetic.
    """
    outputs = []
    for taps in _taps(x.shape[1], strides[0], padding):
        frames = jnp.concatenate([x[:, t] for t, _ in taps], axis=-1)
        slices = jnp.concatenate([kernel[k] for _, k in taps], axis=-2)
        outputs.append(_conv2d(frames, slices, strides[1:], padding))
    return jnp.stack(outputs, axis=1)


def native_in_space(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """XLA's own 3-D convolution, or where one frame comes out, the 2-D one that equals it."""
    one_frame = len(_taps(x.shape[1], strides[0], padding)) == 1
    return (by_time if one_frame else native)(x, kernel, strides, padding)


def _taps(frames: int, stride: int, padding: int) -> list[list[tuple[int, int]]]:
    """For each output frame, the (input frame, kernel slice) pairs that are not padding."""
    starts = range(-padding, frames + padding - KERNEL + 1, stride)
    return [[(s + k, k) for k in range(KERNEL) if 0 <= s + k < frames] for s in starts]


def _conv2d(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int) -> jax.Array:
    """Convolve `x [B, H, W, I]` with `kernel [3, 3, I, O]`."""
    pads = [(padding, padding)] * 2
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=layout)
