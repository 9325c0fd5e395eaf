"""The lean scenery, on the real game: the same physics, and frames that repeat."""

from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="module")
def run_lean() -> Iterator[Run]:
    """Run a function in a process beside that of `run`: each has one scenery."""
    with new_process() as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(600)


def drive_apart(config: RaceConfig, actions: list[Any]) -> dict[str, Any]:
    """Drive in a process of its own."""
    with new_process() as pool:
        return pool.submit(scenarios.drive, config, actions).result(600)


@pytest.mark.parametrize("track", ["lighthouse", "zengarden"])
def test_the_same_actions_give_the_same_states(run: Run, run_lean: Run, track: str) -> None:
    actions = scenarios.sampled(FULL, STEPS, seed=1)
    full = run(scenarios.drive, replace(FULL, track=(track,)), actions)
    lean = run_lean(scenarios.drive, replace(LEAN, track=(track,)), actions)
    np.testing.assert_array_equal(full["locations"], lean["locations"])
    np.testing.assert_array_equal(full["rewards"], lean["rewards"])


def test_the_games_own_drivers_drive_alike() -> None:
    several = [replace(config, karts=4, driver="ai") for config in (FULL, LEAN)]
    idle = [scenarios.IDLE] * STEPS
    full, lean = (drive_apart(config, idle) for config in several)
    np.testing.assert_array_equal(full["locations"], lean["locations"])


def test_the_picture_is_nearly_the_same_and_repeats(run: Run, run_lean: Run) -> None:
    actions = [scenarios.FORWARD] * 30
    full, lean = run(scenarios.drive, FULL, actions), run_lean(scenarios.drive, LEAN, actions)
    again = drive_apart(LEAN, actions)
    away = np.abs(full["last"].astype(int) - lean["last"].astype(int))
    assert 0 < away.mean() < 6
    np.testing.assert_array_equal(lean["last"], again["last"])


def test_a_process_keeps_its_scenery(run: Run) -> None:
    run(scenarios.drive, FULL, [scenarios.FORWARD])
    error = run(scenarios.message, scenarios.drive, LEAN, [])
    assert error.startswith("RaceInUseError")
    assert "another process for another size or scenery" in error
