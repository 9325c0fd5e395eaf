"""The lean scenery, on the real game: the same physics, and frames that repeat."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kart_jax.game import RaceConfig
from tests.game.conftest import new_process
from tests.helpers import scenarios

pytestmark = [pytest.mark.real_game, pytest.mark.timeout(900)]

Run = Callable[..., Any]

FULL = RaceConfig(stuck_seconds=1e3, wrong_way_seconds=1e3, stack=1)
LEAN = replace(FULL, scenery="lean")
STEPS = 150


def drive(config: RaceConfig, actions: list[Any]) -> dict[str, Any]:
    """Drive in a process of its own, which has one scenery."""
    with new_process() as pool:
        return pool.submit(scenarios.drive, config, actions).result(600)


@pytest.mark.parametrize("track", ["lighthouse", "zengarden"])
def test_the_same_actions_give_the_same_states(track: str) -> None:
    actions = scenarios.sampled(FULL, STEPS, seed=1)
    full, lean = (drive(replace(config, track=(track,)), actions) for config in (FULL, LEAN))
    np.testing.assert_array_equal(full["locations"], lean["locations"])
    np.testing.assert_array_equal(full["rewards"], lean["rewards"])


def test_the_games_own_drivers_drive_alike() -> None:
    several = [replace(config, karts=4, driver="ai") for config in (FULL, LEAN)]
    idle = [scenarios.IDLE] * STEPS
    full, lean = (drive(config, idle) for config in several)
    np.testing.assert_array_equal(full["locations"], lean["locations"])


def test_the_picture_is_nearly_the_same_and_repeats() -> None:
    actions = [scenarios.FORWARD] * 30
    full, lean, again = (drive(config, actions) for config in (FULL, LEAN, LEAN))
    away = np.abs(full["last"].astype(int) - lean["last"].astype(int))
    assert 0 < away.mean() < 6
    np.testing.assert_array_equal(lean["last"], again["last"])


def test_a_process_keeps_its_scenery(run: Run) -> None:
    run(scenarios.drive, FULL, [scenarios.FORWARD])
    error = run(scenarios.message, scenarios.drive, LEAN, [])
    assert error.startswith("RaceInUseError")
    assert "another process for another size or scenery" in error
