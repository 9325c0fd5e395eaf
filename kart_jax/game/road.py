"""The road ahead: how the centre line goes on from each of its segments, metre by metre."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kart_jax.game.centreline import TURN, CentreLine, Place

Floats = npt.NDArray[np.float64]

AHEAD = 200
"""Metres of road that are known ahead of any place."""


@dataclass(frozen=True)
class Stretch:
    """The road from the start of one segment on, at each of its first M metres."""

    metres: float
    """Length of the segment itself."""
    points: Floats
    """Of the centre line, [M, 3], metres."""
    half_widths: Floats
    """[M], metres."""
    headings: Floats
    """[M], radians, without jumps of a whole turn."""
    to_turn: Floats
    """[M]: metres to where the heading has changed by `TURN`, `AHEAD` at most."""


class Road:
    """The road ahead of any place of a track; at a fork it goes on by the track's first way, and
    beyond the fork by the way on which the kart is."""

    def __init__(self, line: CentreLine) -> None:
        """Take a track's centre line; stretches are sampled when a kart first comes there."""
        self.line = line
        self._lengths = np.sqrt((line.span**2).sum(1))
        self._stretches: dict[int, Stretch] = {}

    def ahead(self, place: Place) -> tuple[Stretch, float]:
        """The stretch that begins with a place's segment, and how many metres into it that is."""
        stretch = self._stretches.get(place.node)
        if stretch is None:
            stretch = self._stretches[place.node] = self._sample(place.node)
        start, end = self.line.from_start[place.node].tolist()
        part = (place.along - start) / max(end - start, 1e-9)
        return stretch, part * stretch.metres

    def _sample(self, node: int) -> Stretch:
        own = float(self._lengths[node])
        count = math.ceil(own) + AHEAD + 1
        nodes, metres = [node], own
        while metres < count + AHEAD:  # to_turn looks ahead of the last sample too
            nodes.append(self.line.successors[nodes[-1]][0])
            metres += max(float(self._lengths[nodes[-1]]), 1e-3)
        chain = np.array(nodes)
        starts = np.concatenate([[0.0], np.cumsum(self._lengths[chain])])
        at = np.arange(count + AHEAD, dtype=np.float64)
        number = np.searchsorted(starts[1:-1], at, "right")
        segments = chain[number]
        parts = (at - starts[number]) / np.maximum(self._lengths[segments], 1e-9)
        points = self.line.start[segments] + parts[:, None] * self.line.span[segments]
        headings = np.unwrap(self.line.headings[segments])
        return Stretch(
            metres=own,
            points=points[:count],
            half_widths=np.interp(at, starts[:-1], self.line.widths[chain] / 2)[:count],
            headings=headings[:count],
            to_turn=_metres_to_turn(headings, count),
        )


def _metres_to_turn(headings: Floats, count: int) -> Floats:
    """Metres from each of the first `count` samples to the next turn."""
    windows = np.lib.stride_tricks.sliding_window_view(headings, AHEAD)[:count]
    turned = np.abs(windows - windows[:, :1]) >= TURN
    return np.where(turned.any(1), turned.argmax(1), AHEAD).astype(np.float64)
