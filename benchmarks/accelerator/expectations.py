"""What a device's rates allow, from operations and bytes: expectation, not measurement."""

import math
from typing import Any

from benchmarks.accelerator.network import layers_of, teraflops
from benchmarks.report import report
from kart_jax.config import PRESETS, TrainConfig

BYTES = 2
"""Of a bfloat16 activation."""
RACES = 1000.0
"""Policy steps per second of all races, to compare with."""


def activation_gb(config: TrainConfig) -> float:
    """Return what one observation's convolutions write and the next ones read, each once."""
    written = 0
    for layer in layers_of(config):
        convolutions = 2 * layer.repeats if layer.name in ("early", "late") else 1
        written += convolutions * math.prod(layer.output)
    return 2 * BYTES * written / 1e9


def row(name: str, tflops: float, share: float, bandwidth: float) -> dict[str, Any]:
    """Return one preset's arithmetic, and the rates that it allows."""
    config = PRESETS[name]
    forward = teraflops(config)
    step = forward * (4 if config.network.remat else 3)
    by_arithmetic = forward / (tflops * share)
    by_memory = activation_gb(config) / (1e3 * bandwidth)
    # Acting, and each epoch's gradient step; the pass that refreshes norms and the bootstrap
    # values are a few percent.
    a_sample = forward + config.ppo.epochs * step
    steps_per_s = tflops * share / a_sample
    race = config.race
    frame = race.height * race.width * race.channels
    return {
        "preset": name,
        "forward_tflop": forward,
        "gradient_tflop": 3 * forward,
        "with_recomputation": step,
        "forward_ms": 1e3 * max(by_arithmetic, by_memory),
        "memory_bound_ms": 1e3 * by_memory,
        "step_ms": 1e3 * step / (tflops * share),
        "update_tflop_per_sample": a_sample,
        "steps_per_s": steps_per_s,
        "share_of_time": RACES / (RACES + steps_per_s),
        "frames_mb_per_s": frame * steps_per_s / 1e6,
    }


def expect(tflops: float, share: float, bandwidth: float) -> None:
    """Print and write the table."""
    rows = [row(name, tflops, share, bandwidth) for name in ("gpu", "reference")]
    notes = [
        "expectation, not measurement; for one observation or policy step",
        f"from {share:.0%} of {tflops:g} TFLOP/s and from {bandwidth:g} TB/s",
        "steps_per_s: acting and learning, if races took no time; share_of_time: what they take "
        f"of the wall clock beside races that alone make {RACES:g} steps per second",
    ]
    report("expectation", rows, notes)
