"""Tiny training runs: those of `benchmarks.tiny_runs`, and what tests alone need."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

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
    "SAVE_OFTEN",
    "SERIAL",
    "STEPS_PER_UPDATE",
    "TINY",
    "UPDATES",
    "arguments",
    "assert_same_run",
    "finish",
    "metrics",
    "random_moments",
    "resume",
    "run",
    "start",
    "train_in",
    "wait_for_updates",
    "workers",
]

UPDATES = 24
"""Of the run that nothing happens to."""
SERIAL = ("--workers", "serial")
SAVE_OFTEN = ("--checkpoint-steps", str(4 * STEPS_PER_UPDATE))


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


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Train in this process; return the exit status and what was written to stderr, unwrapped."""
    try:
        status = train.main([*args])
    except SystemExit as leave:  # the command line itself was wrong
        status = 1 if leave.code else 0
    return status, " ".join(capsys.readouterr().err.replace("│", " ").split())


def resume(run_dir: Path) -> None:
    """Go on in this process, which knows nothing of the one that was stopped."""
    assert train.main(["--resume", "--run-dir", str(run_dir), *SERIAL]) == 0
