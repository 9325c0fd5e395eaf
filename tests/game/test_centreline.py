"""Progress on a made-up track: a ring of 400 m, and a copy of it with a branch."""

import math

import numpy as np
import pytest

from kart_jax.game.centreline import CentreLine, Progress

SEGMENTS = 80
LENGTH = 400.0
RADIUS = LENGTH / (2 * math.pi)


def ring_point(along: float, outside: float = 0.0) -> np.ndarray:
    """The point at `along` metres clockwise seen from above, so that the right is inside."""
    angle = along / RADIUS
    radius = RADIUS + outside
    return np.array([radius * math.sin(angle), 0.0, radius * math.cos(angle)])


@pytest.fixture
def ring() -> CentreLine:
    step = LENGTH / SEGMENTS
    nodes = [[ring_point(n * step), ring_point((n + 1) * step)] for n in range(SEGMENTS)]
    distances = [[n * step, (n + 1) * step] for n in range(SEGMENTS)]
    successors = [[(n + 1) % SEGMENTS] for n in range(SEGMENTS)]
    return CentreLine(nodes, distances, np.full(SEGMENTS, 10.0), successors, LENGTH)


def drive(progress: Progress, points: list[np.ndarray]) -> float:
    """Move through points; the sum of new ground."""
    return sum(progress.update(point)[1] for point in points)


def along(start: float, stop: float, step: float = 2.0) -> list[np.ndarray]:
    count = round(abs(stop - start) / step)
    return [ring_point(metres) for metres in np.linspace(start, stop, count + 1)]


def test_a_place_has_distance_side_and_direction(ring: CentreLine) -> None:
    place = ring.locate(ring_point(102.5, outside=3.0))
    assert place.along == pytest.approx(102.5, abs=0.3)
    assert place.lateral == pytest.approx(-3.0, abs=0.1)
    assert place.distance == pytest.approx(3.0, abs=0.1)
    expected = 102.5 / RADIUS + math.pi / 2
    assert math.cos(place.direction - expected) == pytest.approx(1.0, abs=0.01)


def test_the_road_holds_what_is_within_its_width_and_near_its_height(ring: CentreLine) -> None:
    """As does asking for the place of one point after another."""
    rng = np.random.default_rng(0)
    points = np.stack([ring_point(a, o) for a, o in rng.uniform(-8, 8, (5000, 2)) * (50, 1)])
    points[:, 1] = rng.uniform(-3, 3, len(points))
    held = ring.holds(points, below=2.0, above=1.0)
    distances = [ring.locate(point).distance for point in points]
    width = np.sqrt(np.maximum(np.square(distances) - points[:, 1] ** 2, 0.0))
    expected = (width <= 5.0) & (points[:, 1] >= -2.0) & (points[:, 1] <= 1.0)
    np.testing.assert_array_equal(held, expected)
    assert 500 < held.sum() < 4500
    assert not ring.holds(np.full((3, 3), 1e4), 2.0, 1.0).any()
    assert ring.holds(np.zeros((0, 3)), 2.0, 1.0).shape == (0,)


def test_a_long_segment_is_road_from_end_to_end() -> None:
    line = CentreLine([[[0, 0, 0], [0, 0, 300]]], [[0, 300]], [10.0], [[0]], 300.0)
    points = np.array([[0, 0, 5], [0, 0, 150], [4, 0, 299], [6, 0, 150], [0, 0, 310]])
    for point, held in zip(points, [True, True, True, False, False], strict=True):
        assert line.holds(point[None], 1.0, 1.0).tolist() == [held]
    assert line.holds(points, 1.0, 1.0).tolist() == [True, True, True, False, False]


def test_point_is_the_inverse_of_locate(ring: CentreLine) -> None:
    for metres in (0.0, 77.0, 399.0):
        point, heading = ring.point(metres)
        place = ring.locate(point)
        assert place.along == pytest.approx(metres, abs=1e-6)
        assert heading == pytest.approx(place.direction)


def test_a_lap_gains_its_length_once(ring: CentreLine) -> None:
    progress = Progress(ring, ring_point(-2.0))
    assert progress.first == pytest.approx(-2.0, abs=0.1)
    gained = drive(progress, along(-2.0, 400.0))
    assert gained == pytest.approx(402.0, abs=0.2)
    assert progress.along == pytest.approx(400.0, abs=0.1)


def test_several_laps_add_up(ring: CentreLine) -> None:
    progress = Progress(ring, ring_point(0.0))
    assert drive(progress, along(0.0, 1200.0)) == pytest.approx(1200.0, abs=0.2)


def test_driving_back_and_forth_over_the_start_line_gains_nothing(ring: CentreLine) -> None:
    progress = Progress(ring, ring_point(10.0))
    for _ in range(20):
        assert drive(progress, along(10.0, -10.0) + along(-10.0, 10.0)) == 0.0
    assert progress.along == pytest.approx(10.0, abs=0.1)


def test_a_lap_backwards_gains_nothing(ring: CentreLine) -> None:
    progress = Progress(ring, ring_point(0.0))
    assert drive(progress, along(0.0, -800.0)) < 0.1
    assert progress.along == pytest.approx(-800.0, abs=0.2)


def test_circling_is_paid_once(ring: CentreLine) -> None:
    progress = Progress(ring, ring_point(50.0))
    turns = np.linspace(0, 2 * math.pi, 40)
    circle = [ring_point(50.0 + 4 * math.sin(a), 4 * math.cos(a)) for a in turns]
    first = drive(progress, circle)
    assert 3.0 < first < 5.0
    assert drive(progress, circle * 10) == pytest.approx(0.0, abs=1e-9)


def test_a_short_cut_across_the_ring_gains_nothing(ring: CentreLine) -> None:
    progress = Progress(ring, ring_point(0.0))
    across = np.linspace(ring_point(0.0), ring_point(200.0), 60)
    assert drive(progress, list(across) + along(200.0, 390.0)) < 1.0
    assert progress.along < 1.0


def test_coming_back_from_a_short_cut_counts_on(ring: CentreLine) -> None:
    progress = Progress(ring, ring_point(0.0))
    across = np.linspace(ring_point(0.0), ring_point(200.0), 60)
    drive(progress, list(across) + list(across[::-1]))
    assert drive(progress, along(0.0, 100.0)) == pytest.approx(100.0, abs=1.0)
    assert progress.along == pytest.approx(100.0, abs=0.2)


def test_a_kart_is_followed_into_the_other_branch_of_a_fork() -> None:
    """The road forks after 10 m; the kart goes along the inner branch's first metres, then
    crosses over to the outer one."""
    nodes = [
        [[0, 0, 0], [0, 0, 10]],
        [[0, 0, 10], [0, 0, 20]],
        [[0, 0, 20], [0, 0, 30]],
        [[0, 0, 10], [4, 0, 20]],
        [[4, 0, 20], [4, 0, 30]],
        [[2, 0, 30], [2, 0, 40]],
    ]
    distances = [[0, 10], [10, 20], [20, 30], [10, 20], [20, 30], [30, 40]]
    line = CentreLine(nodes, distances, np.full(6, 5.0), [[1, 3], [2], [5], [4], [5], [0]], 40.0)
    progress = Progress(line, [0, 0, 1])
    drive(progress, [np.array([0.0, 0, z]) for z in range(2, 18)])
    assert progress.place.node == 1
    drive(progress, [np.array([4.0, 0, z]) for z in range(18, 30)])
    assert progress.place.node == 4
    assert progress.along == pytest.approx(29.0, abs=0.5)


def test_the_road_is_followed_over_the_start_line_and_around(ring: CentreLine) -> None:
    point, heading = ring.follow(ring.locate(ring_point(391.0)), 37.0)
    there, expected = ring.point(28.0)
    np.testing.assert_allclose(point, there, atol=0.01)
    assert heading == pytest.approx(expected)


def test_a_branch_is_followed_from_within_and_the_first_one_from_before() -> None:
    """Two branches share their distances from the start."""
    nodes = [[[0, 0, 0], [0, 0, 10]], [[0, 0, 10], [0, 0, 30]], [[0, 0, 10], [20, 0, 10]]]
    line = CentreLine(
        nodes, [[0, 10], [10, 30], [10, 30]], np.full(3, 5.0), [[1, 2], [0], [0]], 30.0
    )
    np.testing.assert_allclose(line.follow(line.locate([0, 0, 5]), 15.0)[0], [0, 0, 20])
    point, heading = line.follow(line.locate([5, 0, 10]), 10.0)
    np.testing.assert_allclose(point, [15, 0, 10])
    assert heading == pytest.approx(math.pi / 2)


def test_a_start_in_the_second_half_of_a_lap_is_not_before_the_line(ring: CentreLine) -> None:
    assert Progress.from_anywhere(ring, ring_point(300.0)).first == pytest.approx(300.0, abs=0.1)
    assert Progress(ring, ring_point(300.0)).first == pytest.approx(-100.0, abs=0.1)
