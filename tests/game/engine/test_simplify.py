"""Fewer triangles, on made-up surfaces."""

import numpy as np
import pytest

from kart_jax.game.engine import simplify, spm


def surface(bump: float, side: int = 20) -> spm.Buffer:
    """A square of 1 m of small triangles, with a hill of so many metres in the middle."""
    x, z = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    y = bump * np.exp(-20 * ((x - 0.5) ** 2 + (z - 0.5) ** 2))
    positions = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)
    first = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    quads = np.stack([first, first + 1, first + side, first + side + 1], axis=1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [1, 3, 2]]])
    return plain(positions, triangles)


def plain(positions: np.ndarray, triangles: np.ndarray) -> spm.Buffer:
    count = len(positions)
    return spm.Buffer(
        0,
        positions,
        np.zeros((count, 4), np.uint8),
        np.zeros((count, 3), np.uint8),
        np.arange(count * 4, dtype=np.uint32).view(np.uint8)[: count * 4].reshape(count, 4),
        triangles,
    )


def cards(count: int) -> spm.Buffer:
    """Squares of 1 m that stand about in a box of 3 m."""
    random = np.random.default_rng(0)
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    positions = (random.uniform(0, 2, (count, 1, 3)) + square).reshape(-1, 3).astype(np.float32)
    pattern = np.array([[0, 1, 2], [0, 2, 3]])
    return plain(positions, (np.arange(count)[:, None, None] * 4 + pattern).reshape(-1, 3))


def test_a_dense_surface_loses_triangles_within_the_tolerance() -> None:
    whole = surface(0.3)
    simple = simplify.simplified(whole, 0.15)
    assert simple is not None
    assert 2 < len(simple.triangles) < 0.5 * len(whole.triangles)
    corners = simple.positions[simple.triangles].astype(float)
    for point in whole.positions.astype(float):
        away = simplify._distances(np.repeat(point[None], len(corners), axis=0), corners)
        assert away.min() <= 0.15


def test_vertices_keep_what_belongs_to_them() -> None:
    whole = surface(0.3)
    simple = simplify.simplified(whole, 0.15)
    assert simple is not None
    known = {(*p.tolist(), *r.tolist()) for p, r in zip(whole.positions, whole.rest, strict=True)}
    assert all(
        (*p.tolist(), *r.tolist()) in known
        for p, r in zip(simple.positions, simple.rest, strict=True)
    )


def test_a_coarse_surface_stays_as_it_is() -> None:
    whole = surface(0.3, side=4)
    simple = simplify.simplified(whole, 0.01)
    assert simple is not None
    assert len(simple.triangles) == len(whole.triangles)


def test_what_is_smaller_than_the_tolerance_is_left_out() -> None:
    assert simplify.simplified(surface(0.0, side=3), 2.0) is None


def test_the_box_stays_the_same() -> None:
    whole = surface(0.3)
    simple = simplify.in_the_same_box(whole, 0.15)
    assert len(simple.triangles) < len(whole.triangles)
    for side in (np.min, np.max):
        np.testing.assert_array_equal(side(simple.positions, axis=0), side(whole.positions, axis=0))


def test_foliage_that_hides_itself_is_thinned() -> None:
    thin = simplify.thinned(cards(200), 2.0)
    # The cards' area becomes twice that of the box seen from the side.
    assert len(thin.triangles) / 2 == pytest.approx(2 * np.hypot(3, 2) * 3 / 2, rel=0.1)


def test_other_meshes_are_not_thinned() -> None:
    for whole in (surface(0.3), cards(20)):
        assert simplify.thinned(whole, 0.1) is whole
