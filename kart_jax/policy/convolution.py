"""One 3-D convolution over time, height and width, written in the way each kind of device likes.

All formulations mean the same and agree to rounding, gradients included.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from kart_jax.policy.config import KERNEL, Shape

MOST_PATCH_VALUES = 64
"""Values in a 3 x 3 patch up to which the kernel's gradient is a matrix product on the CPU."""

Formulation = Callable[[jax.Array, jax.Array, Shape, int], jax.Array]
Convolution2D = Callable[[jax.Array, jax.Array, tuple[int, ...], int], jax.Array]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv3d(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve `x [B, T, H, W, I]` with `kernel [3, 3, 3, I, O]`, zero padded on all three axes.

    The formulation is chosen for the platform that the program is lowered for.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(on_cpu, strides=strides, padding=padding),
        cuda=partial(on_cuda, strides=strides, padding=padding),
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
        cpu=partial(gradients, on_cpu),
        cuda=partial(gradients, on_cuda),
        default=partial(gradients, native_in_space),
    )


# The choice has a gradient of its own because that of `platform_dependent` keeps what the
# backward pass of every formulation needs, not only the chosen one's.
conv3d.defvjp(_forward, _backward)


def on_cpu(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve by what XLA's CPU compiler makes fastest, gradients included."""
    if meets_tiles(strides):
        return by_tiles(x, kernel, strides, padding)
    return by_time(x, kernel, strides, padding, _cpu_conv2d)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def on_cuda(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve by what cuDNN makes fastest, gradients included.

    XLA lays 3-D convolutions out with channels first, which cuDNN transposes, and hands it the
    kernel's gradient as a convolution with the whole picture for a kernel, 20 times slower.
    """
    return by_time(x, kernel, strides, padding)


def _cuda_forward(
    x: jax.Array, kernel: jax.Array, strides: Shape, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return on_cuda(x, kernel, strides, padding), (x, kernel)


def _cuda_backward(
    strides: Shape, padding: int, residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    if max(strides) > 1:
        return jax.vjp(lambda x, k: by_time(x, k, strides, padding), x, kernel)[1](cotangent)
    # The transposition of `by_time` writes a frame's gradient once for each tap, and adds them up.
    flipped = kernel[::-1, ::-1, ::-1].swapaxes(3, 4)
    input_gradient = by_time(cotangent, flipped, strides, KERNEL - 1 - padding)
    _, transposed = jax.vjp(lambda k: by_time(x, k, strides, padding), kernel)
    return input_gradient, transposed(cotangent)[0]


on_cuda.defvjp(_cuda_forward, _cuda_backward)


def meets_tiles(strides: Shape) -> bool:
    """Return whether `by_tiles` fits these strides."""
    return strides[1:] == (KERNEL, KERNEL)


def native(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve by XLA's own 3-D convolution."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(padding, padding)] * 3,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def by_time(
    x: jax.Array,
    kernel: jax.Array,
    strides: Shape,
    padding: int,
    convolve: Convolution2D | None = None,
) -> jax.Array:
    """Convolve each output frame in 2-D, over the channels of all frames that it sees.

    Frames of padding are left out: with one frame, two thirds of the arithmetic.
    """
    convolve = convolve or _conv2d
    outputs = []
    for taps in _taps(x.shape[1], strides[0], padding):
        frames = jnp.concatenate([x[:, t] for t, _ in taps], axis=-1)
        slices = jnp.concatenate([kernel[k] for _, k in taps], axis=-2)
        outputs.append(convolve(frames, slices, strides[1:], padding))
    return jnp.stack(outputs, axis=1)


def by_tiles(
    x: jax.Array,
    kernel: jax.Array,
    strides: Shape,
    padding: int,
    multiply: Callable[[jax.Array, jax.Array], jax.Array] = jnp.matmul,
) -> jax.Array:
    """Convolve by one matrix product per output frame, over tiles that do not overlap.

    It needs strides in space as wide as the kernel. Tiles are assembled from whole rows:
    contiguous copies, where a transposition would move every value by itself.
    """
    x = jnp.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding), (0, 0)])
    batch, frames, height, width, channels = x.shape
    size = (batch, height // KERNEL, width // KERNEL)
    x = x[:, :, : size[1] * KERNEL, : size[2] * KERNEL]
    x = x.reshape(batch, frames, size[1], KERNEL, size[2], KERNEL * channels)
    # The gradient of `split` is one concatenation, that of slices a sum of padded arrays.
    rows = [
        [row[:, 0, :, 0] for row in lax.split(frame, (1,) * KERNEL, axis=3)]
        for frame in lax.split(x, (1,) * frames, axis=1)
    ]
    outputs = []
    for taps in _taps(frames, strides[0], padding):
        tiles = jnp.concatenate([row for t, _ in taps for row in rows[t]], axis=-1)
        slices = kernel[taps[0][1] : taps[-1][1] + 1].reshape(-1, kernel.shape[-1])
        outputs.append(multiply(tiles.reshape(-1, len(slices)), slices).reshape(*size, -1))
    return jnp.stack(outputs, axis=1)


def native_in_space(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve by XLA's own 3-D convolution, or by a 2-D one where one frame comes out."""
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


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _cpu_conv2d(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int
) -> jax.Array:
    """`_conv2d` with gradients that stay on the fast paths of XLA's CPU compiler.

    That compiler folds the transpositions of a gradient into the convolution's layout, for
    which it has nothing but a plain loop: a barrier keeps them apart. With strides, or with
    few values in a patch, matrix products are faster than any convolution.
    """
    return _conv2d(x, kernel, strides, padding)


def _cpu_conv2d_forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv2d(x, kernel, strides, padding), (x, kernel)


def _cpu_conv2d_backward(
    strides: tuple[int, ...],
    padding: int,
    residuals: tuple[jax.Array, jax.Array],
    cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    by_patches = partial(_conv2d_by_patches, strides=strides, padding=padding)
    if max(strides) > 1:
        _, transposed = jax.vjp(lambda x: by_patches(x, kernel), x)
        (input_gradient,) = transposed(cotangent)
    else:
        flipped = lax.optimization_barrier(kernel[::-1, ::-1].swapaxes(2, 3))
        input_gradient = _conv2d(cotangent, flipped, strides, KERNEL - 1 - padding)
    if max(strides) > 1 or x.shape[-1] * KERNEL**2 <= MOST_PATCH_VALUES:
        _, transposed = jax.vjp(lambda k: by_patches(x, k), kernel)
        (kernel_gradient,) = transposed(cotangent)
    else:
        # Channels take the place of observations, observations that of channels.
        images = lax.optimization_barrier(x.transpose(3, 1, 2, 0))
        filters = lax.optimization_barrier(cotangent.transpose(1, 2, 0, 3))
        kernel_gradient = _conv2d(images, filters, strides, padding).transpose(1, 2, 0, 3)
    return input_gradient, kernel_gradient


_cpu_conv2d.defvjp(_cpu_conv2d_forward, _cpu_conv2d_backward)


def _conv2d_by_patches(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int
) -> jax.Array:
    """`_conv2d` as a matrix product with every position's 3 x 3 surroundings side by side."""
    return patches(x, strides, padding) @ kernel.reshape(-1, kernel.shape[-1])


def patches(x: jax.Array, strides: tuple[int, ...], padding: int) -> jax.Array:
    """Return each position's 3 x 3 patch of `x [B, H, W, I]`: `[B, H', W', 9 I]`."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = (
        [slice(tap, size - KERNEL + tap + 1, stride) for tap in range(KERNEL)]
        for size, stride in zip(x.shape[1:3], strides, strict=True)
    )
    return jnp.concatenate([x[:, r, c] for r, c in product(rows, columns)], axis=-1)
