"""Training runs on the fake game, small enough to run many of them in real processes.

`benchmarks.soak` and the tests share them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil

from kart_jax.run_folder.loading import load_policy

STEPS_PER_UPDATE = 16
TINY = [
    *("--simulator", "fake", "--height", "8", "--width", "10", "--stack", "3"),
    *("--time-limit", "4", "--channels", "2", "--blocks", "0", "0", "--actor-channels", "1"),
    *("--stem-stride", "1", "2", "2", "--middle-stride", "1", "1", "1"),
    *("--num-envs", "4", "--spares", "0", "--rollout-length", "4"),
    *("--minibatches", "2", "--epochs", "1", "--imitation-steps", "0", "--eval-steps", "0"),
    *("--action-set", "drive", "--norm", "none", "--normalise-frames"),
    *("--observation", "frames", "--critic", "frames", "--colour", "grey"),
    *("--teacher", "guide", "--critic-steps", "0"),
    *("--normalise-rewards", "--random-shift", "1", "--learning-rate", "1e-3", "--quiet"),
]
"""About the smallest run that uses everything: resets, truncations, augmentation, scaling."""


def arguments(run_dir: Path, updates: int, *more: str) -> list[str]:
    """The command line of a tiny run of so many updates."""
    steps = str(updates * STEPS_PER_UPDATE)
    return ["--run-dir", str(run_dir), "--total-steps", steps, *TINY, *more]


def start(
    args: list[str], program: Sequence[str] = ("-m", "kart_jax.train"), **environment: str
) -> subprocess.Popen[str]:
    """Start a training process; its output is kept for `finish`."""
    return subprocess.Popen(
        [sys.executable, *program, *args],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 240) -> str:
    """Wait for the process; its output. It has left no other process behind."""
    group = process.pid
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    deadline = time.monotonic() + 5
    while left := [p for p in psutil.process_iter() if _session(p) == group]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)
    return output


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a run."""
    return psutil.Process(process.pid).children()


def wait_for_updates(process: subprocess.Popen[str], run_dir: Path, updates: int) -> None:
    """Wait until so many updates have been logged by this or earlier processes of the run."""
    deadline = time.monotonic() + 240
    while len(metrics(run_dir)) < updates:
        assert process.poll() is None, f"ended too soon:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.01)


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """What the run logged, without what the clock decides."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return [
        {k: v for k, v in line.items() if not k.startswith("time/") and k != "wall_time"}
        for line in whole
    ]


def assert_same_run(run_dir: Path, other: Path) -> None:
    """Both ended with the same parameters, and logged the same on the way, bit for bit."""
    ours, theirs = load_policy(run_dir).variables, load_policy(other).variables
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert metrics(run_dir) == metrics(other)


def _session(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else _getsid(process.pid)
    except (psutil.Error, ProcessLookupError):
        return None


def _getsid(pid: int) -> int:
    return os.getsid(pid)
