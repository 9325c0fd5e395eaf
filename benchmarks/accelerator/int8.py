"""Policies in int8 beside their own arithmetic."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import jax
import numpy as np

from benchmarks import int8
from benchmarks.accelerator.presets import preset
from benchmarks.accelerator.process import attempt
from kart_jax.policy import quantised
from kart_jax.policy.policy import Policy
from kart_jax.policy.quantised import int8_by_products, quantise
from kart_jax.run_folder.source import policy_spec
from kart_jax.training.devices import prepare_jax

BATCHES = {"gpu": (32, 512), "reference": (4, 16)}
SMALL = {"gpu": (4,)}
SECONDS = 0.5


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each preset, arithmetic and batch."""
    prepare_jax()
    for name, batches in (SMALL if small else BATCHES).items():
        spec = policy_spec(preset(name, small))
        policy = Policy(spec, spec.init(jax.random.key(0)), race={})
        assert spec.observation_shape is not None
        shape = (4, *spec.observation_shape)
        frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        made: dict[str, tuple[Callable[[], Policy], Callable[..., Any]]] = {
            spec.network.dtype: (lambda policy=policy: policy, quantised.int8_conv3d),
            "int8": (partial(quantise, policy, frames), quantised.int8_conv3d),
            "int8, matrix products": (partial(quantise, policy, frames), int8_by_products),
        }
        for arithmetic, (make, convolution) in made.items():
            for batch in batches:
                known = {"preset": name, "arithmetic": arithmetic, "batch": batch}
                with mock.patch.object(quantised, "int8_conv3d", convolution):
                    yield attempt(known, partial(_time, make, policy, frames, batch, small))


def _time(
    make: Callable[[], Policy], policy: Policy, frames: np.ndarray, batch: int, small: bool
) -> dict[str, float]:
    (row,) = int8.measure(make(), policy, frames, [batch], 0.1 if small else SECONDS)
    return {"ms": row["ms"], "observations_per_s": 1e3 * batch / row["ms"]}
