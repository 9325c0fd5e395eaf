"""The state: its entries, and what they say of a kart on a square lap."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine
from kart_jax.game.engine.world import Item, KartState
from kart_jax.game.road import Road
from kart_jax.game.state import (
    AHEAD,
    FIELDS,
    LIMIT,
    NAMES,
    NEAREST,
    SIZE,
    Standing,
    StateReader,
    encode,
    road_of,
)

CORNERS = np.array([[0, 0, 0], [0, 0, 100], [100, 0, 100], [100, 0, 0]], float)
"""A square lap of 4 x 100 m, driven clockwise: right turns, 10 m wide."""
LINE = CentreLine(
    np.stack([CORNERS, np.roll(CORNERS, -1, axis=0)], axis=1),
    [[100 * n, 100 * n + 100] for n in range(4)],
    np.full(4, 10.0),
    [[1], [2], [3], [0]],
    400.0,
)
START = Standing(laps=1, along=60.0, seconds=0.0, stuck_seconds=0.0)
KART = KartState(
    location=np.array([2.0, 0.0, 60.0], np.float32),
    velocity=np.zeros(3, np.float32),
    speed=7.0,
    heading=0.0,
    on_road=True,
    jumping=False,
    finished=False,
    position=1,
    energy=2.0,
    powerup="NOTHING",
    skid=1.0,
)


def item(kind: Any, x: float, z: float, y: float = 0.0) -> Item:
    return Item(kind, np.array([x, y, z]))


def read(
    kart: KartState = KART,
    items: list[Item] | None = None,
    others: list[KartState] | None = None,
    standing: Standing = START,
    reader: StateReader | None = None,
) -> dict[str, float]:
    """The state by name, in the units of its fields."""
    reader = reader or StateReader(road_of(LINE), items or [])
    state = reader.read(kart, LINE.locate(kart.location), standing, others or [])
    assert (state.shape, state.dtype) == ((SIZE,), np.float32)
    return {field.name: float(v) * field.scale for field, v in zip(FIELDS, state, strict=True)}


def test_names_are_unique_and_scales_positive() -> None:
    assert len(set(NAMES)) == SIZE
    assert all(field.scale > 0 for field in FIELDS)


def test_motion_and_place() -> None:
    kart = replace(KART, heading=0.1, local_velocity=np.array([1.0, 2.0, 3.0]), yaw_rate=0.4)
    state = read(kart)
    expected = {
        "speed": 7.0,
        "velocity_right": 1.0,
        "velocity_up": 2.0,
        "velocity_ahead": 3.0,
        "yaw_rate": 0.4,
        "on_road": 1.0,
        "jumping": 0.0,
        "heading_sin": math.sin(0.1),
        "heading_cos": math.cos(0.1),
        "lateral": 2.0,
        "half_width": 5.0,
        "room_left": 7.0,
        "room_right": 3.0,
        "height": 0.0,
    }
    assert {name: state[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_the_road_ahead() -> None:
    state = read()
    turns = [state[f"turn_{metres}"] for metres in (10, 25, 50, 100)]
    assert turns == pytest.approx([0.0, 0.0, math.pi / 2, math.pi / 2], abs=1e-5)
    assert state["next_turn"] == pytest.approx(40.0)
    for metres in AHEAD:
        x, z = (0.0, 60.0 + metres) if metres <= 40 else (metres - 40.0, 100.0)
        point = [state[f"road_{metres}_{part}"] for part in ("right", "ahead", "up", "half_width")]
        assert point == pytest.approx([x - 2.0, z - 60.0, 0.0, 5.0], abs=1e-4)


def test_the_road_ahead_turns_with_the_kart_and_does_not_jump() -> None:
    """Turned to the right by 90 degrees, what was ahead is to the left."""
    state = read(replace(KART, heading=math.pi / 2))
    assert (state["road_30_right"], state["road_30_ahead"]) == pytest.approx((-30, -2), abs=1e-4)
    for metres in (0.3, 0.5, 0.9):
        moved = read(replace(KART, location=KART.location + np.float32([0, 0, metres])))
        assert moved["road_30_ahead"] == pytest.approx(30.0, abs=1e-4)


def test_a_fork_is_followed_by_the_way_on_which_the_kart_is() -> None:
    """From (0, 10) the first way leads straight on, the second one 45 degrees to the right."""
    nodes = np.array([[[0, 0, 0], [0, 0, 10]], [[0, 0, 10], [0, 0, 40]], [[0, 0, 10], [30, 0, 40]]])
    line = CentreLine(
        nodes, [[0, 10], [10, 40], [10, 40]], np.full(3, 10.0), [[1, 2], [0], [0]], 40.0
    )
    road = Road(line, ahead=[25, 30], turns=[25])
    before = road.look(line.locate([0, 0, 5]))
    np.testing.assert_allclose(before.points, [[0, 0, 30], [0, 0, 35]], atol=1e-6)
    beside = road.look(line.locate([10, 0, 20]))
    step = 25 / math.sqrt(2)
    np.testing.assert_allclose(beside.points[0], [10 + step, 0, 20 + step], atol=1e-2)
    assert before.turns == pytest.approx([0.0])


def test_the_nearest_items_of_each_kind() -> None:
    lying = [
        item("nitro", 2.0, 50.0),  # passed
        item("nitro", 4.0, 90.0),
        item("nitro", 1.0, 70.0),
        item("nitro", 2.0, 115.0),  # out of sight
        item("hazard", 2.0, 80.0, y=20.0),  # on a bridge
        item("box", -1.0, 61.0),
        item("other", 2.0, 65.0),
    ]
    state = read(items=lying)
    seen = {
        f"{kind}_{number}": [
            state[f"{kind}_{number}_{part}"] for part in ("present", "right", "ahead", "up")
        ]
        for kind in ("nitro", "box", "hazard")
        for number in range(1, NEAREST + 1)
    }
    nothing = [0.0] * 4
    assert seen.pop("nitro_1") == pytest.approx([1, -1, 10, 0])
    assert seen.pop("nitro_2") == pytest.approx([1, 2, 30, 0])
    assert seen.pop("box_1") == pytest.approx([1, -3, 1, 0])
    assert all(one == nothing for one in seen.values())


def test_other_karts() -> None:
    """In the observed kart's frame, the nearest first; none where nobody is near."""
    kart = replace(KART, heading=math.pi / 2, velocity=np.array([5.0, 0, 0]))
    ahead = replace(KART, location=np.array([10.0, 1, 60]), velocity=np.array([9.0, 0, 1.0]))
    left = replace(KART, location=np.array([2.0, 0, 64]), velocity=np.array([5.0, 0, 0]))
    far = replace(KART, location=np.array([90.0, 0, 100]))
    state = read(kart, others=[ahead, far, left])
    parts = ("present", "right", "ahead", "up", "velocity_right", "velocity_ahead")
    first, second, third = ([state[f"kart_{n}_{part}"] for part in parts] for n in (1, 2, 3))
    assert first == pytest.approx([1, -4, 0, 0, 0, 0], abs=1e-5)
    assert second == pytest.approx([1, 0, 8, 1, -1, 4], abs=1e-5)
    assert third == [0.0] * 6


def test_karts_that_are_gone_are_forgotten() -> None:
    reader = StateReader(road_of(LINE), [])
    near, far = KART, replace(KART, location=np.array([90.0, 0, 100]))
    assert read(reader=reader, others=[near])["kart_1_present"] == 1.0
    assert read(reader=reader, others=[far])["kart_1_present"] == 0.0


def test_a_skid_has_a_side_a_time_and_a_level() -> None:
    reader = StateReader(road_of(LINE), [])
    seen = []
    for number in range(32):
        kart = replace(KART, skid=min(1.2 + 0.2 * number, 2.5))
        # The wheel does not change the side.
        reader.step(kart, Controls(steer=-0.5 if number < 5 else 0.5, drift=True), 0.1)
        seen.append(read(kart, reader=reader))
    assert {state["skid_right"] for state in seen} == {-1.0}
    assert [seen[n]["skid_seconds"] for n in (0, 9, 29)] == pytest.approx([0.1, 1.0, 3.0])
    assert [seen[n]["skid_level"] for n in (9, 10, 29, 30)] == [0, 1, 1, 2]
    assert seen[-1]["skid"] == pytest.approx(1.5)
    reader.step(KART, Controls(drift=True), 0.1)  # not told, with the wheel straight
    assert read(reader=reader)["skid_seconds"] == pytest.approx(3.3)
    reader.step(replace(KART, skid=1.2), Controls(steer=0.3, drift=True), 0.1)
    reader.step(replace(KART, skid=1.4), Controls(steer=0.3, drift=True), 0.1)
    assert read(reader=reader)["skid_right"] == -1.0
    kart = replace(KART, skid=1.3)  # it falls after the end
    reader.step(kart, Controls(), 0.1)
    after = read(kart, reader=reader)
    assert (after["skid_right"], after["skid_seconds"], after["skid_level"]) == (0, 0, 0)


def test_what_the_kart_has() -> None:
    state = read(replace(KART, powerup="ZIPPER", powerups=2, attachment="ANVIL"))
    assert (state["nitro"], state["powerups"]) == pytest.approx((2.0, 2.0))
    ones = {n for n in NAMES if n.startswith(("powerup_", "attached_")) and state[n]}
    assert ones == {"powerup_zipper", "attached_anvil"}
    other = read(replace(KART, powerup="RUBBERBALL", powerups=1))
    assert {n for n in NAMES if n.startswith("powerup_") and other[n]} == {"powerup_other"}


def test_how_the_race_stands_and_what_is_held() -> None:
    reader = StateReader(road_of(LINE), [])
    reader.step(KART, Controls(steer=0.5, acceleration=1.0, nitro=True), 0.1)
    state = read(reader=reader, standing=Standing(2, 500.0, 3.5, 0.7))
    expected = {
        "lap_sin": 1.0,
        "lap_cos": 0.0,
        "laps_left": 0.75,
        "distance_left": 300.0,
        "seconds": 3.5,
        "stuck_seconds": 0.7,
        "held_steer": 0.5,
        "held_acceleration": 1.0,
        "held_brake": 0.0,
        "held_fire": 0.0,
        "held_drift": 0.0,
        "held_nitro": 1.0,
    }
    assert {name: state[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_entries_have_a_limit() -> None:
    state = encode({"height": -1e4, "speed": 15.0})
    assert state[NAMES.index("height")] == -LIMIT
    assert state[NAMES.index("speed")] == 0.5
    assert np.count_nonzero(state) == 2
    with pytest.raises(KeyError, match="sped"):
        encode({"sped": 1.0})
