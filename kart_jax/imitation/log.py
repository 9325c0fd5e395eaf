"""The log of imitation: a line for each round in a file, and progress on the screen."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kart_jax.files import write_whole
from kart_jax.imitation.config import ImitationConfig
from kart_jax.imitation.demonstrations import Demonstration
from kart_jax.training.console import LINE_SECONDS

log = logging.getLogger(__name__)


class ImitationLog:
    """Logs a run's rounds."""

    def __init__(self, path: Path, options: ImitationConfig, quiet: bool, done: int) -> None:
        """Retain the lines of the `done` rounds, and continue their time."""
        lines = [line for line in _read_lines(path) if line["round"] <= done]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._path, self._options, self._quiet = path, options, quiet
        self._start = time.monotonic() - (lines[-1]["seconds"] if lines else 0.0)
        self._last_line = time.monotonic()
        self._round = self._steps = self._gradients = 0

    def begin(self, number: int) -> None:
        """Note that a round begins; the first is 1."""
        self._round, self._steps, self._gradients = number, 0, 0

    def driving(self, steps: int) -> None:
        """Count `steps` more steps driven."""
        self._steps += steps
        self._print_sometimes(f"drove {self._steps:,} of about {self._options.round_steps:,} steps")

    def learning(self) -> None:
        """Count one more gradient step."""
        self._gradients += 1
        steps = self._options.round_gradient_steps
        self._print_sometimes(f"learnt {self._gradients:,} of {steps:,} gradient steps")

    def end(self, demonstrations: Sequence[Demonstration], metrics: dict[str, float]) -> None:
        """Log a round that has ended, with the metrics of its learning."""
        seconds = time.monotonic() - self._start
        driven = {
            "episodes": len(demonstrations),
            "guided": float(np.mean([one.guided for one in demonstrations])),
            "finish_rate": float(np.mean([one.summary["finished"] for one in demonstrations])),
            "progress_m": float(np.mean([one.summary["progress_m"] for one in demonstrations])),
        }
        line = {"round": self._round, "seconds": round(seconds, 1), **driven, **metrics}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            log.warning("a line is missing in %s: %s", self._path, error)
        self._print(
            f"{'the teacher' if driven['guided'] > 0.5 else 'the policy'} drove "
            f"{len(demonstrations)} episodes, {driven['progress_m']:.0f} m, "
            f"{driven['finish_rate']:.0%} finished; like the teacher {metrics['same']:.0%}; "
            f"{seconds:.0f} s"
        )

    def _print_sometimes(self, text: str) -> None:
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self._print(text)

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        if not self._quiet:
            print(f"imitation {self._round}/{self._options.imitation_rounds}: {text}", flush=True)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an earlier start, up to one that was cut off."""
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
