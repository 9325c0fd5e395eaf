"""How episodes begin on the real game: places, boosts, seeds, and what repeats."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kart_jax.game import RaceConfig
from tests.helpers import scenarios, users
from tests.helpers.scenarios import FORWARD, PATIENT

pytestmark = pytest.mark.real_game

Run = Callable[..., Any]


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


def test_a_refused_reset_leaves_the_episode_as_it_was(run: Run) -> None:
    about, info = run(scenarios.refused_reset)
    assert about == {name: info[name] for name in about}


def test_a_start_leaves_the_users_action_space_as_it_was_seeded(run: Run) -> None:
    config = replace(PATIENT, start_actions=5)
    assert run(users.sample_around_a_reset, config, 3) == run(users.sample, config, 3)
