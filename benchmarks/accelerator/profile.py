"""Where the time of a gradient step goes, operation by operation."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

from benchmarks.accelerator.network import LENGTH
from benchmarks.accelerator.presets import preset, with_rollout
from benchmarks.memory import GradientStep
from kart_jax.training.devices import prepare_jax

BATCH, SMALL_BATCH = 4, 2
STEPS = 2
LONGEST = 20
NAME = 70
"""Characters of an operation's name."""


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield the operations that take longest, with their times in one step."""
    prepare_jax()
    config = with_rollout(preset("reference", small), LENGTH)
    step = GradientStep(config, SMALL_BATCH if small else BATCH, None)
    state, batch, schedules = jax.jit(step.arguments)()
    compiled = step.compile(jax.devices()[0])
    state, metrics = compiled(state, batch, schedules)
    jax.block_until_ready(metrics)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(STEPS):
                state, metrics = compiled(state, batch, schedules)
            jax.block_until_ready(metrics)
        (file,) = Path(folder).rglob("*.xplane.pb")
        times, calls = operations(ProfileData.from_file(str(file)))
    total = sum(times.values())
    for name, ns in times.most_common(LONGEST):
        yield {
            "operation": name[:NAME],
            "calls": calls[name] / STEPS,
            "ms": ns / 1e6 / STEPS,
            "share": ns / total,
        }


def operations(profile: ProfileData) -> tuple[Counter[str], Counter[str]]:
    """Return nanoseconds and calls of each operation: a card's kernels, or what a CPU ran."""
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for plane in profile.planes:
        on_card = plane.name.startswith("/device:")
        for line in plane.lines:
            if on_card and not line.name.startswith("Stream"):
                continue  # the same again, by program or by layer
            for event in line.events:
                if on_card or "hlo_op" in dict(event.stats):
                    times[event.name] += round(event.duration_ns)
                    calls[event.name] += 1
    return times, calls
