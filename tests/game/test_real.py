"""The environment on the real game. Tests share one process of the game, at one frame size."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
import pytest
from PIL import Image

from kart_jax.game import RaceConfig
from kart_jax.game.actions import closest_actions
from kart_jax.game.config import DIFFICULTIES, ActionSetName
from kart_jax.game.engine import catalogue
from kart_jax.game.labels import LABELS, SPACING
from kart_jax.game.replay import replay
from kart_jax.game.rewards import SCHEMES
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.vector_env import KartVectorEnv
from tests.game.conftest import new_process
from tests.helpers import scenarios, users
from tests.helpers.scenarios import BACKWARD, FORWARD, IDLE, PATIENT, RESCUE

pytestmark = pytest.mark.real_game

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run_ai() -> Iterator[Run]:
    """Run a function in a process for the built-in driver, which no process changes to."""
    with new_process() as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(280)


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


def test_an_episode_begins_at_rest_on_the_grid_and_is_driven_from_go(run: Run) -> None:
    (start,) = run(scenarios.starts, PATIENT, [0])
    assert start["speed"] == 0.0
    assert start["on_road"]
    assert start["on_grid"]
    drive = run(scenarios.drive, PATIENT, [FORWARD] * 10)
    assert np.linalg.norm(drive["locations"][1] - drive["locations"][0]) > 0.01
    assert (drive["first"] == drive["first"][0]).all()


def test_holding_the_start_earns_the_start_boost(run: Run) -> None:
    """After a load and after a restart, the second kart on the grid too."""
    for config in (PATIENT, replace(PATIENT, karts=3, start_position=2)):
        driven = []
        for held in (False, True):
            drive = run(scenarios.drive, replace(config, hold_start=held), [FORWARD] * 30, 3)
            driven.append(np.linalg.norm(drive["locations"][-1] - drive["locations"][0]))
        assert 14.0 < driven[1] - driven[0] < 17.0
    boosted = replace(PATIENT, hold_start=True)
    first, second = (met["locations"] for met in run(scenarios.again, boosted, [7, 7], 20))
    np.testing.assert_array_equal(first, second)


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


def test_tracks_and_directions_are_drawn_at_resets(run: Run) -> None:
    config = replace(PATIENT, track=("lighthouse", "olivermath"), track_weights=(0.0, 1.0))
    tracks = run(scenarios.drawn_tracks, config, 2)
    assert [track for track, *_ in tracks] == ["olivermath"] * 2
    both = run(scenarios.drawn_tracks, replace(PATIENT, direction="both"), 6)
    headings = {reverse: heading for _, reverse, heading in both}
    assert set(headings) == {False, True}
    assert abs(math.cos(headings[True] - headings[False]) + 1.0) < 0.3  # the other way round
    ((_, reverse, heading),) = run(scenarios.drawn_tracks, replace(PATIENT, direction="reverse"), 1)
    assert (reverse, heading) == (True, headings[True])


def test_only_the_last_step_of_a_repeated_action_is_drawn(run: Run) -> None:
    assert run(scenarios.drawn_frames, replace(PATIENT, action_repeat=4), 5) == 5


def test_the_built_in_driver_finishes_and_shows_its_controls(run_ai: Run) -> None:
    lap = run_ai(scenarios.ai_lap, RaceConfig(stuck_seconds=10.0))
    episode = lap["info"]["summary"]
    assert lap["terminated"]
    assert episode["end"] == "finished"
    assert episode["progress_fraction"] == 1.0
    assert 25.0 < episode["finish_time"] < 45.0
    assert episode["progress_m"] == pytest.approx(880, abs=5)
    assert episode["position"] == 1.0
    steering = {round(controls["steer"], 3) for controls in lap["controls"]}
    assert len(steering) > 20
    assert max(controls["acceleration"] for controls in lap["controls"]) == 1.0


def test_a_race_of_two_laps_is_twice_as_long(run_ai: Run) -> None:
    config = RaceConfig(track=("olivermath",), laps=2, stuck_seconds=10.0)
    episode = run_ai(scenarios.ai_lap, config)["info"]["summary"]
    assert episode["end"] == "finished"
    assert episode["progress_m"] == pytest.approx(2 * 496, abs=10)
    assert 30.0 < episode["finish_time"] < 60.0  # the game's driver varies


@pytest.mark.parametrize(
    ("end", "config", "actions"),
    [
        ("stuck", RaceConfig(), [FORWARD] * 10 + [IDLE] * 100),
        ("wrong_way", replace(PATIENT, wrong_way_seconds=1.0), [FORWARD] * 30 + [BACKWARD] * 100),
        ("time_limit", replace(PATIENT, time_limit=2.0), [FORWARD] * 100),
    ],
)
def test_an_episode_is_cut_off_for_a_reason_that_is_told(
    run: Run, end: str, config: RaceConfig, actions: list[Any]
) -> None:
    drive = run(scenarios.drive, config, actions)
    cut_short = end == "time_limit"
    assert drive["ended"] == (not cut_short, cut_short)
    assert drive["info"]["end"] == drive["info"]["summary"]["end"] == end
    assert drive["info"]["summary"]["progress_m"] > 1.0


def test_opponents_race_and_the_position_is_told(run: Run) -> None:
    config = replace(PATIENT, karts=4)
    (start,) = run(scenarios.starts, replace(config, start_position=4), [0])
    assert start["position"] == 4
    lap = run(scenarios.drive, replace(config, time_limit=6.0), [IDLE] * 60)
    assert lap["info"]["summary"]["position"] == 4.0


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        (
            replace(
                PATIENT,
                track=("lighthouse", "zengarden"),
                random_start=0.5,
                start_actions=5,
                start_jitter=1.0,
            ),
            50,
        ),
        # Half a second after GO the game's drivers may choose other ways than before.
        (replace(PATIENT, karts=4, start_position=0), 3),
    ],
    ids=["alone", "opponents"],
)
def test_seeds_and_actions_repeat_the_race_in_another_process(
    run: Run, run_apart: Run, config: RaceConfig, steps: int
) -> None:
    """The shared process has raced before; the other one has not."""
    here = run(scenarios.again, config, [3, 4, 3], steps)
    there = run_apart(scenarios.again, config, [4, 3], steps)
    for one, other in ((here[0], here[2]), (here[0], there[1]), (here[1], there[0])):
        np.testing.assert_array_equal(one["locations"], other["locations"])
        assert one["rewards"] == other["rewards"]
    assert not np.array_equal(here[0]["locations"], here[1]["locations"])


def test_a_first_race_and_a_restart_are_the_same(run: Run) -> None:
    first, second = run(scenarios.again, PATIENT, [7, 7], 60)
    np.testing.assert_array_equal(first["locations"], second["locations"])


def test_random_starts_lie_along_the_road(run: Run) -> None:
    seen = run(scenarios.starts, replace(PATIENT, random_start=1.0), list(range(12)))
    along = [start["along"] for start in seen]
    assert len({round(metres) for metres in along}) > 9
    assert np.std(along) > 100.0
    assert all(start["on_road"] and abs(start["error"]) < 0.6 for start in seen)
    assert not any(start["on_grid"] for start in seen)
    assert all(abs(start["speed"]) < 2.0 for start in seen)


def test_a_random_start_is_turned_by_seed(run: Run) -> None:
    config = replace(PATIENT, random_start=1.0, start_turn=90.0)
    errors = [start["error"] for start in run(scenarios.starts, config, list(range(8)))]
    assert min(errors) < -0.5
    assert max(errors) > 0.5
    assert all(abs(error) < 2.2 for error in errors)


def test_a_jittered_start_moves_sideways_by_seed(run: Run) -> None:
    seen = run(scenarios.starts, replace(PATIENT, start_jitter=2.0), [0, 1, 2])
    lateral = [start["lateral"] for start in seen]
    assert np.ptp(lateral) > 0.3
    assert all(abs(one - lateral[0]) < 4.1 for one in lateral)


def test_an_episode_seed_repeats_its_start(run: Run) -> None:
    config = replace(PATIENT, random_start=1.0)
    first = run(scenarios.drive, config, [], 11)
    again = run(scenarios.drive, config, [], 99, {"episode_seed": first["about"]["episode_seed"]})
    np.testing.assert_array_equal(first["locations"], again["locations"])


@pytest.mark.parametrize(
    "actions",
    [
        [FORWARD] * 25 + ([BACKWARD] * 30 + [FORWARD] * 20) * 3,
        [FORWARD] * 25 + ([RESCUE] + [IDLE] * 20 + [FORWARD] * 12) * 4,
        [[1, 0, 0, 0, 0, 0, 0]] * 200,
    ],
    ids=["back and forth over the start line", "repeated rescue", "circling"],
)
def test_an_exploit_gains_no_more_ground_than_was_driven(run: Run, actions: list[Any]) -> None:
    config = replace(PATIENT, reward_weights=(("time", 0.0), ("off_road", 0.0)))
    drive = run(scenarios.drive, config, actions)
    paid = drive["rewards"][drive["rewards"] > 0].sum() / 0.1
    honest = run(scenarios.drive, config, [FORWARD] * 60)["rewards"].sum() / 0.1
    assert paid < honest
    # What was gained is the distance from the start, however often it was driven.
    reach = np.linalg.norm(drive["locations"] - drive["locations"][0], axis=1).max()
    assert paid < 1.3 * reach + 2.0


def test_a_short_cut_gains_nothing(run: Run) -> None:
    """Put down on the road 200 m further on, as if it had flown there."""
    driven = run(scenarios.leap, PATIENT, 200.0, [FORWARD] * 60)
    assert sum(driven["before"]) > 10.0
    assert sum(driven["after"]) < 1.0


def test_the_default_reward_is_the_sum_of_its_terms(run: Run) -> None:
    """Straight on, off the road and into the fence; by seconds off the road, not by actions."""
    config = replace(PATIENT, action_repeat=3, reward_weights={"drift": 0.5}, time_limit=7.2)
    driven = run(scenarios.every_info, config, [[1, 0, 1, 0, 1, 0, 0]] * 24)
    weights = {**SCHEMES["progress"], "drift": 0.5}
    for reward, info in driven:
        terms = info["reward_terms"]
        assert reward == pytest.approx(sum(weights[name] * terms[name] for name in terms))
    off_road = sum(info["reward_terms"]["off_road"] for _, info in driven)
    assert 0.1 < off_road < 7.2
    assert driven[-1][1]["summary"]["off_road_seconds"] == pytest.approx(off_road)


def test_the_original_reward_is_the_sum_of_its_terms(run: Run) -> None:
    drifting = [1, 0, 0, 0, 1, 0, 0]
    drive = run(
        scenarios.drive, replace(PATIENT, reward="original"), [FORWARD] * 20 + [drifting] * 5
    )
    terms = drive["info"]["reward_terms"]
    assert set(terms) == set(SCHEMES["original"])
    assert terms["drift"] == 1.0
    assert terms["moved"] > 0.5
    total = sum(weight * terms[name] for name, weight in SCHEMES["original"].items())
    assert drive["rewards"][-1] == pytest.approx(total)


def test_every_rescue_is_counted_once(run: Run) -> None:
    actions = [FORWARD] * 25 + ([RESCUE] + [IDLE] * 20 + [FORWARD] * 12) * 2
    config = replace(PATIENT, time_limit=len(actions) * PATIENT.step_seconds)
    assert run(scenarios.drive, config, actions)["info"]["summary"]["rescues"] == 2.0


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


def test_a_refused_reset_leaves_the_episode_as_it_was(run: Run) -> None:
    about, info = run(scenarios.refused_reset)
    assert about == {name: info[name] for name in about}


def test_the_frame_is_the_observations_own_in_colour(run: Run) -> None:
    image = run(scenarios.reset_once, PATIENT, "rgb_array")
    assert image.shape == (48, 64, 3)
    assert image.std() > 10.0


def test_a_window_needs_a_display(run_apart: Run) -> None:
    error = run_apart(
        scenarios.message, scenarios.reset_once, PATIENT, "human", DISPLAY="", WAYLAND_DISPLAY=""
    )
    assert error.startswith("GraphicsError")
    assert "rgb_array" in error


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no X server: apt-get install xvfb")
def test_a_window_shows_the_race_on_a_display(run_apart: Run, tmp_path: Path) -> None:
    size = ("-screen", "0", "320x240x24", "-fbdir", str(tmp_path), "-displayfd", "1")
    with subprocess.Popen(
        ["Xvfb", *size], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            display = f":{server.stdout.readline().strip()}"
            screen = tmp_path / "Xvfb_screen0"
            config = replace(PATIENT, width=320, height=240)
            before, after = run_apart(scenarios.shown, config, screen, DISPLAY=display)
        finally:
            server.terminate()
    assert before < 1.0
    assert after > 10.0


def test_no_driver_is_an_error_that_says_what_to_install(run_apart: Run) -> None:
    error = run_apart(
        scenarios.message,
        scenarios.reset_once,
        PATIENT,
        __EGL_VENDOR_LIBRARY_FILENAMES="/nonexistent",
    )
    assert error.startswith("GraphicsError")
    assert "libgl1-mesa-dri" in error


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


def test_frames_of_any_size_are_drawn_straight(run: Run, run_apart: Run) -> None:
    """A width that is no multiple of four would show in slanted rows."""
    straight = run(scenarios.reset_once, PATIENT, "rgb_array")
    odd = run_apart(scenarios.reset_once, replace(PATIENT, width=61, height=47), "rgb_array")
    assert odd.shape == (47, 61, 3)
    resized = np.asarray(Image.fromarray(odd).resize((64, 48)))
    assert np.abs(resized.astype(float) - straight).mean() < 0.4 * straight.std()


def test_the_largest_frame_is_drawn_whole(run: Run, run_apart: Run) -> None:
    large = run_apart(scenarios.reset_once, replace(PATIENT, height=768, width=1024), "rgb_array")
    assert large.shape == (768, 1024, 3)
    small = large.reshape(48, 16, 64, 16, 3).mean((1, 3))
    straight = run(scenarios.reset_once, PATIENT, "rgb_array")
    assert np.abs(small - straight).mean() < 0.4 * straight.std()


def test_depth_grows_towards_the_horizon(run: Run) -> None:
    seen = run(scenarios.drive, replace(PATIENT, depth=True), [])["first"][-1]
    metres = 1e3 ** (seen[..., 1] / 255.0)
    assert metres[-1, 32] < metres[-8, 32] < metres[-16, 2] < 10.0
    assert (metres[0] > 500.0).all()
    assert 1.5 < metres[28, 32] < 3.0  # The kart itself, behind which the camera stands.


def test_labels_tell_what_the_colours_show(run: Run) -> None:
    """The kart is red on a brown road under a blue sky, three others stand before it."""
    config = replace(PATIENT, colour="rgb", labels=True, karts=4, start_position=4)
    seen = run(scenarios.drive, config, [])["first"][-1]
    colours, labels = seen[..., :3].astype(int), seen[..., 3] // SPACING
    kart, opponent, road = (labels == LABELS.index(name) for name in ("kart", "opponent", "road"))
    red = (colours[..., 0] > 120) & (colours[..., 1:].max(-1) < 60)
    assert (red & kart).sum() > 20
    assert (red & kart).sum() > 0.9 * (red & ~opponent).sum()
    assert 10 < opponent.sum() < kart.sum()
    assert road[-12:].mean() > 0.6
    assert (labels[:12] == LABELS.index("background")).all()
    alone = run(scenarios.drive, replace(config, karts=1, start_position=1), [])["first"][-1]
    assert not (alone[..., 3] // SPACING == LABELS.index("opponent")).any()


@pytest.mark.parametrize("kind", ["box", "nitro", "hazard"])
def test_items_are_labelled_where_they_stand(run: Run, kind: str) -> None:
    config = replace(PATIENT, track=("scotland",), colour="rgb", labels=True)
    seen = run(scenarios.seen_ahead, config, kind, 5.0)
    rows, columns = np.nonzero(seen[..., 3] // SPACING == LABELS.index(kind))
    assert len(rows) > 3
    middle = np.abs(columns - 31.5) < 8  # others of the kind may stand further away
    assert middle.any()
    item = seen[rows[middle], columns[middle], :3].mean(0)
    ground = seen[-4:, :, :3].mean((0, 1))
    assert np.abs(item - ground).max() > 25.0


def test_a_replay_tells_what_it_cannot_race(run: Run) -> None:
    about = {"track": "nowhere", "reverse": False, "episode_seed": 1}
    with pytest.raises(ValueError, match="track = 'nowhere'"):
        next(replay(PATIENT, about, []))
    with pytest.raises(ValueError, match=r"about = \{\}"):
        next(replay(PATIENT, {}, []))


def test_a_replay_repeats_the_race_at_a_viewing_size(run: Run) -> None:
    config = replace(PATIENT, random_start=1.0, colour="rgb")
    actions = scenarios.sampled(config, 30, 1)
    raced = run(scenarios.drive, config, actions, 5)
    frames = list(replay(config, raced["about"], actions, height=96, width=128))
    assert len(frames) == len(actions) + 1
    assert all(frame.shape == (96, 128, 3) for frame in frames)
    small = frames[-1].reshape(48, 2, 64, 2, 3).mean((1, 3))
    there = np.abs(small - raced["last"][-1]).mean()
    elsewhere = np.abs(small - raced["first"][-1]).mean()
    assert there < 12.0 < elsewhere
    shown = next(replay(config, raced["about"], actions, height=96, width=128, hud=True))
    assert np.abs(shown.astype(float) - frames[0]).mean() > 2.0  # the display lies over it


@pytest.mark.parametrize(
    "view", [{"layout": "thw"}, {"layout": "hwc", "colour": "rgb"}], ids=["grey", "colour"]
)
def test_stable_baselines_trains_without_a_wrapper(run_apart: Run, view: dict[str, Any]) -> None:
    pytest.importorskip("stable_baselines3")
    assert run_apart(scenarios.train_peer, {"stack": 4, "action_set": "drive", **view}) == 64


@pytest.mark.parametrize(("track", "seconds"), [("lighthouse", 40.0), ("olivermath", 24.0)])
def test_the_guide_gets_round(run: Run, track: str, seconds: float) -> None:
    config = replace(RaceConfig(), track=(track,), action_set="race")
    episode = run(scenarios.guided_lap, config)["summary"]
    assert episode["finished"]
    assert episode["finish_time"] < seconds


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


def test_a_start_leaves_the_users_action_space_as_it_was_seeded(run: Run) -> None:
    config = replace(PATIENT, start_actions=5)
    assert run(users.sample_around_a_reset, config, 3) == run(users.sample, config, 3)


def test_what_numpy_makes_an_action_is_one(run: Run) -> None:
    """JAX arrays, among others."""
    run(users.step_with_jax_arrays, PATIENT)


def test_an_observation_may_be_written_into(run: Run) -> None:
    painted, drawn = run(users.paint_over, replace(PATIENT, stack=1, colour="rgb"))
    assert painted.max() == 0
    assert drawn.max() > 0


SCRIPT = """
from kart_jax.game import RaceConfig
from kart_jax.game.replay import replay

print("begins")
about = {"track": "lighthouse", "reverse": False, "episode_seed": 1}
frames = list(replay(RaceConfig(action_set="drive"), about, [[1, 1]] * 3, height=48, width=64))
print(len(frames), frames[0].shape)
"""


@pytest.mark.parametrize("source", ["script", "standard input"])
def test_a_replay_does_not_run_its_callers_script_again(source: str, tmp_path: Path) -> None:
    script = tmp_path / "look.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *([script] if source == "script" else ["-"])],
        input=None if source == "script" else SCRIPT,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begins\n4 (48, 64, 3)\n"


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
