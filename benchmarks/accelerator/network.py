"""A preset's network and PPO's gradient step, by batch, arithmetic and formulation."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from unittest import mock

import jax

from benchmarks.accelerator import ceilings
from benchmarks.accelerator.presets import preset, with_rollout
from benchmarks.accelerator.process import attempt
from benchmarks.memory import GradientStep, sizes_gb
from benchmarks.network import best_ms
from kart_jax import summary
from kart_jax.config import TrainConfig
from kart_jax.policy import network as network_module
from kart_jax.policy.config import Shape
from kart_jax.policy.convolution import (
    Formulation,
    by_tiles,
    by_time,
    meets_tiles,
    native,
    native_in_space,
    on_cpu,
)
from kart_jax.run_folder.source import policy_spec
from kart_jax.training.devices import prepare_jax

SECONDS = 0.5
"""Of each measurement, at least."""
LENGTH = 2
"""Steps of a rollout; a minibatch is one of them, of as many environments."""


def tiles(x: jax.Array, kernel: jax.Array, strides: Shape, padding: int) -> jax.Array:
    """Convolve by tiles where they fit, else as accelerators do."""
    return (by_tiles if meets_tiles(strides) else native_in_space)(x, kernel, strides, padding)


FORMULATIONS: dict[str, Formulation] = {
    "native_in_space": native_in_space,
    "native": native,
    "by_time": by_time,
    "tiles": tiles,
    "on_cpu": on_cpu,
}


@dataclass(frozen=True)
class Case:
    """What one row measures."""

    batch: int
    at_once: int | None = None
    """Observations of a microbatch; None: all."""
    dtype: str = "bfloat16"
    formulation: str = "native_in_space"
    remat: bool | None = None
    """None: as the preset has it."""


SMALL_GPU = (Case(4), Case(4, formulation="by_time"), Case(4, at_once=2, dtype="float32"))
SMALL_REFERENCE = tuple(Case(2, formulation=name) for name in ("native", "tiles", "on_cpu"))
GPU = (
    Case(256),
    Case(1024),
    Case(256, formulation="by_time"),
    Case(256, formulation="native"),
    Case(1024, at_once=256),
    Case(256, dtype="float32"),
    Case(1024, remat=True),
    Case(64),
    Case(256, formulation="tiles"),
    Case(256, formulation="on_cpu"),
    Case(4096, at_once=1024),
)
REFERENCE = (
    Case(4),
    Case(16),
    Case(4, formulation="by_time"),
    Case(4, formulation="native"),
    Case(16, at_once=4),
    Case(4, dtype="float32"),
    Case(1),
    Case(4, formulation="tiles"),
    Case(4, formulation="on_cpu"),
)


def gpu(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each case of the preset `gpu`."""
    return _rows("gpu", SMALL_GPU if small else GPU, small)


def reference(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each case of the preset `reference`."""
    return _rows("reference", SMALL_REFERENCE if small else REFERENCE, small)


def _rows(name: str, cases: tuple[Case, ...], small: bool) -> Iterator[dict[str, Any]]:
    prepare_jax()
    config = with_rollout(preset(name, small), LENGTH)
    measured: dict[str, float] = {}
    for case in cases:
        if case.dtype not in measured:
            measured[case.dtype] = ceilings.matmul(case.dtype, small)["tflops"]
        remat = config.network.remat if case.remat is None else case.remat
        known = asdict(case) | {"at_once": case.at_once or case.batch, "remat": remat}
        seconds = 0.1 if small else SECONDS
        yield attempt(known, partial(measure, config, case, measured[case.dtype], seconds))


def measure(config: TrainConfig, case: Case, ceiling: float, seconds: float) -> dict[str, float]:
    """Return times of the forward pass and of the gradient step, shares of `ceiling`, memory."""
    network = replace(config.network, dtype=case.dtype)
    if case.remat is not None:
        network = replace(network, remat=case.remat)
    config = replace(config, network=network)
    step = GradientStep(config, case.batch, case.at_once)
    state, batch, schedules = jax.jit(step.arguments)()
    at_once = case.at_once or case.batch
    assert batch.rollout.frames is not None
    frames = batch.rollout.frames[0, :at_once, None].repeat(config.race.stack, axis=1)
    start = time.perf_counter()
    with formulated(case.formulation):
        compiled = step.compile(jax.devices()[0])
        forward = jax.jit(lambda *given: step.ppo.agent.apply(*given))
        forward = forward.lower(state.variables, {"frames": frames}).compile()
    compile_s = time.perf_counter() - start

    def infer() -> None:
        jax.block_until_ready(forward(state.variables, {"frames": frames}))

    def take() -> None:
        nonlocal state
        state, metrics = compiled(state, batch, schedules)
        jax.block_until_ready(metrics)

    forward_ms, step_ms = best_ms(infer, seconds), best_ms(take, seconds)
    tera = teraflops(config)
    forward_share = tera * at_once / forward_ms * 1e3 / ceiling
    step_share = 3 * tera * case.batch / step_ms * 1e3 / ceiling
    sizes = sizes_gb(compiled)
    return {
        "forward_ms": forward_ms,
        "forward_share": forward_share,
        "step_ms": step_ms,
        "step_share": step_share,
        "device_share": step_share * (4 / 3 if network.remat else 1),
        "observations_per_s": 1e3 * case.batch / step_ms,
        "total_gb": sizes["total_gb"],
        "mb_per_observation": 1e3 * sizes["temporary_gb"] / at_once,
        "compile_s": compile_s,
    }


def formulated(name: str) -> Any:
    """Have the network that is traced meanwhile convolve by one formulation."""
    return mock.patch.object(network_module, "conv3d", FORMULATIONS[name])


def teraflops(config: TrainConfig) -> float:
    """Return the operations of one observation's forward pass, two for each multiply-add."""
    return 2e-12 * sum(layer.multiply_adds for layer in layers_of(config))


def layers_of(config: TrainConfig) -> list[summary.Layer]:
    """Return the layers of the network that a configuration trains."""
    outputs = policy_spec(config).actions.outputs
    return summary.layers(config.network, outputs, config.observation_shape, config.state_size)
