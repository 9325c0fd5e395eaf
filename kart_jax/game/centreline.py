"""Where on the track a kart is: progress along the track's centre line, in metres."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Segments = list[tuple[int, list[float], list[float], list[float]]]
"""The fields of a `Stretch`, segment by segment."""

REACH = 40.0
"""Metres of road, before and after its last place, within which a kart is looked for."""
STRAY = 15.0
"""Metres beyond the road's edge from which on a kart is nowhere on the track."""


@dataclass(frozen=True)
class Place:
    """A point's place relative to the centre line."""

    node: int
    """Segment of the centre line."""
    along: float
    """Metres from the start line along the centre line, 0 to the lap's length."""
    lateral: float
    """Metres to the right of the centre line."""
    distance: float
    """Metres from the centre line, in space."""
    direction: float
    """Heading of the centre line there: radians, 0 = +z, growing towards +x (the right)."""


@dataclass(frozen=True)
class Stretch:
    """Some segments, as finding the closest one to a point needs them."""

    nodes: Indices
    """Their numbers, [M]."""
    start: Floats
    """Metres, [M, 3]."""
    span: Floats
    """From start to end, metres, [M, 3]."""
    span_by_squared: Floats
    """Divided by the square of their length, [M, 3]: its product with an offset is a part."""

    def rows(self) -> Segments:
        """Return the same, segment by segment."""
        columns = self.nodes, self.start, self.span, self.span_by_squared
        return list(zip(*(column.tolist() for column in columns), strict=True))


class CentreLine:
    """The graph of centre line segments of one track, as driven (forwards or in reverse)."""

    def __init__(
        self,
        nodes: npt.ArrayLike,
        distances: npt.ArrayLike,
        widths: npt.ArrayLike,
        successors: list[list[int]],
        length: float,
    ) -> None:
        """Take the graph of N segments.

        Args:
            nodes: start and end of each segment, [N, 2, 3], metres.
            distances: metres from the start line to a segment's start and end, [N, 2].
            widths: width of the road at each segment, [N], metres.
            successors: numbers of the segments that follow each segment.
            length: metres of one lap.
        """
        ends = np.asarray(nodes, np.float64)
        self.start = ends[:, 0]
        self.span = ends[:, 1] - ends[:, 0]
        self.from_start = np.asarray(distances, np.float64)
        self.widths = np.asarray(widths, np.float64).reshape(-1)
        self.length = float(length)
        self._metres = self.from_start[:, 1] - self.from_start[:, 0]
        self._squared = np.maximum((self.span**2).sum(1), 1e-9)
        self.headings = np.arctan2(self.span[:, 0], self.span[:, 2])
        self.successors = successors
        self._before: list[list[int]] = [[] for _ in successors]
        for node, following in enumerate(successors):
            for other in following:
                self._before[other].append(node)
        self._all = self._stretch(np.arange(len(ends)))
        self._near: dict[int, Segments] = {}
        columns = self.from_start[:, 0], self._metres, self.headings
        self._rows = list(zip(*(column.tolist() for column in columns), strict=True))

    def locate(self, point: npt.ArrayLike, near: int | None = None) -> Place:
        """Return a point's [3] place on the closest segment, of all or of those near a node."""
        x, y, z = where = np.asarray(point, np.float64).tolist()
        least, found = math.inf, (0, 0.0, 0.0, 0.0)
        # Near a node they are so few that NumPy would take longer.
        segments = self._closest(where) if near is None else self._neighbours(near)
        for node, (start_x, start_y, start_z), span, (by_x, by_y, by_z) in segments:
            aside, up, along = x - start_x, y - start_y, z - start_z
            part = aside * by_x + along * by_z + up * by_y
            part = 0.0 if part < 0.0 else 1.0 if part > 1.0 else part
            aside, up, along = aside - part * span[0], up - part * span[1], along - part * span[2]
            squared = aside * aside + along * along + up * up
            if squared < least:
                least, found = squared, (node, part, aside, along)
        node, part, aside, along = found
        start, metres, heading = self._rows[node]
        return Place(
            node=node,
            along=start + part * metres,
            lateral=math.cos(heading) * aside - math.sin(heading) * along,
            distance=math.sqrt(least),
            direction=heading,
        )

    def _closest(self, point: list[float]) -> Segments:
        """Return the segment, of all, that is the closest to a point [3]."""
        road = self._all
        offset = np.array(point) - road.start
        part = np.einsum("ij,ij->i", offset, road.span_by_squared).clip(0.0, 1.0)
        gap = offset - part[:, None] * road.span
        best = [int(np.einsum("ij,ij->i", gap, gap).argmin())]
        return self._stretch(np.array(best)).rows()

    def holds(self, points: Floats, below: float, above: float) -> npt.NDArray[np.bool_]:
        """Return which points [N, 3] lie on the road: within its width, at most `below` or `above`
        metres off the height of its centre line."""
        # So few that an array of all pairs of them and segments stays in the caches.
        parts = np.array_split(points, len(points) * len(self.start) // 2**17 + 1)
        return np.concatenate([self._holds(part, below, above) for part in parts])

    def _holds(self, points: Floats, below: float, above: float) -> npt.NDArray[np.bool_]:
        if not len(points):
            return np.zeros(0, bool)
        around = np.maximum(self.widths / 2, max(below, above))[:, None]
        low, high = points.min(0), points.max(0)
        end = self.start + self.span
        meets = (np.minimum(self.start, end) - around < high) & (
            np.maximum(self.start, end) + around > low
        )
        road = self._stretch(np.flatnonzero(meets.all(1)))
        if not len(road.nodes):
            return np.zeros(len(points), bool)
        # Squares expanded, so that all pairs of N points and M segments are two matrix products.
        middle = points.mean(0)
        points, start = points - middle, road.start - middle
        part = points @ road.span_by_squared.T - (start * road.span_by_squared).sum(1)
        part = part.clip(0.0, 1.0)
        along = points @ road.span.T - (start * road.span).sum(1)
        squared = (start**2).sum(1) - 2 * points @ start.T
        squared += part * (part * (road.span**2).sum(1) - 2 * along)
        best = squared.argmin(1)
        gap = points - start[best] - part[np.arange(len(points)), best, None] * road.span[best]
        return np.asarray(
            (np.hypot(gap[:, 0], gap[:, 2]) <= self.widths[road.nodes[best]] / 2)
            & (-below <= gap[:, 1])
            & (gap[:, 1] <= above)
        )

    def point(self, along: float) -> tuple[Floats, float]:
        """Return the point [3] of the centre line at `along` metres, and the heading there."""
        inside = (self.from_start[:, 0] <= along) & (along < self.from_start[:, 1])
        # Where branches of the road differ in length, their distances leave gaps.
        node = int(
            np.argmax(inside) if inside.any() else np.argmin(np.abs(self.from_start[:, 0] - along))
        )
        part = min(
            max((along - self.from_start[node, 0]) / max(self._metres[node], 1e-9), 0.0), 1.0
        )
        return self.start[node] + part * self.span[node], float(self.headings[node])

    def follow(self, place: Place, metres: float) -> tuple[Floats, float]:
        """Return the point [3] `metres` of road ahead of a place, and the heading there.

        From the place's own segment on, by the first way where the road forks: branches that run
        side by side share their distances from the start, but not their points.
        """
        start, end = self.from_start[place.node].tolist()
        node, left = place.node, place.along - start + metres
        while left > (length := max(end - start, 1e-3)):
            left -= length
            node = self.successors[node][0]
            start, end = self.from_start[node].tolist()
        return self.start[node] + left / length * self.span[node], float(self.headings[node])

    def _stretch(self, nodes: Indices) -> Stretch:
        span = self.span[nodes]
        return Stretch(nodes, self.start[nodes], span, span / self._squared[nodes, None])

    def _neighbours(self, node: int) -> Segments:
        """Segments within `REACH` metres of road of a segment, over forks too."""
        if node not in self._near:
            shortest = {node: 0.0}
            frontier = [node]
            while frontier:
                at = frontier.pop()
                for other in (*self.successors[at], *self._before[at]):
                    metres = shortest[at] + self._metres[other]
                    if shortest[at] <= REACH and metres < shortest.get(other, math.inf):
                        shortest[other] = metres
                        frontier.append(other)
            self._near[node] = self._stretch(np.array(sorted(shortest))).rows()
        return self._near[node]


class Progress:
    """Progress of one kart in one race, that only driving the road gains.

    The kart is looked for only within `REACH` metres of road of its last place, and keeps
    that place while it strays: a short cut across the land gains nothing until the kart
    is back where it left the road.
    Crossing the start line backwards counts against the lap. What counts is the furthest
    point so far: ground driven again, in circles or after a rescue, is paid once.
    """

    def __init__(self, line: CentreLine, point: npt.ArrayLike) -> None:
        """Start at a point [3]; the last half of the lap counts as before the start line."""
        self.line = line
        self.place = line.locate(point)
        behind = self.place.along > line.length / 2
        self.along = self.place.along - (line.length if behind else 0.0)
        """Metres from the start line, growing over laps, negative before it."""
        self.first = self.best = self.along

    @classmethod
    def from_anywhere(cls, line: CentreLine, point: npt.ArrayLike) -> "Progress":
        """Start at a point [3] of the first lap: no place counts as before the start line."""
        progress = cls(line, point)
        progress.along = progress.first = progress.best = progress.place.along
        return progress

    def update(self, point: npt.ArrayLike) -> tuple[float, float]:
        """Move to a point [3]: metres moved along the track, and metres of new ground."""
        place = self.line.locate(point, self.place.node)
        if place.distance > self.line.widths[place.node] / 2 + STRAY:
            return 0.0, 0.0
        half = self.line.length / 2
        moved = (place.along - self.place.along + half) % self.line.length - half
        self.place = place
        self.along += moved
        ground = max(self.along - self.best, 0.0)
        self.best += ground
        return moved, ground

    @property
    def driven(self) -> float:
        """Metres from the place of the start to the furthest point."""
        return self.best - self.first
