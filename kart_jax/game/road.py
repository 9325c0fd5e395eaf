"""The road ahead: the centre line from each of its segments on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kart_jax.game.centreline import CentreLine, Place

Floats = npt.NDArray[np.float64]

TURN = math.radians(30)
"""Change of the road's heading that counts as a turn."""
HORIZON = 200
"""Metres ahead within which the next turn is looked for."""


@dataclass(frozen=True)
class RoadAhead:
    """The road ahead of one place of its centre line."""

    points: Floats
    """Of the centre line, at each of the distances asked for, [P, 3], metres."""
    half_widths: Floats
    """From the centre line to the road's edge there, [P], metres."""
    turns: Floats
    """How far the road has turned, at each of the distances asked for, [T]: radians, right is
    positive."""
    to_turn: float
    """Metres to where its heading has changed by `TURN`, `HORIZON` at most."""
    half_width: float
    """Metres from the centre line to the road's edge here."""
    height: float
    """Metres up, of the centre line here."""


class Road:
    """The road ahead of any place of a track.

    At a fork it follows the track's first way, and beyond a fork by the way on which the place
    is. Metres are those of the segments' own length.
    """

    def __init__(self, line: CentreLine, ahead: Sequence[float], turns: Sequence[float]) -> None:
        """Take a track's centre line, and the distances in metres, `HORIZON` at most, at which its
        points and its turns are wanted."""
        self.line = line
        self._ahead, self._turns = np.array(ahead, int), np.array(turns, int)
        self._lengths = np.sqrt((line.span**2).sum(1))
        self._tables: dict[int, Floats] = {}

    def look(self, place: Place) -> RoadAhead:
        """Return the road ahead of a place."""
        table = self._tables.get(place.node)
        if table is None:  # sampled when a kart first comes there
            table = self._tables[place.node] = self._tabulate(place.node)
        start, end = self.line.from_start[place.node].tolist()
        part = min(max((place.along - start) / max(end - start, 1e-9), 0.0), 1.0)
        metres = part * float(self._lengths[place.node])
        whole = int(metres)
        row = table[whole] + (metres - whole) * (table[whole + 1] - table[whole])
        points = len(self._ahead)
        to_turn, half_width, height = row[-3:].tolist()
        return RoadAhead(
            points=row[: 3 * points].reshape(points, 3),
            half_widths=row[3 * points : 4 * points],
            turns=row[4 * points : -3],
            to_turn=to_turn,
            half_width=half_width,
            height=height,
        )

    def _tabulate(self, node: int) -> Floats:
        """A row for each metre of a segment, and one or two beyond, of all that `RoadAhead` has."""
        rows = math.ceil(self._lengths[node]) + 2
        nodes, metres = [node], float(self._lengths[node])
        while metres < rows + 2 * HORIZON:
            nodes.append(self.line.successors[nodes[-1]][0])
            metres += max(float(self._lengths[nodes[-1]]), 1e-3)
        chain = np.array(nodes)
        starts = np.concatenate([[0.0], np.cumsum(self._lengths[chain])])
        at = np.arange(rows + 2 * HORIZON, dtype=np.float64)
        number = np.searchsorted(starts[1:-1], at, "right")
        segments = chain[number]
        parts = (at - starts[number]) / np.maximum(self._lengths[segments], 1e-9)
        points = self.line.start[segments] + parts[:, None] * self.line.span[segments]
        half_widths = np.interp(at, starts[:-1], self.line.widths[chain] / 2)
        headings = np.unwrap(self.line.headings[segments])
        windows = np.lib.stride_tricks.sliding_window_view(headings, HORIZON)[:rows]
        turned = np.abs(windows - windows[:, :1]) >= TURN
        here = np.arange(rows)
        return np.column_stack(
            [
                points[here[:, None] + self._ahead].reshape(rows, -1),
                half_widths[here[:, None] + self._ahead],
                headings[here[:, None] + self._turns] - headings[:rows, None],
                np.where(turned.any(1), turned.argmax(1), HORIZON),
                half_widths[:rows],
                points[:rows, 1],
            ]
        )
