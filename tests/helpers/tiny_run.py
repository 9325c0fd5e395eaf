"""Tiny training runs: those of `benchmarks.tiny_runs`, and what tests alone need."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.tiny_runs import (
    STEPS_PER_UPDATE,
    TINY,
    arguments,
    assert_same_run,
    finish,
    metrics,
    start,
    wait_for_updates,
    workers,
)
from kart_jax import train
from kart_jax.config import TrainConfig

__all__ = [
    "STEPS_PER_UPDATE",
    "TINY",
    "arguments",
    "assert_same_run",
    "finish",
    "metrics",
    "random_moments",
    "start",
    "train_in",
    "wait_for_updates",
    "workers",
]


def random_moments() -> np.random.Generator:
    """Draw moments that differ from run to run; a test that fails prints their seed.

    `MOMENTS=seed` in the environment draws those again.
    """
    seed = int(os.environ.get("MOMENTS", 0)) or int.from_bytes(os.urandom(4))
    print(f"random moments: MOMENTS={seed}")
    return np.random.default_rng(seed)


def train_in(folder: Path, config: TrainConfig, status: int = 0) -> None:
    """Train in this process, in a folder that is empty or holds the run to resume."""
    assert train.run(replace(config, run=replace(config.run, run_dir=folder))) == status
