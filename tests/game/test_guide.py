"""The guide steers for the road ahead, and gets round."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine
from kart_jax.game.engine.world import Item, KartState
from kart_jax.game.fake import FakeKartEnv
from kart_jax.game.guide import CLEARANCE, DRIFT_SPEED, FAST, GAIN, LOOK_AHEAD, SLOW, Guide
from tests.helpers.tiny import RACE

LENGTH = 200.0
"""A straight road along z, of ten segments that return to the first."""
NODES = [[[0.0, 0.0, z], [0.0, 0.0, z + 20.0]] for z in range(0, 200, 20)]
LINE = CentreLine(
    NODES,
    [[z, z + 20.0] for z in range(0, 200, 20)],
    [10.0] * 10,
    [[(n + 1) % 10] for n in range(10)],
    LENGTH,
)


RADIUS = 30.0
CORNERS = np.linspace(0.0, 2 * math.pi, 73)
CIRCLE = CentreLine(
    [
        [[RADIUS * (1 - math.cos(a)), 0.0, RADIUS * math.sin(a)] for a in ends]
        for ends in itertools.pairwise(CORNERS)
    ],
    [[RADIUS * a for a in ends] for ends in itertools.pairwise(CORNERS)],
    [10.0] * 72,
    [[(n + 1) % 72] for n in range(72)],
    2 * math.pi * RADIUS,
)
"""A right turn without end, from the origin along z."""


def kart(x: float = 0.0, z: float = 50.0, **state: Any) -> KartState:
    still = KartState(
        location=np.array([x, 0.0, z], np.float32),
        velocity=np.zeros(3, np.float32),
        speed=20.0,
        heading=0.0,
        on_road=True,
        jumping=False,
        finished=False,
        position=1,
        energy=0.0,
        powerup="NOTHING",
        skid=1.0,
    )
    return replace(still, **state)


def told(
    state: KartState,
    line: CentreLine = LINE,
    items: Sequence[Item] = (),
    drifting: bool = False,
) -> Controls:
    return Guide(line, items).controls(line.locate(state.location), state, drifting)


def drift(line: CentreLine = CIRCLE, **state: Any) -> Controls:
    return told(kart(0.0, 0.0, **state), line, drifting=True)


def item(kind: Any, x: float, z: float) -> Item:
    return Item(kind, np.array([x, 0.0, z]))


def test_on_the_line_it_goes_straight_on() -> None:
    assert told(kart()) == Controls(steer=0.0, acceleration=1.0, nitro=True)


def test_it_steers_back_to_the_road_in_proportion_to_the_angle() -> None:
    # x grows to the right.
    assert told(kart(1.0)).steer == pytest.approx(-GAIN * math.atan2(1.0, LOOK_AHEAD * 20.0))
    assert told(kart(-1.0)).steer == pytest.approx(GAIN * math.atan2(1.0, LOOK_AHEAD * 20.0))
    assert told(kart(heading=0.2)).steer == pytest.approx(-GAIN * 0.2)


def test_it_never_steers_further_than_the_wheel_turns() -> None:
    assert told(kart(heading=math.pi - 0.1)).steer == -1.0
    assert told(kart(heading=-math.pi + 0.1)).steer == 1.0


def test_nitro_is_for_where_the_road_is_straight() -> None:
    assert told(kart(0.0)).nitro
    assert not told(kart(4.0)).nitro


def test_a_kart_that_stands_is_guided_too() -> None:
    assert told(kart(heading=0.3, speed=0.0)).steer == pytest.approx(-GAIN * 0.3)


def test_it_backs_away_from_a_wall_that_it_faces() -> None:
    facing = kart(4.0, heading=math.pi / 2, speed=SLOW - 1)
    backwards = told(facing)
    assert backwards.brake
    assert backwards.acceleration == 0.0
    assert backwards.steer == 1.0  # backwards, this turns the kart to the left
    assert not told(replace(facing, heading=0.0)).brake
    assert not told(replace(facing, speed=SLOW + 1)).brake


def test_it_goes_for_nitro_that_is_hardly_out_of_the_way() -> None:
    near = told(kart(), items=[item("nitro", 2.0, 60.0)])
    assert near.steer == pytest.approx(GAIN * math.atan2(2.0, 10.0))
    for elsewhere in ((4.9, 60.0), (2.0, 95.0), (2.0, 45.0)):
        assert told(kart(), items=[item("nitro", *elsewhere)]).steer == 0.0
    assert told(kart(), items=[item("box", 2.0, 60.0)]).steer == 0.0


def test_it_goes_round_hazards_where_there_is_more_road() -> None:
    for x, side in ((0.3, -1), (-0.3, 1), (1.0, -1), (-1.0, 1)):
        steer = told(kart(), items=[item("hazard", x, 60.0)]).steer
        assert math.copysign(1.0, steer) == side
        passes_at = 10.0 * math.tan(steer / GAIN) if abs(steer) < 1 else side * math.inf
        assert abs(passes_at - x) >= 0.9 * CLEARANCE
    assert told(kart(), items=[item("hazard", CLEARANCE + 0.5, 60.0)]).steer == 0.0
    assert told(kart(), items=[item("hazard", 0.0, 95.0)]).steer == 0.0


def test_it_lets_go_or_brakes_where_a_fast_kart_cannot_turn_as_sharply() -> None:
    fast = [told(kart(heading=turn, speed=FAST + 1)) for turn in (0.2, 0.5, 0.8)]
    assert [(c.acceleration, c.brake) for c in fast] == [(1.0, False), (0.0, False), (0.0, True)]
    slow = told(kart(heading=0.8, speed=FAST - 1))
    assert (slow.acceleration, slow.brake) == (1.0, False)


def test_it_drifts_through_turns_at_speed_where_asked() -> None:
    assert not told(kart(0.0, 0.0), CIRCLE).drift
    assert drift().drift
    assert drift().steer == 1.0
    assert drift(skid=1.5).drift
    assert not drift(speed=DRIFT_SPEED - 1).drift
    assert not drift(on_road=False).drift
    assert not drift(LINE, skid=1.5).drift  # the road is straight again
    assert not drift(skid=1.5, heading=1.2).drift  # turned far enough


def test_a_drifting_kart_steers_by_less_or_more_drift() -> None:
    steers = [drift(skid=1.5, heading=heading).steer for heading in (-0.2, 0.1, 0.3)]
    assert steers == sorted(steers, reverse=True)
    assert steers[0] == 1.0
    assert steers[-1] < -0.5


def test_the_fake_games_guide_finishes_where_straight_on_does_not() -> None:
    ends = {}
    for driver in ("guide", "straight"):
        env = FakeKartEnv(RACE)
        env.reset(seed=0)
        while True:
            turn = 1 if driver == "straight" else round(env.guide().steer) + 1
            *_, terminated, truncated, info = env.step((1, turn))
            if terminated or truncated:
                break
        ends[driver] = info["end"]
    assert ends == {"guide": "finished", "straight": "stuck"}
