from typing import Any, get_args

import numpy as np
import pytest
from gymnasium import spaces

from kart_jax.game.actions import (
    ACTION_SETS,
    Controls,
    check_action,
    closest_actions,
    mean_controls,
)
from kart_jax.game.config import ActionSetName


def test_every_named_set_exists() -> None:
    assert set(ACTION_SETS) == set(get_args(ActionSetName))


def test_the_full_set_has_the_seven_parts_in_order() -> None:
    actions = ACTION_SETS["full"]()
    assert actions.space == spaces.MultiDiscrete([2, 2, 3, 2, 2, 2, 2])
    assert actions.controls([1, 0, 0, 0, 0, 0, 0]) == Controls(acceleration=1.0, steer=-1.0)
    assert actions.controls([0, 1, 1, 0, 0, 0, 0]) == Controls(brake=True)
    assert actions.controls([0, 0, 2, 1, 0, 0, 0]) == Controls(steer=1.0, fire=True)
    assert actions.controls([0, 0, 1, 0, 1, 0, 0]) == Controls(drift=True)
    assert actions.controls([0, 0, 1, 0, 0, 1, 0]) == Controls(nitro=True)
    assert actions.controls([0, 0, 1, 0, 0, 0, 1]) == Controls(rescue=True)


def test_the_drive_set_is_throttle_and_steer() -> None:
    actions = ACTION_SETS["drive"]()
    assert actions.space == spaces.MultiDiscrete([2, 3])
    assert actions.controls([1, 2]) == Controls(acceleration=1.0, steer=1.0)
    assert actions.controls([0, 1]) == Controls()


def test_the_race_set_steers_in_five_steps_brakes_drifts_and_has_nitro() -> None:
    actions = ACTION_SETS["race"]()
    assert actions.space == spaces.MultiDiscrete([3, 5, 2, 2])
    assert actions.controls([2, 1, 0, 0]) == Controls(acceleration=1.0, steer=-0.5)
    assert actions.controls([0, 2, 0, 0]) == Controls(brake=True)
    assert actions.controls([1, 4, 1, 1]) == Controls(steer=1.0, drift=True, nitro=True)


def test_the_continuous_set_steers_by_degrees_and_brakes_below_zero() -> None:
    actions = ACTION_SETS["continuous"]()
    assert actions.controls(np.array([0.5, 0.25])) == Controls(steer=0.5, acceleration=0.25)
    assert actions.controls(np.array([-2.0, -0.5])) == Controls(steer=-1.0, brake=True)


@pytest.mark.parametrize("name", ["reduced", "race", "drive", "discrete", "continuous"])
def test_only_the_full_set_can_call_for_rescue(name: str) -> None:
    actions = ACTION_SETS[name]()
    actions.space.seed(0)
    assert not any(actions.controls(actions.space.sample()).rescue for _ in range(200))


def test_every_listed_combination_is_different() -> None:
    actions = ACTION_SETS["discrete"]()
    assert isinstance(actions.space, spaces.Discrete)
    meanings = {actions.controls(number) for number in range(int(actions.space.n))}
    assert len(meanings) == actions.space.n


@pytest.mark.parametrize("name", ACTION_SETS)
def test_what_an_action_does_is_closest_to_itself(name: str) -> None:
    actions = ACTION_SETS[name]()
    actions.space.seed(0)
    drawn = [actions.space.sample() for _ in range(50)]
    controls = np.array([actions.controls(action) for action in drawn], np.float32)
    again = [actions.controls(action) for action in closest_actions(name, controls)]
    # A continuous action that brakes does so whatever its number.
    np.testing.assert_array_equal(np.array(again, np.float32), controls)


def test_what_no_action_does_is_rounded_to_the_closest() -> None:
    steers = [-0.9, -0.3, -0.2, 0.1, 0.7]
    controls = np.array([Controls(steer=s, acceleration=0.9) for s in steers], np.float32)
    throttle, steer = closest_actions("drive", controls).T
    assert throttle.tolist() == [1] * 5
    assert steer.tolist() == [0, 1, 1, 1, 2]
    assert closest_actions("race", controls)[:, 1].tolist() == [0, 1, 2, 2, 3]


def test_the_mean_of_controls_is_what_was_done_on_the_whole() -> None:
    parts = [Controls(steer=1.0, acceleration=1.0, drift=True), Controls(drift=True), Controls()]
    assert mean_controls(parts) == Controls(
        steer=pytest.approx(1 / 3), acceleration=pytest.approx(1 / 3), drift=True
    )


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("drive", [1, 3]),
        ("drive", [-1, 0]),
        ("race", [0, 0, 0]),
        ("discrete", 11),
        ("discrete", [1]),
        ("continuous", [0.0, float("nan")]),
        ("continuous", [0.0, float("inf")]),
        ("continuous", 0.5),
    ],
)
def test_what_is_no_action_is_refused_by_name(name: str, action: Any) -> None:
    with pytest.raises(ValueError, match=r"action = .* a member of "):
        check_action(ACTION_SETS[name]().space, action)


@pytest.mark.parametrize("name", ACTION_SETS)
def test_what_a_space_gives_is_an_action(name: str) -> None:
    check_action(ACTION_SETS[name]().space, ACTION_SETS[name]().space.sample())
    check_action(ACTION_SETS["continuous"]().space, [-3.0, 7.0])  # clipped
