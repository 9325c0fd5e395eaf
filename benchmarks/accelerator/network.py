"""A preset's network and PPO's gradient step, by batch, microbatch and arithmetic."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.accelerator import ceilings
from benchmarks.accelerator.presets import preset, with_rollout
from benchmarks.accelerator.process import attempt
from benchmarks.memory import GradientStep, sizes_gb
from benchmarks.network import best_ms
from kart_jax import summary
from kart_jax.config import TrainConfig
from kart_jax.run_folder.source import policy_spec
from kart_jax.training.devices import prepare_jax

SECONDS = 0.5
"""Of each measurement, at least."""
LENGTH = 2
"""Steps of a rollout; a minibatch is one of them, of as many environments."""


@dataclass(frozen=True)
class Case:
    """What one row measures."""

    batch: int
    at_once: int | None = None
    """Observations of a microbatch; None: all."""
    dtype: str = "bfloat16"


SMALL = (Case(4, at_once=2),)
GPU = (Case(256), Case(1024), Case(256, dtype="float32"), Case(1024, at_once=256))
REFERENCE = (Case(4), Case(16), Case(16, at_once=4), Case(4, dtype="float32"))


def gpu(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each case of the preset `gpu`."""
    return _rows("gpu", SMALL if small else GPU, small)


def reference(small: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each case of the preset `reference`."""
    return _rows("reference", SMALL if small else REFERENCE, small)


def _rows(name: str, cases: tuple[Case, ...], small: bool) -> Iterator[dict[str, Any]]:
    prepare_jax()
    config = with_rollout(preset(name, small), LENGTH)
    measured: dict[str, float] = {}
    for case in cases:
        if case.dtype not in measured:
            measured[case.dtype] = ceilings.matmul(case.dtype, small)["tflops"]
        known = asdict(case) | {"at_once": case.at_once or case.batch}
        seconds = 0.1 if small else SECONDS
        yield attempt(known, partial(measure, config, case, measured[case.dtype], seconds))


def measure(config: TrainConfig, case: Case, ceiling: float, seconds: float) -> dict[str, float]:
    """Return times of the forward pass and of the gradient step, shares of `ceiling`, memory."""
    network = replace(config.network, dtype=case.dtype)
    config = replace(config, network=network)
    step = GradientStep(config, case.batch, case.at_once)
    state, batch, schedules = jax.jit(step.arguments)()
    at_once = case.at_once or case.batch
    assert batch.rollout.frames is not None
    observation = {"frames": batch.rollout.frames[0, :at_once, None].repeat(config.race.stack, 1)}
    if config.state_size:
        observation["state"] = jnp.zeros((at_once, config.state_size))
    start = time.perf_counter()
    compiled = step.compile(jax.devices()[0])
    forward = jax.jit(step.ppo.agent.apply).lower(state.variables, observation).compile()
    compile_s = time.perf_counter() - start

    def infer() -> None:
        jax.block_until_ready(forward(state.variables, observation))

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


def teraflops(config: TrainConfig) -> float:
    """Return the operations of one observation's forward pass, two for each multiply-add."""
    return 2e-12 * sum(layer.multiply_adds for layer in layers_of(config))


def layers_of(config: TrainConfig) -> list[summary.Layer]:
    """Return the layers of the network that a configuration trains."""
    outputs = policy_spec(config).actions.outputs
    return summary.layers(config.network, outputs, config.observation_shape, config.state_size)
