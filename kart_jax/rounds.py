"""What imitation keeps after each round, so that a run that was stopped goes on from there."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from kart_jax.demonstrations import Demonstration

log = logging.getLogger(__name__)


class Rounds:
    """A folder with the demonstrations of each round, and what was learnt from all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, number: int, shown: Sequence[Demonstration], learnt: bytes) -> None:
        """Add a round, the first is 1; a disk that is full is a warning, not the end of the run."""
        try:
            self._folder.mkdir(exist_ok=True)
            self._write(_name(number), **_arrays(shown))
            # What was learnt names the round: it is whole once this file is there.
            self._write("learnt", number=number, learnt=np.frombuffer(learnt, np.uint8))
        except OSError as error:
            log.warning("round %d cannot be kept to go on from: %s", number, error)

    def load(self) -> tuple[int, list[Demonstration], bytes] | None:
        """The rounds so far: how many, all that was shown, what was learnt; None: there are none.

        What cannot be read is a warning, and as if it were not there.
        """
        try:
            last = self._read("learnt")
            number = int(last["number"])
            shown = []
            for each in range(1, number + 1):
                shown += _demonstrations(self._read(_name(each)))
            return number, shown, last["learnt"].tobytes()
        except FileNotFoundError:
            return None
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            log.warning("%s cannot be read, imitation begins again: %s", self._folder, error)
            return None

    def clear(self) -> None:
        """Drop all of it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, name: str) -> dict[str, np.ndarray]:
        with (self._folder / f"{name}.npz").open("rb") as file, np.load(file) as arrays:
            return dict(arrays)

    def _write(self, name: str, **arrays: np.ndarray | int) -> None:
        """A file that is whole or not there at all."""
        partial = self._folder / f"{name}.partial.npz"
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        os.replace(partial, self._folder / f"{name}.npz")


def _name(number: int) -> str:
    return f"round_{number:02}"


def _arrays(shown: Sequence[Demonstration]) -> dict[str, np.ndarray]:
    """Demonstrations as arrays, one after another."""
    return {
        "frames": np.concatenate([one.frames for one in shown]),
        "actions": np.concatenate([one.actions for one in shown]),
        "rewards": np.concatenate([one.rewards for one in shown]),
        "lengths": np.array([len(one.rewards) for one in shown]),
        "guided": np.array([one.guided for one in shown]),
        "summaries": np.array(json.dumps([one.summary for one in shown])),
    }


def _demonstrations(arrays: dict[str, np.ndarray]) -> list[Demonstration]:
    ends = arrays["lengths"].cumsum()[:-1]
    parts = [np.split(arrays[name], ends) for name in ("frames", "actions", "rewards")]
    summaries = json.loads(str(arrays["summaries"]))
    return list(map(Demonstration, *parts, summaries, arrays["guided"].tolist()))
