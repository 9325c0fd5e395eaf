"""What a run was made with: versions, commit, devices, command; `run.json` in its folder."""

import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from kart_jax import __version__
from kart_jax.files import write_whole
from kart_jax.game.engine.fetch import VERSION as GAME_VERSION

PACKAGES = ("PySuperTuxKart2", "flax", "gymnasium", "jax", "jaxlib", "numpy", "optax")
SOURCE = Path(__file__).parents[2]


def record_start(run_dir: Path, step: int) -> dict[str, Any]:
    """Add to `run.json` that the run begins or resumes at `step`; return the entry.

    Raises:
        OSError: it cannot be written; the file stays as it was.
    """
    path = run_dir / "run.json"
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, KeyError):  # new, or cut off while being written
        starts = []
    start = {"step": step, **describe_start()}
    write_whole(path, json.dumps({"starts": [*starts, start]}, indent=2) + "\n")
    return start


def describe_start() -> dict[str, Any]:
    """Return time, command, software and machine as plain values."""
    devices = jax.devices()
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "kart_jax": __version__,
        "git": git_state(SOURCE),
        "game": f"SuperTuxKart {GAME_VERSION}",
        "python": platform.python_version(),
        "packages": _versions(),
        "devices": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
        },
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return a folder's commit and whether files differ from it; None without a clone."""
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root is None or Path(root) != folder.resolve():  # installed within another project
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(folder, "rev-parse", "HEAD"), "changed": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
