"""Fewer triangles for the same picture: edge collapse by fast-simplification, kept in bounds.

The library knows positions alone, and no bound on the error. So each vertex of its result is put
on the vertex of the original that is nearest among those it stands for, which has its texture
coordinates and its normal. Each connected part of a buffer is simplified by itself, and of several
results the smallest is taken that stays near enough.
"""

import math

import fast_simplification
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from kart_jax.game.engine.spm import Buffer, joined

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SHARES = (0.08, 0.2, 0.4, 0.65)
"""Of a part's triangles that are kept, tried in this order."""
AGGRESSION = 3.0
"""Of the library, whose own choice of 7 is faster and worse."""
SMALL = 12
"""Triangles of a part below which it stays as it is."""
SPARSE = 8.0
"""Tolerances of a part's median edge above which it stays as it is, too: nothing would be found."""
CARDS, MOST = 50, 5
"""Parts of a buffer from which on it is foliage, and the triangles of a part on average at most."""


def simplified(buffer: Buffer, tolerance: float) -> Buffer | None:
    """Return the buffer with fewer triangles, its points no further off than `tolerance`, metres.

    Connected parts that are smaller than the tolerance are left out; None if none is left.
    """
    points = buffer.positions.astype(np.float64)
    kept = []
    for triangles in _parts(buffer.triangles, len(points)):
        corners = points[np.unique(triangles)]
        extent = float(np.linalg.norm(corners.max(axis=0) - corners.min(axis=0)))
        if extent >= tolerance:
            kept.append(_simplified_part(points, triangles, tolerance))
    return buffer.part(np.concatenate(kept)) if kept else None


def thinned(buffer: Buffer, cover: float) -> Buffer:
    """Return foliage with fewer cards; other buffers as they are.

    This is stochastic simplification (Cook et al., 2007): of cards that hide each other many times
    over, some are left out at random.

    Args:
        buffer: triangles of one material of one object.
        cover: how many times the cards' area is that of the object seen from the side.
    """
    parts = _parts(buffer.triangles, len(buffer.positions))
    if len(parts) < CARDS or len(buffer.triangles) > MOST * len(parts):
        return buffer
    corners = buffer.positions[buffer.triangles].astype(np.float64)
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    wide, high, deep = np.ptp(corners.reshape(-1, 3), axis=0)
    silhouette = max(float(np.hypot(wide, deep)) * high / 2, 1e-6)
    share = cover * silhouette / (np.linalg.norm(sides, axis=1).sum() / 2)
    if share >= 1:
        return buffer
    chosen = np.random.default_rng(0).permutation(len(parts))[: math.ceil(share * len(parts))]
    return buffer.part(np.concatenate([parts[place] for place in sorted(chosen)]))


def in_the_same_box(buffer: Buffer, tolerance: float) -> Buffer:
    """Return the simplified buffer, with triangles without area that keep its box as it was."""
    simple = simplified(buffer, tolerance)
    if simple is None or len(simple.triangles) == len(buffer.triangles):
        return buffer
    outermost = np.concatenate([buffer.positions.argmin(axis=0), buffer.positions.argmax(axis=0)])
    corners = buffer.part(np.repeat(outermost[:, None], 3, axis=1))
    return joined([simple, corners], buffer.material)


def _parts(triangles: Integers, vertices: int) -> list[Integers]:
    """The triangles [N, 3] of each connected part."""
    edges = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), (vertices, vertices))
    part = connected_components(graph, directed=False)[1][triangles[:, 0]]
    order = np.argsort(part, kind="stable")
    ends = np.flatnonzero(np.diff(part[order])) + 1
    return [triangles[some] for some in np.split(order, ends)]


def _simplified_part(points: Floats, triangles: Integers, tolerance: float) -> Integers:
    sides = np.linalg.norm(points[triangles[:, 0]] - points[triangles[:, 1]], axis=1)
    if len(triangles) < SMALL or np.median(sides) > SPARSE * tolerance:
        return triangles
    used, places = np.unique(triangles, return_inverse=True)
    own, places = points[used], places.reshape(-1, 3)
    for share in SHARES:
        found = _collapsed(own, places, share, tolerance)
        if found is not None:
            return np.asarray(used[found])
    return triangles


def _collapsed(
    points: Floats, triangles: Integers, share: float, tolerance: float
) -> Integers | None:
    """Triangles [N, 3] of the same points, about a share of those given, or None if too far off."""
    *_, collapses = fast_simplification.simplify(
        points, triangles, target_reduction=1 - share, agg=AGGRESSION, return_collapses=True
    )
    moved, faces, stands_for = fast_simplification.replay_simplification(
        points, triangles, collapses
    )
    if not len(faces):
        return None
    faces, stands_for = np.asarray(faces, np.int64), np.asarray(stands_for, np.int64)
    nearest = _nearest(points, moved, stands_for)
    a, b, c = faces.T
    if (nearest[faces] < 0).any():
        return None
    corners = points[nearest[faces]]
    if not _near(points, stands_for, corners, faces, len(moved), tolerance):
        return None
    return np.asarray(nearest[faces][(a != b) & (b != c) & (c != a)])


def _nearest(points: Floats, moved: Floats, stands_for: Integers) -> Integers:
    """For each moved point the one of the points it stands for that is nearest; -1 for none."""
    away = np.linalg.norm(points - moved[stands_for], axis=1)
    order = np.lexsort((away, stands_for))
    groups, first = np.unique(stands_for[order], return_index=True)
    nearest = np.full(len(moved), -1, np.int64)
    nearest[groups] = order[first]
    return nearest


def _near(
    points: Floats,
    stands_for: Integers,
    corners: Floats,
    faces: Integers,
    count: int,
    tolerance: float,
) -> bool:
    """Whether each point is within the tolerance of a triangle at the point that stands for it."""
    # All pairs of a point and a triangle there: `corners` [N, 3, 3] are those of `faces` [N, 3].
    by_vertex = np.argsort(faces.ravel(), kind="stable")
    face = by_vertex // 3
    counts = np.bincount(faces.ravel(), minlength=count)
    starts = np.cumsum(counts) - counts
    repeats = counts[stands_for]
    if (repeats == 0).any():
        return False
    point = np.repeat(np.arange(len(points)), repeats)
    offset = np.arange(len(point)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    pair = face[starts[stands_for[point]] + offset]
    away = _distances(points[point], corners[pair])
    nearest = np.minimum.reduceat(away, np.cumsum(repeats) - repeats)
    return bool((nearest <= tolerance).all())


def _distances(points: Floats, corners: Floats) -> Floats:
    """Distances [P] of points [P, 3] to triangles [P, 3, 3]."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    to = points - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (to * ab).sum(1), (to * ac).sum(1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    plane = ((to - v[:, None] * ab - w[:, None] * ac) ** 2).sum(1)
    edges = np.minimum(_to_edge(to, ab), _to_edge(to, ac))
    edges = np.minimum(edges, _to_edge(to - ab, ac - ab))
    return np.sqrt(np.where(inside, plane, edges))


def _to_edge(to: Floats, edge: Floats) -> Floats:
    """Squared distances [P] of points, as seen from the start of an edge [P, 3], to it."""
    length = np.maximum((edge * edge).sum(1), 1e-18)
    along = np.clip((to * edge).sum(1) / length, 0, 1)
    return np.asarray(((to - along[:, None] * edge) ** 2).sum(1))
