"""What imitation keeps after each round, so that a run that was stopped goes on from there."""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from kart_jax.imitation.demonstrations import Demonstration

log = logging.getLogger(__name__)

LEARNT = "learnt"
SNAPSHOT = "snapshot/"
"""In the file of what was learnt: begins the names of the cloner's arrays."""
SEEN = "seen/"
"""In the file of a round: begins the names of what was observed."""
Snapshot = dict[str, NDArray[Any]]
"""Arrays by their path: what the cloner has learnt."""


class Rounds:
    """A folder with the demonstrations of each round, and what was learnt from all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: list[str] = []
        """Those of the demonstrations so far, in order."""
        self._unsaved: list[Demonstration] = []

    def save(self, number: int, shown: Sequence[Demonstration], snapshot: Snapshot) -> None:
        """Add a round, the first is 1.

        A disk that is full is a warning, not the end of the run: the next round is saved with
        what is missing.
        """
        self._unsaved += shown
        name = f"round_{number:02}"
        files = [*self._files, name]
        try:
            self.folder.mkdir(exist_ok=True)
            self._write(name, **_arrays(self._unsaved))
            # What was learnt names the files: a round is whole once this one is there.
            arrays = {f"{SNAPSHOT}{path}": array for path, array in snapshot.items()}
            self._write(LEARNT, number=number, files=files, **arrays)
        except OSError as error:
            log.warning("round %d cannot be kept to go on from: %s", number, error)
        else:
            self._files, self._unsaved = files, []

    def load(self) -> tuple[int, list[Demonstration], Snapshot] | None:
        """The rounds so far: how many, all that was shown, what was learnt; None: there are none.

        What cannot be read is a warning, and as if it were not there.
        """
        if not (self.folder / f"{LEARNT}.npz").exists():
            return None
        try:
            last = self._read(LEARNT)
            files = last["files"].tolist()
            shown = [one for name in files for one in _demonstrations(self._read(name))]
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            log.warning("%s cannot be read, imitation begins again: %s", self.folder, error)
            return None
        self._files = files
        snapshot = {
            path.removeprefix(SNAPSHOT): x for path, x in last.items() if path.startswith(SNAPSHOT)
        }
        return int(last["number"]), shown, snapshot

    def clear(self) -> None:
        """Drop all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> dict[str, np.ndarray]:
        with (self.folder / f"{name}.npz").open("rb") as file, np.load(file) as arrays:
            return dict(arrays)

    def _write(self, name: str, **arrays: np.ndarray | int | list[str]) -> None:
        """A file that is whole or not there at all."""
        partial = self.folder / f"{name}.partial.npz"
        try:
            np.savez(partial, **arrays)  # type: ignore[arg-type]
            os.replace(partial, self.folder / f"{name}.npz")
        except OSError:
            partial.unlink(missing_ok=True)  # The disk may be full of it.
            raise


def _arrays(shown: Sequence[Demonstration]) -> dict[str, np.ndarray]:
    """Demonstrations as arrays, one after another."""
    return {
        **{
            f"{SEEN}{name}": np.concatenate([one.seen[name] for one in shown])
            for name in shown[0].seen
        },
        "actions": np.concatenate([one.actions for one in shown]),
        "rewards": np.concatenate([one.rewards for one in shown]),
        "lengths": np.array([len(one.rewards) for one in shown]),
        "guided": np.array([one.guided for one in shown]),
        "summaries": np.array(json.dumps([one.summary for one in shown])),
    }


def _demonstrations(arrays: dict[str, np.ndarray]) -> list[Demonstration]:
    ends = arrays["lengths"].cumsum()[:-1]
    seen = {
        name.removeprefix(SEEN): np.split(array, ends)
        for name, array in arrays.items()
        if name.startswith(SEEN)
    }
    episodes = [dict(zip(seen, parts, strict=True)) for parts in zip(*seen.values(), strict=True)]
    parts = [np.split(arrays[name], ends) for name in ("actions", "rewards")]
    summaries = json.loads(str(arrays["summaries"]))
    return list(map(Demonstration, episodes, *parts, summaries, arrays["guided"].tolist()))
