"""Where the camera may be on a track, from the road's quadrangles in the game's data."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]

HALF_VIEW = np.radians(50.0)
"""Half of the angle that a frame of 4:3 shows from left to right, and a little more."""
BEHIND = 6.0
"""Metres that the camera is behind the kart."""


@dataclass(frozen=True, eq=False)
class Cameras:
    """Places along the road, each looking to the next."""

    road: cKDTree
    """The corners of its quadrangles, metres."""
    eyes: Floats
    """[C, 2]: x and z."""
    ahead: Floats
    """[C, 2]: directions of length 1."""

    @classmethod
    def along(cls, path: Path) -> "Cameras":
        """Return those along the road of a track's `quads.xml`."""
        quads: list[list[list[float]]] = []
        for quad in ElementTree.parse(path).getroot().iter("quad"):
            corners = []
            for name in ("p0", "p1", "p2", "p3"):
                text = quad.get(name, "")
                if ":" in text:
                    other, corner = text.split(":")
                    corners.append(quads[int(other)][int(corner)])
                else:
                    corners.append([float(number) for number in text.split()])
            quads.append(corners)
        places = np.array(quads)
        ahead = places[:, 2:, [0, 2]].mean(axis=1) - places[:, :2, [0, 2]].mean(axis=1)
        ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-6)
        eyes = places[:, :2, [0, 2]].mean(axis=1) - BEHIND * ahead
        return cls(cKDTree(places.reshape(-1, 3)), eyes, ahead)

    def away(self, points: npt.NDArray[np.floating]) -> float:
        """Return the metres from the nearest of some points [3] or [P, 3] to the road."""
        return float(np.min(self.road.query(points)[0]))

    def share(self, low: npt.NDArray[np.floating], high: npt.NDArray[np.floating]) -> float:
        """Return the share of the cameras that may see a box, given by two corners [3]."""
        corners = np.array([(x, z) for x in (low[0], high[0]) for z in (low[2], high[2])])
        to = corners[None] - self.eyes[:, None]
        front = (to * self.ahead[:, None]).sum(-1)
        right = to[..., 0] * self.ahead[:, None, 1] - to[..., 1] * self.ahead[:, None, 0]
        slope = np.tan(HALF_VIEW)
        outside = [front < 0, right > slope * front, -right > slope * front]
        return float(1 - np.any([side.all(axis=1) for side in outside], axis=0).mean())
