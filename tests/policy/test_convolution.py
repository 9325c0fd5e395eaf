"""All formulations of the convolution mean the same, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.accelerator.convolution import by_channels
from kart_jax.policy.convolution import (
    by_time,
    conv3d,
    native,
    native_in_space,
    on_cuda,
)

SHAPES = [
    ((2, 5, 9, 11, 3), 4, (2, 2, 2), 1),
    ((2, 3, 6, 7, 4), 4, (1, 1, 1), 1),
    ((2, 3, 7, 9, 4), 5, (3, 2, 3), 0),
    ((2, 1, 5, 6, 4), 2, (1, 1, 1), 1),
    ((1, 4, 6, 5, 2), 3, (2, 1, 2), 1),
    # On the CPU, as wide a stride as the kernel: tiles, with rows and columns left over or not.
    ((2, 5, 10, 14, 2), 3, (2, 3, 3), 1),
    ((2, 5, 11, 12, 2), 3, (2, 3, 3), 1),
    ((1, 3, 9, 11, 9), 4, (3, 3, 3), 0),
    # Stride 1 and many values in a patch: convolutions behind barriers.
    ((2, 3, 6, 7, 9), 3, (1, 1, 1), 1),
    ((2, 3, 6, 7, 9), 3, (1, 1, 1), 0),
    ((3, 1, 5, 4, 8), 1, (1, 1, 1), 1),
    # Strides and many values in a patch: matrix products.
    ((2, 5, 9, 8, 9), 3, (2, 2, 2), 1),
]


def values_and_gradients(formulation, shape, features, strides, padding):
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, shape[-1], features))

    @jax.jit
    def both(x, kernel):
        y, pull_back = jax.vjp(lambda x, k: formulation(x, k, strides, padding), x, kernel)
        return y, *pull_back(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    return both(x, kernel)


@pytest.mark.parametrize("formulation", [by_time, by_channels, native_in_space, on_cuda, conv3d])
@pytest.mark.parametrize(("shape", "features", "strides", "padding"), SHAPES)
def test_agrees_with_xla(formulation, shape, features, strides, padding):
    arguments = (shape, features, strides, padding)
    expected = values_and_gradients(native, *arguments)
    for ours, theirs in zip(values_and_gradients(formulation, *arguments), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_native_agrees_with_a_plain_sum():
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 3, 2))
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 2, 1))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    expected = [
        (padded[0, t : t + 3, i : i + 3, j : j + 3] * kernel[..., 0]).sum()
        for t in range(2)
        for i in range(3)
        for j in range(3)
    ]
    y = native(jnp.float32(x), jnp.float32(kernel), (1, 1, 1), 1)
    np.testing.assert_allclose(y.reshape(-1), expected, rtol=1e-4, atol=1e-5)


def gradient_program(shape, features, strides, padding, platform):
    """The gradient of `conv3d` as a platform's compiler is given it."""

    def loss(x, kernel):
        return jnp.square(conv3d(x, kernel, strides, padding)).sum()

    x, kernel = jnp.zeros(shape), jnp.zeros((3, 3, 3, shape[-1], features))
    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    return str(jax.export.export(step, platforms=[platform])(x, kernel).mlir_module())


def test_each_platform_gets_its_own_formulation():
    """On the CPU and on GPUs no 3-D convolution is left; a TPU gets one, also in its gradients."""
    arguments = (1, 3, 8, 8, 4), 4, (1, 1, 1), 1
    assert "[b, 0, 1, 2, f]" in gradient_program(*arguments, "tpu")
    assert "[b, 0, 1, 2, f]" not in gradient_program(*arguments, "cuda")
    assert "[b, 0, 1, 2, f]" not in gradient_program(*arguments, "cpu")


@pytest.mark.parametrize(
    ("channels", "strides", "padding", "operations"),
    [
        # One frame comes out: one forward operation, one for each of the two gradients.
        (9, (3, 3, 3), 0, {"convolution": 0, "dot_general": 3, "optimization_barrier": 0}),
        (9, (3, 2, 2), 0, {"convolution": 1, "dot_general": 2, "optimization_barrier": 0}),
        (9, (3, 1, 1), 0, {"convolution": 3, "dot_general": 0, "optimization_barrier": 3}),
        (2, (3, 1, 1), 0, {"convolution": 2, "dot_general": 1, "optimization_barrier": 1}),
    ],
    ids=["tiles", "strided", "barriers", "few values in a patch"],
)
def test_gradients_on_the_cpu_take_their_path(channels, strides, padding, operations):
    """Nothing that its compiler only has a plain loop for: no dilation, no folded transposition."""
    text = gradient_program((2, 3, 9, 9, channels), 4, strides, padding, "cpu")
    counts = {name: text.count(f"stablehlo.{name}") for name in operations}
    assert counts == operations
    assert "lhs_dilate" not in text
