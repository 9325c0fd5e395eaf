"""A policy in int8: convolutions multiply int8 by int8 and add up in int32.

Weights have one scale per output channel, what a convolution reads has one per tensor, found on
recorded frames; both are symmetric, real = scale x integer (Jacob et al. 2018, arXiv 1712.05877,
without zero points). Norms, biases and the two linear layers stay in their own precision.

google/qwix (0.1.8) is no substitute yet. It recognises weights only where an operation gets them
whole, and ours are sliced or reshaped first; it fails on blocks that `nn.scan` stacks; and its
convolution is XLA's, several times as slow in int8 on a CPU as the matrix products here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from kart_jax.policy.config import Shape
from kart_jax.policy.convolution import by_tiles, by_time, meets_tiles, patches
from kart_jax.policy.network import Conv
from kart_jax.policy.observation import FRAMES
from kart_jax.policy.policy import Policy
from kart_jax.validation import UserError

LARGEST = 127
"""Integers lie in [-127, 127]."""
TINY = 1e-12
"""The smallest scale: a channel or an input that is always zero has one too."""
CHUNK = 64
"""Stacks that calibration passes through the network at once."""

Interceptor = Callable[[Callable[..., Any], Any, Any, nn.module.InterceptorContext], Any]


class QuantisedPolicy(Policy):
    """A `Policy` whose convolutions are int8; its variables come from `quantise`."""

    def __init__(self, policy: Policy, variables: Any) -> None:
        super().__init__(policy.spec, variables, policy.race)
        self._quantise()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._quantise()

    def _quantise(self) -> None:
        """Have the network's convolutions multiply in int8."""
        network = self.spec.module()

        def apply(variables: Any, **inputs: Any) -> Any:
            with nn.intercept_methods(_instead_of_convolutions(_int8)):
                return network.apply(variables, **inputs)

        self._apply = jax.jit(apply, static_argnames="critic")


def quantise(policy: Policy, frames: np.ndarray) -> QuantisedPolicy:
    """Return the policy with int8 convolutions, calibrated on frames of its own races.

    Args:
        policy: the policy; it is left as it was.
        frames: `[N, S, H, W, C]` uint8. Larger values than theirs are cut off later, so let them
            come from whole episodes.

    Raises:
        ValueError: there are no frames, or they are not what the policy takes.
    """
    if policy.spec.network.actor != FRAMES:
        raise UserError("this policy sees no frames: it has no convolutions")
    frames = policy.batch(frames)[FRAMES]
    if len(frames) == 0:
        raise UserError("no frames to calibrate on: record some of the policy's own races")
    params = flatten_dict(policy.variables["params"])
    scales = flatten_dict(_input_scales(policy, frames))
    for *module, _ in list(scales):
        kernel = params[*module, "kernel"]
        # [..., 3, 3, 3, I, O]; blocks of one stage share an array and lie along its first axis.
        scale = _scale(jnp.abs(kernel).max(axis=(-5, -4, -3, -2)))
        scales[*module, "kernel"] = scale
        params[*module, "kernel"] = _rounded(kernel, scale[..., None, None, None, None, :])
    return QuantisedPolicy(
        policy,
        {**policy.variables, "params": unflatten_dict(params), "scales": unflatten_dict(scales)},
    )


def _input_scales(policy: Policy, frames: np.ndarray) -> Any:
    """For each convolution, the scale of what it reads when the network sees `frames`."""
    network = policy.spec.module()

    @jax.jit
    def scales(variables: Any, frames: jax.Array) -> Any:
        with nn.intercept_methods(_instead_of_convolutions(_record)):
            seen: dict[str, Any] = {"frames": frames, "critic": policy.has_value}
            return network.apply(variables, **seen, mutable=["scales"])[1]["scales"]

    chunks = (frames[i : i + CHUNK] for i in range(0, len(frames), CHUNK))
    found = [scales(policy.variables, chunk) for chunk in chunks]
    return jax.tree.map(lambda *each: jnp.stack(each).max(axis=0), *found)


def _instead_of_convolutions(replacement: Callable[[Conv, jax.Array], Any]) -> Interceptor:
    """Call `replacement(conv, x)` in place of each `Conv`; the `Conv` runs where it is None."""

    def intercept(
        call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        if not isinstance(context.module, Conv) or context.method_name != "__call__":
            return call(*args, **kwargs)
        y = replacement(context.module, *args)
        return call(*args, **kwargs) if y is None else y

    return intercept


def _record(conv: Conv, x: jax.Array) -> None:
    conv.put_variable("scales", "input", _scale(jnp.abs(x).max().astype(jnp.float32)))


def _int8(conv: Conv, x: jax.Array) -> jax.Array:
    """Return `conv` of `x [B, T, H, W, C]`, with an int8 kernel."""
    params, scales = conv.variables["params"], conv.variables["scales"]
    x = _rounded(x.astype(jnp.float32), scales["input"])
    sums = int8_conv3d(x, params["kernel"], conv.strides, conv.padding)
    y = sums * (scales["input"] * scales["kernel"])
    return (y + params.get("bias", 0.0)).astype(conv.dtype)


def int8_conv3d(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve int8 `x [B, T, H, W, I]` with int8 `kernel [3, 3, 3, I, O]` to int32.

    On the CPU by matrix products: XLA's convolution of integers is slower there than of floats.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(int8_by_products, strides=strides, padding=padding),
        default=partial(int8_by_convolutions, strides=strides, padding=padding),
    )


def int8_by_products(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Compute `int8_conv3d` as matrix products over tiles, or over 3 x 3 patches."""
    multiply = partial(jnp.matmul, preferred_element_type=jnp.int32)
    if meets_tiles(strides):
        return by_tiles(x, kernel, strides, padding, multiply)

    def convolve(
        x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int
    ) -> jax.Array:
        return multiply(patches(x, strides, padding), kernel.reshape(-1, kernel.shape[-1]))

    return by_time(x, kernel, strides, padding, convolve)


def int8_by_convolutions(
    x: jax.Array, kernel: jax.Array, strides: Shape, padding: int
) -> jax.Array:
    """Compute `int8_conv3d` as XLA's 2-D convolutions."""

    def convolve(
        x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: int
    ) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            preferred_element_type=jnp.int32,
        )

    return by_time(x, kernel, strides, padding, convolve)


def _scale(largest: jax.Array) -> jax.Array:
    return jnp.maximum(largest / LARGEST, TINY)


def _rounded(x: jax.Array, scale: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(x / scale), -LARGEST, LARGEST).astype(jnp.int8)
