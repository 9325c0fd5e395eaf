"""One convolution of a preset's early blocks, and its two gradients, by formulation."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.accelerator.network import layers_of
from benchmarks.accelerator.presets import preset
from benchmarks.accelerator.process import attempt
from benchmarks.network import best_ms
from kart_jax.policy.config import KERNEL, Shape
from kart_jax.policy.convolution import Formulation, by_time, native, on_cpu, on_cuda
from kart_jax.training.devices import prepare_jax

STRIDES, PADDING = (1, 1, 1), 1
BATCHES = {"gpu": 256, "reference": 4}
SMALL = {"gpu": 2}
SECONDS = 0.15


def by_channels(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve once in 2-D, from the channels of all frames to those of all output frames.

    An output frame multiplies the frames that it does not see by zeros. With few channels that may
    cost less than what `by_time` copies.
    """
    batch, frames, height, width, channels = x.shape
    starts = range(-padding, frames + padding - KERNEL + 1, strides[0])
    zeros = jnp.zeros_like(kernel[0])
    kernels = jnp.concatenate(
        [
            jnp.concatenate(
                [kernel[t - s] if 0 <= t - s < KERNEL else zeros for t in range(frames)], axis=-2
            )
            for s in starts
        ],
        axis=-1,
    )
    x = x.transpose(0, 2, 3, 1, 4).reshape(batch, height, width, frames * channels)
    layout = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        x, kernels, strides[1:], [(padding, padding)] * 2, dimension_numbers=layout
    )
    return y.reshape(*y.shape[:3], len(starts), -1).transpose(0, 3, 1, 2, 4)


FORMULATIONS: dict[str, Formulation] = {
    "on_cuda": on_cuda,
    "by_time": by_time,
    "by_channels": by_channels,
    "native": native,
    "on_cpu": on_cpu,
}


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each preset and formulation."""
    prepare_jax()
    names = [name for name in FORMULATIONS if (name == "on_cpu") <= small]
    for preset_name, batch in (SMALL if small else BATCHES).items():
        (early,) = (x for x in layers_of(preset(preset_name, small)) if x.name == "early")
        shape = (batch, *early.output)
        for name in names:
            known = {"preset": preset_name, "x": " x ".join(map(str, shape)), "formulation": name}
            yield attempt(known, partial(measure, FORMULATIONS[name], shape))


def measure(formulation: Formulation, shape: tuple[int, ...]) -> dict[str, float]:
    """Return milliseconds and TFLOP/s of the convolution and its gradients, in bfloat16.

    Operations are those of all 27 taps, so that a formulation that leaves out padding gains.
    """
    channels = shape[-1]
    kernel_shape = (KERNEL, KERNEL, KERNEL, channels, channels)
    x, cotangent, kernel = (
        jax.random.normal(jax.random.key(n), size, jnp.bfloat16)
        for n, size in enumerate((shape, shape, kernel_shape))
    )

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return formulation(x, kernel, STRIDES, PADDING)

    def input_gradient(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: convolve(x, kernel), x)[1](cotangent)[0]

    def kernel_gradient(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](cotangent)[0]

    measured: dict[str, tuple[Callable[..., jax.Array], tuple[jax.Array, ...]]] = {
        "forward": (convolve, (x, kernel)),
        "input_gradient": (input_gradient, (x, kernel, cotangent)),
        "kernel_gradient": (kernel_gradient, (x, kernel, cotangent)),
    }
    tera = 2e-12 * x.size * channels * KERNEL**3
    row: dict[str, float] = {}
    for name, (function, arguments) in measured.items():
        compiled = jax.jit(function).lower(*arguments).compile()
        call = partial(lambda f, a: jax.block_until_ready(f(*a)), compiled, arguments)
        ms = best_ms(call, SECONDS)
        row |= {f"{name}_ms": ms, f"{name}_tflops": 1e3 * tera / ms}
    return row
