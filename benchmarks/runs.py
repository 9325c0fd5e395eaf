"""Training runs to compare: what `kart_jax.train` logs, and the peer that logs the same."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from kart_jax.cli.options import parse

Line = dict[str, Any]
"""What was logged after one update, or after a round of imitation."""


def ppo_alone(arguments: Sequence[str]) -> list[str]:
    """Return a run's options without teacher, privileges and evaluations, as the peer trains."""
    alone = ["--imitation-steps", "0", "--kickstart-coefficient", "0"]
    alone += ["--critic-steps", "0", "--eval-steps", "0"]
    if parse(arguments).network.actor == "frames":
        alone += ["--critic", "frames", "--observation", "frames"]
    return [*arguments, *alone]


def load_peer() -> ModuleType:
    """The module that trains with Stable-Baselines3."""
    try:
        from benchmarks import sb3_ppo
    except ImportError as error:
        raise SystemExit(f"error: {error}; `pip install -e .[peers]` installs the peers") from None
    return sb3_ppo


def train_ours(arguments: Sequence[str], **environment: str) -> list[Line]:
    """Train as `train_in` does, and leave nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        return train_in(Path(folder) / "run", arguments, **environment)


def train_in(run_dir: Path, arguments: Sequence[str], **environment: str) -> list[Line]:
    """Run `kart_jax.train` in a process of its own; what it logged, as `read_lines`."""
    command = [sys.executable, "-m", "kart_jax.train", *arguments]
    command += ["--run-dir", str(run_dir), "--quiet"]
    process = subprocess.run(
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True, check=False
    )
    if process.returncode:
        raise RuntimeError(f"kart_jax.train failed: {process.stderr.strip()}")
    return read_lines(run_dir)


def read_lines(run_dir: Path) -> list[Line]:
    """What a run logged: the rounds of imitation that the policy drove, then the updates.

    Steps are counted over both. Rounds in which the guide drove say nothing of the policy.
    """
    updates = _read(run_dir / "metrics.jsonl")
    log = run_dir / "imitation.jsonl"
    if not log.exists():
        return updates
    rounds = _read(log)
    began = log.stat().st_mtime - rounds[-1]["seconds"]
    imitated = [
        {
            "step": line["steps"],
            "wall_time": began + line["seconds"],
            "episode/progress_m": line["progress_m"],
            "episode/finish_rate": line["finish_rate"],
        }
        for line in rounds
        if line["guided"] == 0
    ]
    before = rounds[-1]["steps"]
    return [*imitated, *({**line, "step": before + line["step"]} for line in updates)]


def _read(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
