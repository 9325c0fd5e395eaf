"""What the device reaches at best: matrix products and copies."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.process import attempt
from benchmarks.network import best_ms

SECONDS = 1.0
SIDES = {"bfloat16": 16384, "float32": 8192}
"""Rows and columns of the matrices."""
SMALL_SIDE = 256


def matmul(dtype: str, small: bool, precision: str | None = None) -> dict[str, float]:
    """Return milliseconds and TFLOP/s of a square matrix product.

    Without a `precision` it is JAX's own choice, which for float32 on an NVIDIA card is TF32, in
    convolutions too.
    """
    side = SMALL_SIDE if small else SIDES[dtype]
    x = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = jax.jit(partial(jnp.matmul, precision=precision))
    ms = best_ms(lambda: jax.block_until_ready(product(x, x)), 0.1 if small else SECONDS)
    return {"ms": ms, "tflops": 2 * side**3 / 1e9 / ms}


def memory_copy(size: int, seconds: float) -> dict[str, float]:
    """Return milliseconds and GB/s, read and written, of adding 1 to `size` bytes."""
    x = jnp.zeros(size // 4, jnp.float32)
    add = jax.jit(lambda x: x + 1)
    ms = best_ms(lambda: jax.block_until_ready(add(x)), seconds)
    return {"ms": ms, "gb_per_s": 2 * size / 1e6 / ms}


def copy_from_host(size: int, seconds: float) -> dict[str, float]:
    """Return milliseconds and GB/s of putting `size` bytes of a numpy array on the device."""
    x = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    ms = best_ms(lambda: jax.block_until_ready(jax.device_put(x)), seconds)
    return {"ms": ms, "gb_per_s": size / 1e6 / ms}


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each ceiling."""
    mega, seconds = 10**6, 0.1 if small else SECONDS
    for name, dtype, precision in (
        ("matrix product, bfloat16", "bfloat16", None),
        ("matrix product, float32", "float32", None),
        ("matrix product, float32, highest precision", "float32", "highest"),
    ):
        yield attempt({"ceiling": name}, partial(matmul, dtype, small, precision))
    size = 8 * mega if small else 4000 * mega
    known = {"ceiling": f"copy in memory, {size // mega} MB"}
    yield attempt(known, partial(memory_copy, size, seconds))
    for size in (mega, 8 * mega) if small else (mega, 16 * mega, 256 * mega):
        known = {"ceiling": f"copy from the host, {size // mega} MB"}
        yield attempt(known, partial(copy_from_host, size, seconds))
