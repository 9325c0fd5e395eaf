from typing import get_args

import numpy as np
import pytest
from gymnasium import spaces

from kart_jax.game.actions import ACTION_SETS, Controls
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


def test_the_continuous_set_steers_by_degrees_and_brakes_below_zero() -> None:
    actions = ACTION_SETS["continuous"]()
    assert actions.controls(np.array([0.5, 0.25])) == Controls(steer=0.5, acceleration=0.25)
    assert actions.controls(np.array([-2.0, -0.5])) == Controls(steer=-1.0, brake=True)


@pytest.mark.parametrize("name", ["reduced", "drive", "discrete", "continuous"])
def test_only_the_full_set_can_call_for_rescue(name: str) -> None:
    actions = ACTION_SETS[name]()
    actions.space.seed(0)
    assert not any(actions.controls(actions.space.sample()).rescue for _ in range(200))


def test_every_listed_combination_is_different() -> None:
    actions = ACTION_SETS["discrete"]()
    assert isinstance(actions.space, spaces.Discrete)
    meanings = {actions.controls(number) for number in range(int(actions.space.n))}
    assert len(meanings) == actions.space.n
