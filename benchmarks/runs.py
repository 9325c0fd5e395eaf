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

Line = dict[str, Any]
"""What was logged after one update."""


def load_peer() -> ModuleType:
    """The module that trains with Stable-Baselines3."""
    try:
        from benchmarks import sb3_ppo
    except ImportError as error:
        raise SystemExit(f"error: {error}; `pip install -e .[peers]` installs the peers") from None
    return sb3_ppo


def train_ours(arguments: Sequence[str], **environment: str) -> list[Line]:
    """Run `kart_jax.train` in a process of its own; what it logged."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        command = [sys.executable, "-m", "kart_jax.train", *arguments]
        command += ["--run-dir", str(run_dir), "--quiet"]
        process = subprocess.run(
            command, env=os.environ | environment, stderr=subprocess.PIPE, text=True, check=False
        )
        if process.returncode:
            raise RuntimeError(f"kart_jax.train failed: {process.stderr.strip()}")
        lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]
