"""What each pixel of a frame shows: the road, karts, things that lie on the road.

pystk2 0.7.4 has labels that SuperTuxKart 1.5 does not draw. Ours come from positions:
a pixel's depth and the camera determine its point of the world, and the race knows the positions
of the karts, the items and the road.
"""

import numpy as np
import numpy.typing as npt

from kart_jax.game.centreline import CentreLine
from kart_jax.game.engine.world import Item, KartBody

LABELS = ("background", "road", "kart", "opponent", "box", "nitro", "hazard")
"""A pixel's label is its value divided by `SPACING`, in this order."""
SPACING = 40
"""Between the values of labels, so that they differ for a network that divides by 255."""

RANGE = 150.0
"""Metres from the observed kart beyond which everything is background."""
ROAD_BELOW, ROAD_ABOVE = 2.0, 1.0
"""Metres from the road's centre line down and up within which a pixel still shows the road. Tracks
draw the line up to 1.4 m above the ground, some a little below it."""
ITEM_FROM = 0.15
"""Metres above an item's place below which it is the road that is seen."""
KART_AROUND, KART_BELOW, KART_ABOVE = 0.1, 0.1, 0.5
"""Metres by which a kart, as drawn with wheels and driver, goes beyond its size in physics. While
it drifts it is drawn turned, so it is looked for in all the room that turning takes."""

Floats = npt.NDArray[np.float64]


def label_pixels(
    points: Floats, line: CentreLine, items: list[Item], karts: list[KartBody]
) -> npt.NDArray[np.uint8]:
    """Return the labels of a frame's pixels.

    Args:
        points: the points of the world that they show, [H, W, 3].
        line: the road.
        items: what lies on it.
        karts: all of the race, the observed one first.

    Returns:
        [H, W]: places in `LABELS` times `SPACING`.
    """
    here = karts[0].location
    flat = points.reshape(-1, 3)
    near = np.flatnonzero(((flat - here) ** 2).sum(-1) < RANGE**2)
    seen = flat[near]
    found = np.where(line.holds(seen, ROAD_BELOW, ROAD_ABOVE), LABELS.index("road"), 0)
    for item in items:
        if item.kind in LABELS and ((item.location - here) ** 2).sum() < RANGE**2:
            found[_holds_item(item, seen)] = LABELS.index(item.kind)
    for number, kart in enumerate(karts):
        found[_holds_kart(kart, seen)] = LABELS.index("opponent" if number else "kart")
    labels = np.zeros(len(flat), np.uint8)
    labels[near] = found * SPACING
    return labels.reshape(points.shape[:2])


def _holds_item(item: Item, points: Floats) -> npt.NDArray[np.bool_]:
    aside, above, along = (points - item.location).T
    return np.asarray(
        (above > ITEM_FROM) & (above < item.height) & (aside**2 + along**2 < item.radius**2)
    )


def _holds_kart(kart: KartBody, points: Floats) -> npt.NDArray[np.bool_]:
    gap = points - kart.location
    above = gap @ kart.up
    width, height, length = kart.size
    around = np.hypot(width, length) / 2 + KART_AROUND
    return np.asarray(
        (above > -KART_BELOW)
        & (above < height + KART_ABOVE)
        & ((gap**2).sum(1) - above**2 < around**2)
    )
