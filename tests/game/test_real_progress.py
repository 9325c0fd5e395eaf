"""What is gained and how it ends on the real game: progress, rewards, laps, opponents."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kart_jax.game import RaceConfig
from kart_jax.game.rewards import SCHEMES
from tests.game.conftest import new_process
from tests.helpers import scenarios
from tests.helpers.scenarios import BACKWARD, FORWARD, IDLE, PATIENT, RESCUE

pytestmark = pytest.mark.real_game

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run_ai() -> Iterator[Run]:
    """Run a function in a process for the built-in driver, which no process changes to."""
    with new_process() as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(280)


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


@pytest.mark.parametrize(("track", "seconds"), [("lighthouse", 40.0), ("olivermath", 24.0)])
def test_the_guide_gets_round(run: Run, track: str, seconds: float) -> None:
    config = replace(RaceConfig(), track=(track,), action_set="race")
    episode = run(scenarios.guided_lap, config)["summary"]
    assert episode["finished"]
    assert episode["finish_time"] < seconds
