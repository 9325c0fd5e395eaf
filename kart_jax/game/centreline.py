"""Where on the track a kart is: progress along the track's centre line, in metres."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A point's place relative to the centre line."""

    node: int
    """Segment of the centre line."""
    along: float
    """Metres from the start line to the foot of the perpendicular, 0 to the lap's length."""
    lateral: float
    """Metres to the right of the centre line."""
    distance: float
    """Metres from the centre line's segment, in space."""
    direction: float
    """Heading of the centre line there, radians, 0 = +z, growing towards +x."""


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
        segments = np.asarray(nodes, np.float64)
        self.start = segments[:, 0]
        self.span = segments[:, 1] - segments[:, 0]
        self.from_start = np.asarray(distances, np.float64)
        self.widths = np.asarray(widths, np.float64).reshape(-1)
        self.length = float(length)
        self.successors = successors
        self._metres = self.from_start[:, 1] - self.from_start[:, 0]
        self._squared = np.maximum((self.span**2).sum(1), 1e-9)
        self._heading = np.arctan2(self.span[:, 0], self.span[:, 2])
        self._predecessors: list[list[int]] = [[] for _ in successors]
        for node, following in enumerate(successors):
            for other in following:
                self._predecessors[other].append(node)
        self._all = np.arange(len(segments))
        self._near: dict[int, npt.NDArray[np.int64]] = {}

    def locate(self, point: npt.ArrayLike, near: int | None = None) -> Place:
        """The place of a point [3]: on the closest segment, of all or of those near a node."""
        where = np.asarray(point, np.float64)
        candidates = self._all if near is None else self._neighbours(near)
        offset = where - self.start[candidates]
        span = self.span[candidates]
        t = np.clip((offset * span).sum(1) / self._squared[candidates], 0.0, 1.0)
        gap = offset - t[:, None] * span
        squared = (gap**2).sum(1)
        best = int(squared.argmin())
        node = int(candidates[best])
        heading = self._heading[node]
        return Place(
            node=node,
            along=float(self.from_start[node, 0] + t[best] * self._metres[node]),
            lateral=float(np.cos(heading) * -gap[best, 0] + np.sin(heading) * gap[best, 2]) * -1.0,
            distance=float(np.sqrt(squared[best])),
            direction=float(heading),
        )

    def point(self, along: float) -> tuple[Array, float]:
        """The point [3] of the centre line at `along` metres, and the heading there."""
        inside = (self.from_start[:, 0] <= along) & (along < self.from_start[:, 1])
        node = int(np.flatnonzero(inside)[0]) if inside.any() else 0
        t = (along - self.from_start[node, 0]) / max(self._metres[node], 1e-9)
        return self.start[node] + t * self.span[node], float(self._heading[node])

    def _neighbours(self, node: int, reach: float = 40.0) -> npt.NDArray[np.int64]:
        """Segments within `reach` metres of road before and after a segment."""
        if node not in self._near:
            found = {node}
            for edges in (self.successors, self._predecessors):
                frontier = [(node, 0.0)]
                while frontier:
                    at, metres = frontier.pop()
                    for other in edges[at]:
                        if metres <= reach and other not in found:
                            found.add(other)
                            frontier.append((other, metres + self._metres[other]))
            self._near[node] = np.fromiter(sorted(found), np.int64)
        return self._near[node]


class Progress:
    """Progress of one kart in one race, that only driving the road gains.

    The kart's place is looked for only within 40 m of road of its last place, so
    a shortcut across the land gains nothing until the kart is back on the road it left.
    Crossing the start line backwards counts against the lap, and what counts is the
    furthest point so far: ground driven twice, after a rescue or in circles, is paid once.
    """

    def __init__(self, line: CentreLine, point: npt.ArrayLike) -> None:
        """Start at a point [3]; behind the start line counts as before it."""
        self.line = line
        self.place = line.locate(point)
        half = line.length / 2
        self.along = self.place.along - (line.length if self.place.along > half else 0.0)
        self.first = self.best = self.along

    def update(self, point: npt.ArrayLike) -> float:
        """Move to a point [3]; the metres of new ground that gained."""
        near = self.line.locate(point, self.place.node)
        lap = self.line.length
        self.along += (near.along - self.place.along + lap / 2) % lap - lap / 2
        self.place = near
        gained = max(self.along - self.best, 0.0)
        self.best += gained
        return gained
