"""Races without drawing, and the state, on the real game."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kart_jax.game import RaceConfig
from kart_jax.game.engine.catalogue import race_tracks
from kart_jax.game.env import KartEnv
from kart_jax.game.state import LIMIT, NAMES, SIZE
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.vector_env import KartVectorEnv
from tests.game.conftest import new_process
from tests.helpers import scenarios
from tests.helpers.scenarios import FORWARD, PATIENT

pytestmark = pytest.mark.real_game

Run = Callable[..., Any]

UNDRAWN = replace(PATIENT, observation="state")
NO_OPENGL = {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent"}


def test_gymnasiums_checks_pass(run: Run) -> None:
    run(scenarios.check, UNDRAWN)


def test_no_opengl_is_needed(run_apart: Run) -> None:
    error = run_apart(scenarios.message, scenarios.reset_once, UNDRAWN, **NO_OPENGL)
    assert error == "no error"


def test_a_process_takes_a_fifth_of_the_memory_and_does_not_begin_to_draw(run_apart: Run) -> None:
    assert run_apart(scenarios.memory, UNDRAWN) < 110
    assert "another size" in run_apart(scenarios.message, scenarios.reset_once, PATIENT)


def test_a_process_keeps_its_track(run_apart: Run) -> None:
    error = run_apart(scenarios.message, scenarios.change_track, UNDRAWN, "zengarden")
    assert error.startswith("RaceInUseError")
    assert "'lighthouse'" in error
    assert "another process for 'zengarden'" in error


def test_several_tracks_in_one_environment_are_refused() -> None:
    with pytest.raises(ValueError, match=r"track = .* a single one .* KartVectorEnv"):
        KartEnv(replace(UNDRAWN, track=("lighthouse", "mines")))
    with pytest.raises(ValueError, match="render_mode"):
        KartEnv(UNDRAWN, "rgb_array")


def test_the_race_is_the_one_that_is_drawn(run: Run, run_apart: Run) -> None:
    """The same kart meets the same; rounding apart, which differs with what is drawn."""
    actions = [[1, 0, steer, 0, 0, 0, 0] for steer in (1, 1, 2, 1, 0, 1, 1, 0, 1, 1) * 3]
    ours = run(scenarios.drive, UNDRAWN, actions)
    drawn = run_apart(scenarios.drive, replace(PATIENT, observation="both"), actions)
    np.testing.assert_allclose(ours["locations"], drawn["locations"], atol=0.01)
    np.testing.assert_allclose(ours["rewards"], drawn["rewards"], atol=0.01)
    np.testing.assert_allclose(ours["last"], drawn["last"]["state"], atol=0.05)


@pytest.mark.parametrize("track", ["lighthouse", "black_forest"])
def test_the_scenery_that_is_left_out_changes_nothing(track: str, run_apart: Run) -> None:
    config = replace(UNDRAWN, track=(track,))
    actions = scenarios.sampled(config, 150, seed=1)
    with new_process() as pool:
        ours = pool.submit(scenarios.drive, config, actions).result(280)
    full = run_apart(scenarios.drive_in_full, config, actions, scenery=True, countdown=False)
    np.testing.assert_array_equal(ours["last"], full["last"])
    np.testing.assert_array_equal(ours["locations"], full["locations"])
    np.testing.assert_array_equal(ours["rewards"], full["rewards"])


def test_a_shortened_countdown_changes_no_start_along_the_lap(run_apart: Run) -> None:
    config = replace(UNDRAWN, random_start=1.0, hold_start=True)
    actions = [FORWARD] * 30
    with new_process() as pool:
        ours = pool.submit(scenarios.drive, config, actions).result(280)
    full = run_apart(scenarios.drive_in_full, config, actions, scenery=False, countdown=True)
    np.testing.assert_allclose(ours["last"], full["last"], atol=1e-3)


def test_the_state_tells_right_from_left(run: Run) -> None:
    """Right of the centre line, turned to the right of it, and turning right are positive."""
    left, ahead, right = (
        run(scenarios.states, UNDRAWN, [FORWARD] * 8 + [[1, 0, steer, 0, 0, 0, 0]] * 12)[-1]
        for steer in range(3)
    )
    for name, much in (("heading_sin", 0.1), ("lateral", 0.5), ("yaw_rate", 0.2)):
        assert left[name] < ahead[name] - much < right[name] - 2 * much
    assert left["road_12_right"] > ahead["road_12_right"] > right["road_12_right"]
    assert [state["held_steer"] for state in (left, ahead, right)] == [-1, 0, 1]


def test_the_state_speeds_up_and_counts_down(run: Run) -> None:
    first, *_, last = run(scenarios.states, UNDRAWN, [FORWARD] * 10)
    assert first["speed"] < 1.0
    assert last["speed"] == pytest.approx(last["velocity_ahead"], abs=0.5)
    assert last["speed"] > first["speed"] + 5.0
    assert last["distance_left"] < first["distance_left"] - 2.0
    assert last["seconds"] == pytest.approx(1.0)


def test_a_drift_is_told_and_pays_after_a_second(run: Run) -> None:
    """To the right, then let go: a burst of speed."""
    config = replace(UNDRAWN, action_set="fine")
    drifting = run(scenarios.states, config, [[2, 4, 0, 0, 0]] * 13 + [[2, 5, 1, 0, 0]] * 11)
    for state, seconds in zip(drifting[-11:], range(1, 12), strict=True):
        assert state["skid_seconds"] == pytest.approx(0.1 * seconds, abs=1e-4)
        assert state["skid_right"] == 1.0
    assert [state["skid_level"] for state in drifting[-2:]] == [0.0, 1.0]
    gained = {}
    for held in (10, 11):
        actions = [[2, 4, 0, 0, 0]] * 13 + [[2, 5, 1, 0, 0]] * held + [[2, 4, 0, 0, 0]]
        before, after = run(scenarios.states, config, actions)[-2:]
        assert after["skid_seconds"] == 0.0
        gained[held] = after["speed"] - before["speed"]
    assert gained[11] > gained[10] + 1.5


@pytest.mark.parametrize("track", ["cocoa_temple", "olivermath"])
def test_a_guided_race_meets_all_that_the_state_tells(run_apart: Run, track: str) -> None:
    config = RaceConfig(track=(track,), observation="state", action_set="fine")
    states = run_apart(scenarios.guided_states, config, 300)
    assert states.shape == (300, SIZE)
    assert np.isfinite(states).all()
    assert (np.abs(states) <= LIMIT).all()
    seen = {name for name, column in zip(NAMES, states.T, strict=True) if np.ptp(column) > 0}
    told = ("speed", "lateral", "turn_25", "next_turn", "road_30_right", "skid", "height", "pitch")
    assert set(told) <= seen
    assert {"nitro_1_present", "box_1_present", "held_drift"} <= seen


def test_workers_race_on_every_track_without_drawing() -> None:
    race = RaceConfig(
        track=tuple(race_tracks()), observation="state", action_set="drive", random_start=0.5
    )
    count = 7
    for first in range(0, len(race.track), count):
        with KartVectorEnv(
            race, WorkerConfig(num_envs=count, groups=1), seed=0, first=first
        ) as envs:
            states, infos = envs.reset()
            assert infos["track"].tolist() == list(race.track[first : first + count])
            speeds = []
            for _ in range(10):
                states, *_ = envs.step(np.ones((count, 2), int))
                speeds.append(states[:, NAMES.index("speed")])
            assert (np.max(speeds, 0) > 0.1).all()
            assert envs.losses == 0


def test_opponents_and_the_games_driver_race_without_drawing(run: Run) -> None:
    config = replace(UNDRAWN, karts=3, start_position=3)
    state = run(scenarios.states, config, [FORWARD] * 15)[-1]
    assert state["kart_1_present"] == state["kart_2_present"] == 1.0
    assert state["kart_3_present"] == 0.0
    assert state["kart_1_ahead"] > 0.0
