"""The environment on the real game. Tests share one process of the game, at one frame size."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
import pytest

from kart_jax.game.actions import closest_actions
from kart_jax.game.config import DIFFICULTIES, ActionSetName
from kart_jax.game.engine import catalogue
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.vector_env import KartVectorEnv
from tests.helpers import scenarios, users
from tests.helpers.scenarios import FORWARD, PATIENT

pytestmark = pytest.mark.real_game

Run = Callable[..., Any]


@pytest.mark.parametrize("action_set", get_args(ActionSetName))
def test_gymnasiums_checks_pass_for_each_action_set(run: Run, action_set: ActionSetName) -> None:
    run(scenarios.check, replace(PATIENT, action_set=action_set))


@pytest.mark.parametrize(
    "view",
    [
        {"layout": "thw"},
        {"layout": "hwc", "colour": "rgb"},
        {"colour": "rgb", "depth": True, "labels": True},
        {"observation": "both", "stack": 1},
    ],
)
def test_gymnasiums_checks_pass_for_each_kind_of_observation(
    run: Run, view: dict[str, Any]
) -> None:
    run(scenarios.check, replace(PATIENT, **view))


def test_gymnasium_makes_the_environment() -> None:
    env = gymnasium.make("kart_jax/SuperTuxKart-v0", stack=4)
    assert env.observation_space.shape == (4, 48, 64, 1)
    assert env.action_space == gymnasium.spaces.MultiDiscrete([2, 2, 3, 2, 2, 2, 2])
    assert env.spec is not None
    assert env.spec.nondeterministic
    env.close()


def test_the_file_list_of_tracks_is_the_games(run: Run) -> None:
    tracks = catalogue.race_tracks()
    assert len(tracks) == 21
    assert all(tracks.values())
    assert {"lighthouse", "mines", "olivermath"} <= set(tracks)
    assert not {"battleisland", "soccer_field", "overworld"} & set(tracks)
    assert "tux" in catalogue.kart_models()


@pytest.mark.parametrize(
    ("field", "value"), [("track", "nowhere"), ("track", "battleisland"), ("kart", "racoon")]
)
def test_what_is_not_installed_is_refused_before_the_game_starts(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{field} = '{value}'"):
        gymnasium.make("kart_jax/SuperTuxKart-v0", **{field: value})


@pytest.mark.parametrize(
    "options",
    [
        {"track": "stadium"},
        {"trakc": "mines"},
        {"reverse": "no"},
        {"episode_seed": -1},
        {"episode_seed": True},
        5,
    ],
)
def test_reset_refuses_what_it_cannot_do(run: Run, options: dict[str, Any]) -> None:
    error = run(scenarios.message, scenarios.drive, PATIENT, [], 0, options)
    assert error.startswith("UserError"), error


@pytest.mark.parametrize(
    ("action_set", "action"),
    [
        ("full", [1, 0, 3, 0, 0, 0, 0]),
        ("full", [1, 0, 1]),
        ("full", [[1, 2], [3]]),
        ("full", None),
        ("discrete", 11),
        ("continuous", ["a", "b"]),
        ("continuous", [0.0, float("nan")]),
    ],
)
def test_step_refuses_what_is_no_action(run: Run, action_set: ActionSetName, action: Any) -> None:
    config = replace(PATIENT, action_set=action_set)
    error = run(scenarios.message, scenarios.drive, config, [action])
    assert error.startswith("UserError: action = "), error


def test_tracks_change_within_a_process_in_both_directions(run: Run) -> None:
    tracks = ["mines", "snowtuxpeak"]
    seen = run(scenarios.load, [(track, way) for track in tracks for way in (False, True)])
    assert all(moved > 2.0 for moved, _ in seen)
    assert all(contrast > 5.0 for _, contrast in seen)


def test_a_track_is_loaded_when_it_changes_and_not_at_every_reset(run: Run) -> None:
    tracks = ["olivermath", "olivermath", "lighthouse", "lighthouse", "olivermath"]
    assert run(scenarios.loads, PATIENT, tracks) == 3
    assert run(scenarios.loads, replace(PATIENT, karts=2), ["lighthouse"] * 2) == 2


def test_a_full_field_of_any_karts_can_race(run: Run) -> None:
    config = replace(PATIENT, karts=20, kart="gnu", start_position=20)
    assert run(scenarios.field, config) == (20, "Gnu", 20)
    assert run(scenarios.field, PATIENT) == (1, "Tux", 1)


def test_karts_are_faster_the_more_difficult_it_is(run: Run) -> None:
    driven = []
    for difficulty in DIFFICULTIES:
        drive = run(scenarios.drive, replace(PATIENT, difficulty=difficulty), [FORWARD] * 40)
        driven.append(np.linalg.norm(drive["locations"][-1] - drive["locations"][0]))
    assert driven[0] + 5.0 < driven[1] < driven[2] - 5.0


def test_time_is_the_same_however_it_is_cut_into_actions(run: Run) -> None:
    """One second as ten actions, as twenty shorter ones, and as two that are repeated."""
    driven = {}
    for seconds, repeat, actions in ((0.1, 1, 10), (0.05, 1, 20), (0.1, 5, 2)):
        config = replace(PATIENT, step_seconds=seconds, action_repeat=repeat)
        driven[seconds, repeat] = run(scenarios.drive, config, [FORWARD] * actions)["locations"]
    tenths, halves, repeated = driven.values()
    np.testing.assert_allclose(halves[::2], tenths, atol=0.05)
    np.testing.assert_array_equal(repeated, tenths[::5])


@pytest.mark.parametrize(
    ("action_set", "action", "meaning"),
    [
        ("reduced", [1, 0, 2, 0, 1, 0], [1, 0, 2, 0, 1, 0, 0]),
        ("race", [2, 4, 1, 0], [1, 0, 2, 0, 1, 0, 0]),
        ("race", [0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]),
        ("drive", [1, 0], [1, 0, 0, 0, 0, 0, 0]),
        ("discrete", 4, [1, 0, 2, 0, 1, 0, 0]),
        ("discrete", 9, [0, 1, 1, 0, 0, 0, 0]),
        ("continuous", [-1.0, 1.0], [1, 0, 0, 0, 0, 0, 0]),
        ("continuous", [1.0, -1.0], [0, 1, 2, 0, 0, 0, 0]),
    ],
)
def test_action_sets_say_the_same_in_other_words(
    run: Run, action_set: ActionSetName, action: Any, meaning: list[int]
) -> None:
    """As the full set, after a second of full throttle in either."""
    ahead = closest_actions(action_set, np.array([[0, 1, 0, 0, 0, 0, 0]]))[0]
    said = run(
        scenarios.drive, replace(PATIENT, action_set=action_set), [ahead] * 10 + [action] * 15
    )
    meant = run(scenarios.drive, PATIENT, [FORWARD] * 10 + [meaning] * 15)
    np.testing.assert_allclose(said["locations"], meant["locations"], atol=1e-4)
    assert said["rewards"] == pytest.approx(meant["rewards"], abs=1e-4)


def test_misuse_is_told_apart(run: Run) -> None:
    assert "call reset()" in run(scenarios.message, scenarios.step_first)
    assert "has ended (time_limit)" in run(scenarios.message, scenarios.step_after_the_end)
    assert "in one thread" in run(scenarios.message, scenarios.draw_in_a_thread)
    assert "has begun a race since" in run(scenarios.message, scenarios.two_at_once)
    other_size = replace(PATIENT, width=80)
    assert "another process" in run(scenarios.message, scenarios.reset_once, other_size)
    other_driver = replace(PATIENT, driver="ai")
    assert "cannot change to 'ai'" in run(scenarios.message, scenarios.reset_once, other_driver)
    run(scenarios.check, PATIENT)


def test_data_of_another_version_is_refused(run_apart: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "supertuxkart.1.4").touch()
    error = run_apart(
        scenarios.message, scenarios.reset_once, PATIENT, SUPERTUXKART_DATADIR=str(tmp_path)
    )
    assert error.startswith("DataError")
    assert "1.4" in error


def test_the_profile_of_a_user_who_plays_is_left_alone(run_apart: Run, tmp_path: Path) -> None:
    folders = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_DATA_HOME": str(tmp_path / "data")}
    (tmp_path / "config").mkdir()
    error = run_apart(scenarios.message, scenarios.reset_once, PATIENT, **folders)
    assert error == "no error"
    assert not list((tmp_path / "config").iterdir())


@pytest.mark.parametrize(
    "view", [{"layout": "thw"}, {"layout": "hwc", "colour": "rgb"}], ids=["grey", "colour"]
)
def test_stable_baselines_trains_without_a_wrapper(run_apart: Run, view: dict[str, Any]) -> None:
    pytest.importorskip("stable_baselines3")
    assert run_apart(scenarios.train_peer, {"stack": 4, "action_set": "drive", **view}) == 64


def test_a_race_in_a_forked_process_is_refused(run_apart: Run) -> None:
    assert 'get_context("spawn")' in run_apart(scenarios.start_in_a_fork, PATIENT)


def test_the_wrapper_of_every_loop_counts_returns(run: Run) -> None:
    """Gymnasium's own, around `gymnasium.make`, as in CleanRL."""
    counted, info = run(users.count_return, {"time_limit": 1.5, "action_set": "drive"})
    assert info["episode"]["r"] == pytest.approx(counted[0])
    assert info["episode"]["l"] == counted[1] == info["summary"]["length"]
    assert info["summary"]["return"] == pytest.approx(counted[0])


def test_the_wrapper_of_every_loop_counts_in_gymnasiums_workers(run: Run) -> None:
    infos = run(users.count_return_in_workers, {"time_limit": 1.0, "action_set": "drive"})
    assert list(infos["final_info"]["episode"]["l"]) == [10, 10]


def test_check_env_as_gymnasium_documents_it(run: Run) -> None:
    run(users.check_env, {"action_set": "drive"})


def test_a_cell_that_is_run_twice_gets_its_race(run: Run) -> None:
    """The first environment is dropped, not closed."""
    assert run(users.drop_and_make_again, PATIENT) == [True, True, True]


def test_what_numpy_makes_an_action_is_one(run: Run) -> None:
    """JAX arrays, among others."""
    run(users.step_with_jax_arrays, PATIENT)


def test_a_mistake_leaves_the_workers_as_they_are() -> None:
    with KartVectorEnv(PATIENT, WorkerConfig(num_envs=2, spares=0), seed=0) as envs:
        envs.reset()
        before = envs.call("line")
        with pytest.raises(ValueError, match="action of environment 1 = "):
            envs.step([FORWARD, [9] * len(FORWARD)])
        with pytest.raises(ValueError, match="environment 0: options = 'tarck'"):
            envs.reset(options={"tarck": "mines"})
        envs.step([FORWARD, FORWARD])
        assert envs.losses == 0
        assert [line.length for line in envs.call("line")] == [line.length for line in before]
