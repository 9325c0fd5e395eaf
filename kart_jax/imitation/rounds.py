"""The saved rounds of imitation, from which a stopped run resumes."""

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

LAST = "learnt"
"""The file of the last round: its number, all rounds' files, and the cloner's snapshot."""
SNAPSHOT = "snapshot/"
"""Prefix of the cloner's arrays in that file."""
OBSERVED = "seen/"
"""Prefix of observations in the file of a round."""
Snapshot = dict[str, NDArray[Any]]
"""The cloner's arrays by their path."""


class Rounds:
    """A folder with the demonstrations of each round, and the cloner's last snapshot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: list[str] = []
        """Names of the demonstrations' files so far, in order."""
        self._unsaved: list[Demonstration] = []

    def save(
        self, number: int, demonstrations: Sequence[Demonstration], snapshot: Snapshot
    ) -> None:
        """Add a round; the first is 1.

        A full disk is a warning and does not end the run: the next round saves both.
        """
        self._unsaved += demonstrations
        name = f"round_{number:02}"
        files = [*self._files, name]
        try:
            self.folder.mkdir(exist_ok=True)
            self._write(name, **_arrays(self._unsaved))
            # This file names the others: a round is whole once it exists.
            arrays = {f"{SNAPSHOT}{path}": array for path, array in snapshot.items()}
            self._write(LAST, number=number, files=files, **arrays)
        except OSError as error:
            log.warning("round %d cannot be saved to resume from: %s", number, error)
        else:
            self._files, self._unsaved = files, []

    def load(self) -> tuple[int, list[Demonstration], Snapshot] | None:
        """Return the rounds so far: their number, demonstrations and snapshot; None without any.

        Files that cannot be read are ignored with a warning.
        """
        if not (self.folder / f"{LAST}.npz").exists():
            return None
        try:
            last = self._read(LAST)
            files = last["files"].tolist()
            demonstrations = [one for name in files for one in _demonstrations(self._read(name))]
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            log.warning("%s cannot be read, imitation begins again: %s", self.folder, error)
            return None
        self._files = files
        snapshot = {
            path.removeprefix(SNAPSHOT): x for path, x in last.items() if path.startswith(SNAPSHOT)
        }
        return int(last["number"]), demonstrations, snapshot

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> dict[str, np.ndarray]:
        with (self.folder / f"{name}.npz").open("rb") as file, np.load(file) as arrays:
            return dict(arrays)

    def _write(self, name: str, **arrays: np.ndarray | int | list[str]) -> None:
        """Write a file that is whole or absent."""
        partial = self.folder / f"{name}.partial.npz"
        try:
            np.savez(partial, **arrays)  # type: ignore[arg-type]
            os.replace(partial, self.folder / f"{name}.npz")
        except OSError:
            partial.unlink(missing_ok=True)  # The disk may be full of it.
            raise


def _arrays(demonstrations: Sequence[Demonstration]) -> dict[str, np.ndarray]:
    """Return demonstrations as arrays, one after another."""
    return {
        **{
            f"{OBSERVED}{name}": np.concatenate([one.seen[name] for one in demonstrations])
            for name in demonstrations[0].seen
        },
        "targets": np.concatenate([one.targets for one in demonstrations]),
        "rewards": np.concatenate([one.rewards for one in demonstrations]),
        "lengths": np.array([len(one.rewards) for one in demonstrations]),
        "guided": np.array([one.guided for one in demonstrations]),
        "summaries": np.array(json.dumps([one.summary for one in demonstrations])),
    }


def _demonstrations(arrays: dict[str, np.ndarray]) -> list[Demonstration]:
    ends = arrays["lengths"].cumsum()[:-1]
    seen = {
        name.removeprefix(OBSERVED): np.split(array, ends)
        for name, array in arrays.items()
        if name.startswith(OBSERVED)
    }
    episodes = [dict(zip(seen, parts, strict=True)) for parts in zip(*seen.values(), strict=True)]
    parts = [np.split(arrays[name], ends) for name in ("targets", "rewards")]
    summaries = json.loads(str(arrays["summaries"]))
    return list(map(Demonstration, episodes, *parts, summaries, arrays["guided"].tolist()))
