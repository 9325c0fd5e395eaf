"""A run as its folder tells of it: options, metrics, rounds of imitation, starts."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kart_jax.config import TrainConfig, load


@dataclass(frozen=True)
class LoggedRun:
    """A run's configuration and metrics, read from its folder."""

    folder: Path
    config: TrainConfig
    metrics: list[dict[str, Any]]
    """One dictionary for each line of `metrics.jsonl`, in the order of steps."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """One dictionary for each line of `imitation.jsonl`."""
    starts: list[dict[str, Any]] = field(default_factory=list)
    """What `run.json` says of each start: time, command, versions, devices."""

    @property
    def step(self) -> int:
        """Policy steps taken."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    def best(self, name: str) -> float | None:
        """Return the highest value of a metric, None where it was never logged."""
        values = [line[name] for line in self.metrics if line.get(name) is not None]
        return max(values, default=None)


def read_run(folder: Path) -> LoggedRun:
    """Read what a run's folder tells.

    Raises:
        ValueError: it is no run's folder, or one of another version.
    """
    config = load(folder / "config.json")
    metrics = _read_lines(folder / "metrics.jsonl")
    rounds = _read_lines(folder / "imitation.jsonl")
    try:
        starts = json.loads((folder / "run.json").read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, KeyError):  # PPO has not begun yet
        starts = []
    return LoggedRun(folder, config, metrics, rounds, starts)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return a dictionary for each line of a file, none without the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:  # the line that is being written
            continue
    return lines
