"""World records of people, from the replays that come with the game's data."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kart_jax.game.engine.data import ensure_data
from kart_jax.game.errors import DataError

Floats = npt.NDArray[np.float64]

VERSION = "4"
"""Of the replays' format."""
TIME, X, Z, SPEED, DISTANCE = 0, 1, 3, 8, 20
"""Columns of a replay: seconds since GO, metres, metres a second, and the metres driven along the
track as the game counts them, negative before the start line."""


@dataclass(frozen=True)
class WorldRecord:
    """One person's drive in a time trial, from standing: alone, with a zipper for each lap."""

    track: str
    about: str
    """Who drove which kart, and when."""
    difficulty: int
    laps: int
    seconds: float
    """For all laps."""
    rows: Floats
    """[N, columns], about 16 a second."""

    @property
    def lap_length(self) -> float:
        """Metres of one lap, as the game counts them."""
        return float(np.interp(self.seconds, self.rows[:, TIME], self.rows[:, DISTANCE])) / (
            self.laps
        )

    def seconds_of(self, laps: int) -> float | None:
        """Return the seconds of the record's first laps; None if it has fewer."""
        if laps > self.laps:
            return None
        if laps == self.laps:
            return self.seconds
        goal = laps * self.lap_length
        after = int((self.rows[:, DISTANCE] >= goal).argmax())
        (t0, d0), (t1, d1) = self.rows[after - 1 : after + 1, [TIME, DISTANCE]].tolist()
        return float(t0 + (t1 - t0) * (goal - d0) / (d1 - d0))

    def path(self, seconds: float, spacing: float) -> list[list[float]]:
        """Return the kart's places in the first `seconds`, every `spacing` seconds: x, z in metres,
        and its speed in metres a second."""
        times = np.append(np.arange(0.0, seconds, spacing), seconds)
        columns = [np.interp(times, self.rows[:, TIME], self.rows[:, c]) for c in (X, Z, SPEED)]
        return [[round(value, 2) for value in point] for point in np.stack(columns, -1).tolist()]


def world_record(track: str) -> WorldRecord | None:
    """Return the fastest record on a track, raced forwards, that the installed data has.

    Raises:
        DataError: the game's data is missing or of another version, or a replay is damaged.
    """
    paths = sorted((ensure_data() / "data" / "replay").glob(f"wr_{track}_*.replay"))
    records = [record for record in map(read_replay, paths) if record.track == track]
    return min(records, key=lambda record: record.seconds, default=None)


def read_replay(path: Path) -> WorldRecord:
    """Read one kart's replay.

    Raises:
        DataError: it is no replay of the known version, or damaged.
    """
    lines = iter(path.read_text(encoding="utf-8", errors="replace").splitlines())
    header: dict[str, str] = {}
    try:
        for line in lines:
            name, _, value = line.partition(":")
            header[name] = value.strip()
            if name == "size":
                break
        if header["version"] != VERSION:
            raise DataError(f"{path} is a replay of version {header['version']}, not {VERSION}")
        rows = np.array(
            [line.split()[: DISTANCE + 1] for line in islice(lines, int(header["size"]))],
            np.float64,
        )
        record = WorldRecord(
            track=header["track"],
            about=f"{header['kart']}, {header['info']}",
            difficulty=int(header["difficulty"]),
            laps=int(header["laps"]),
            seconds=float(header["min_time"]),
            rows=rows,
        )
        if not (rows.ndim == 2 and len(rows) > 1 and rows[-1, TIME] >= record.seconds):
            raise ValueError("it ends before the finish")
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    return record
