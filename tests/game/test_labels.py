import numpy as np

from kart_jax.game.centreline import CentreLine
from kart_jax.game.engine.world import Item, KartBody
from kart_jax.game.labels import LABELS, SPACING, label_pixels

SIZE = np.array([0.8, 0.7, 1.4])
UP = np.array([0.0, 1.0, 0.0])


def road() -> CentreLine:
    """Straight ahead for 100 m, 6 m wide, drawn half a metre above the ground."""
    nodes = np.array([[[0, 0.5, 10.0 * n], [0, 0.5, 10.0 * n + 10]] for n in range(10)])
    distances = [[10.0 * n, 10.0 * n + 10] for n in range(10)]
    after = [[n + 1] for n in range(9)] + [[0]]
    return CentreLine(nodes, distances, np.full(10, 6.0), after, 100.0)


def kart(x: float, z: float, up: np.ndarray = UP) -> KartBody:
    return KartBody(np.array([x, 0.25, z]), up, SIZE)


def named(
    points: list[tuple[float, float, float]],
    items: list[Item] | None = None,
    karts: list[KartBody] | None = None,
) -> list[str]:
    """The labels of points, as pixels of a frame of one row."""
    frame = np.array(points, np.float64)[None]
    labels = label_pixels(frame, road(), items or [], karts or [kart(0.0, 5.0)])
    assert labels.shape == (1, len(points))
    assert labels.dtype == np.uint8
    assert (labels % SPACING == 0).all()
    return [LABELS[number] for number in labels[0] // SPACING]


def test_the_road_is_as_wide_as_its_line_says_and_no_higher_than_a_kerb() -> None:
    points = [(0, 0, 20), (2.9, 0, 20), (-2.9, 0, 20), (3.1, 0, 20), (0, 3, 20), (0, -5, 20)]
    expected = ["road", "road", "road", "background", "background", "background"]
    assert named(points) == expected


def test_what_is_far_away_is_background() -> None:
    assert named([(0, 0, 20), (0, 0, 400)]) == ["road", "background"]


def test_karts_are_told_apart_from_the_observed_one_and_from_the_ground_below() -> None:
    karts = [kart(0.0, 5.0), kart(2.0, 15.0), kart(-1.0, 30.0)]
    points = [(0, 0.5, 5), (2, 0.9, 15.5), (-1, 0.3, 30), (0, 0, 5), (0, 2, 5)]
    expected = ["kart", "opponent", "opponent", "road", "background"]
    assert named(points, karts=karts) == expected


def test_a_kart_on_its_side_lies_along_the_ground() -> None:
    lying = kart(0.0, 5.0, up=np.array([1.0, 0.0, 0.0]))
    assert named([(1.0, 0.25, 5), (0, 1.3, 5)], karts=[lying]) == ["kart", "road"]


def test_items_stand_on_the_road_by_kind() -> None:
    kinds = ("box", "nitro", "hazard", "other")
    items = [Item(kind, np.array([0.0, 0.0, 10.0 * n + 20])) for n, kind in enumerate(kinds)]
    points = [(0.2, 0.5, 10.0 * n + 20) for n in range(4)]
    assert named(points, items) == ["box", "nitro", "hazard", "road"]
    assert named([(0.2, 0.02, 20)], items) == ["road"]  # The ground under the box.
    assert named([(0.7, 0.5, 20), (0.2, 1.3, 20)], items) == ["road", "road"]
    tall = Item("nitro", np.array([0.0, 0.0, 20.0]), radius=0.8, height=1.5)
    assert named([(0.7, 0.5, 20), (0.2, 1.3, 20)], [tall]) == ["nitro", "nitro"]


def test_a_large_frame_is_labelled_like_a_small_one() -> None:
    """More pixels than are looked at together."""
    x, z = np.meshgrid(np.linspace(-5, 5, 101), np.linspace(1, 99, 90))
    points = np.stack([x, np.zeros_like(x), z], -1)
    whole = label_pixels(points, road(), [], [kart(0.0, 5.0)])
    rows = [label_pixels(row[None], road(), [], [kart(0.0, 5.0)]) for row in points]
    np.testing.assert_array_equal(whole, np.concatenate(rows))
    assert (whole[50] == SPACING).tolist() == (np.abs(x[50]) <= 3).tolist()
