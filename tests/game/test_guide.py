"""The guide steers for the road ahead, and gets round."""

import math

import numpy as np
import pytest

from kart_jax.game.centreline import CentreLine
from kart_jax.game.fake import FakeKartEnv
from kart_jax.game.guide import GAIN, guide
from kart_jax.game.race import KartState
from tests.tiny import RACE

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


def kart(x: float, heading: float, speed: float = 20.0) -> KartState:
    return KartState(
        location=np.array([x, 0.0, 50.0], np.float32),
        velocity=np.zeros(3, np.float32),
        speed=speed,
        heading=heading,
        on_road=True,
        jumping=False,
        finished=False,
        position=1,
        energy=0.0,
        powerup="NOTHING",
    )


def steer(x: float, heading: float, speed: float = 20.0) -> float:
    state = kart(x, heading, speed)
    controls = guide(LINE, LINE.locate(state.location), state)
    assert controls.acceleration == 1.0
    return controls.steer


def test_on_the_line_it_goes_straight_on() -> None:
    assert steer(0.0, 0.0) == pytest.approx(0.0)


def test_it_steers_back_to_the_road_in_proportion_to_the_angle() -> None:
    # 18 m ahead at 20 m/s; x grows to the right.
    assert steer(2.0, 0.0) == pytest.approx(-GAIN * math.atan2(2.0, 18.0))
    assert steer(-2.0, 0.0) == pytest.approx(GAIN * math.atan2(2.0, 18.0))
    assert steer(0.0, 0.2) == pytest.approx(-GAIN * 0.2)


def test_it_never_steers_further_than_the_wheel_turns() -> None:
    assert steer(0.0, math.pi - 0.1) == -1.0
    assert steer(0.0, -math.pi + 0.1) == 1.0


def test_nitro_is_for_where_the_road_is_straight() -> None:
    for x, used in ((0.0, True), (4.0, False)):
        state = kart(x, 0.0)
        assert guide(LINE, LINE.locate(state.location), state).nitro is used


def test_a_kart_that_stands_is_guided_too() -> None:
    assert steer(0.0, 0.3, 0.0) == pytest.approx(-GAIN * 0.3)


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
