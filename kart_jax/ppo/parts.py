"""A gradient of many samples in parts, of which only one at a time takes memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def mean_over_parts(
    gradient: Callable[[Any, Any], Any], params: Any, samples: Any, parts: int
) -> Any:
    """The mean of `gradient(params, part)` over equal parts of samples, one after another.

    Args:
        gradient: what to average: a mean over its samples, such as `jax.grad` of a mean loss.
        params: its first argument.
        samples: arrays `[N, ...]`; each part has `[N / parts, ...]`.
        parts: a divisor of N.
    """
    if parts == 1:
        return gradient(params, samples)
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), samples)
    totals = jax.eval_shape(gradient, params, jax.tree.map(lambda x: x[0], split))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), totals)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, part)), None

    total, _ = jax.lax.scan(add, zeros, split)
    return jax.tree.map(lambda x: x / parts, total)
