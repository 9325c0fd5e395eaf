"""Episodes of a made-up kart on a straight road of 400 m that closes on itself."""

import math
from dataclasses import replace

import numpy as np
import pytest

from kart_jax.game import RaceConfig
from kart_jax.game.actions import Controls
from kart_jax.game.centreline import CentreLine, Progress
from kart_jax.game.engine.world import KartState
from kart_jax.game.episode import Episode, ending
from kart_jax.game.rewards import Outcome

CONFIG = RaceConfig(stuck_seconds=2.5, time_limit=60.0, wrong_way_seconds=1.0)
KART = KartState(
    location=np.array([0.0, 0.0, 1.0], np.float32),
    velocity=np.zeros(3, np.float32),
    speed=10.0,
    heading=0.0,
    on_road=True,
    jumping=False,
    finished=False,
    position=1,
    energy=0.0,
    powerup="NOTHING",
    skid=1.0,
)


def straight_road() -> CentreLine:
    nodes = [[[0, 0, 10 * n], [0, 0, 10 * n + 10]] for n in range(40)]
    distances = [[10 * n, 10 * n + 10] for n in range(40)]
    return CentreLine(nodes, distances, np.full(40, 8.0), [[(n + 1) % 40] for n in range(40)], 400)


def episode(config: RaceConfig = CONFIG) -> Episode:
    return Episode(config, Progress(straight_road(), KART.location), KART)


def at(along: float, **changes: object) -> KartState:
    location = np.array([0.0, 0.0, along], np.float32)
    return replace(KART, location=location, **changes)  # type: ignore[arg-type]


def act(race: Episode, kart: KartState) -> tuple[Outcome, str]:
    before = race.kart
    race.step(kart)
    return race.end_action(Controls(), before)


def drive(race: Episode, start: float, stop: float, step: float) -> tuple[list[Outcome], str]:
    outcomes, end = [], ""
    for along in np.arange(start, stop, math.copysign(step, stop - start)):
        outcome, end = act(race, at(float(along)))
        outcomes.append(outcome)
        if end:
            break
    return outcomes, end


def test_a_race_that_is_driven_is_finished_with_the_time_of_the_crossing() -> None:
    race = episode(replace(CONFIG, laps=1))
    outcomes, _ = drive(race, 3.0, 399.5, 2.0)
    outcome, end = act(race, at(1.0))
    assert end == "finished"
    assert outcome.finished
    # 199 steps of 2 m took it to 399 m; half of the next one to the line at 400 m.
    assert race.finish_time == pytest.approx(0.1 * (len(outcomes) + 0.5), abs=0.01)
    assert outcome.saved == pytest.approx(39.9 - race.finish_time)
    summary = race.summary("road", end)
    assert summary["progress_m"] == pytest.approx(399.0)
    assert summary["progress_fraction"] == 1.0
    assert summary["finish_time"] == race.finish_time


def test_what_is_told_at_the_end_is_plain() -> None:
    race = episode()
    _, end = drive(race, 3.0, 50.0, 2.0)
    summary = race.summary("road", end)
    assert all(type(value) in (float, bool, str) for value in summary.values())
    assert math.isnan(summary["finish_time"])
    assert summary["progress_m"] == pytest.approx(48.0)


def test_no_new_metre_for_long_enough_is_stuck() -> None:
    race = episode()
    ends = [act(race, at(1.0 + 0.003 * step))[1] for step in range(1, 26)]
    assert ends == [""] * 24 + ["stuck"]


def test_progress_keeps_it_going_until_the_time_limit() -> None:
    race = episode(replace(CONFIG, time_limit=10.0))
    outcomes, end = drive(race, 2.0, 390.0, 1.0)
    assert end == "time_limit"
    assert len(outcomes) == 100


def test_driving_the_wrong_way_ends_and_costs() -> None:
    race = episode()
    drive(race, 3.0, 100.0, 2.0)
    outcomes, end = drive(race, 97.0, 0.0, 1.0)
    assert end == "wrong_way"
    assert len(outcomes) == 10
    assert all(outcome.wrong_way and outcome.ground == 0.0 for outcome in outcomes)


def test_repeated_rescues_gain_nothing() -> None:
    race = episode(replace(CONFIG, stuck_seconds=1000.0, time_limit=1000.0))
    drive(race, 3.0, 60.0, 2.0)
    ground = 0.0
    for _ in range(5):
        act(race, at(59.0, speed=0.0))
        act(race, at(48.0, speed=0.0))
        for _ in range(25):
            act(race, at(48.0, speed=0.1))
        ground += sum(outcome.ground for outcome in drive(race, 50.0, 59.5, 1.0)[0])
    assert race.rescues == 5
    assert ground == 0.0


def test_being_carried_forwards_is_not_paid() -> None:
    race = episode()
    drive(race, 3.0, 20.0, 2.0)
    outcome, _ = act(race, at(40.0, speed=0.0))
    assert outcome.rescued
    assert outcome.ground == 0.0
    assert act(race, at(42.0))[0].ground == pytest.approx(2.0)


def test_a_leap_to_a_road_beside_is_not_paid() -> None:
    race = episode()
    assert act(race, at(35.0))[0].ground <= 2 * 34.0 + 1.0
    sideways = straight_road()
    sideways.start[3:] = [3.0, 0.0, 0.0]  # further segments come back to where the kart is
    sideways.span[3:] = [0.0, 0.0, 5.0]
    race = Episode(CONFIG, Progress(sideways, KART.location), KART)
    beside = replace(KART, location=np.array([2.5, 0.0, 1.0], np.float32))
    outcome, _ = act(race, beside)
    assert race.progress.driven > 25.0
    assert outcome.ground <= 2 * 2.5 + 1.0


def test_the_games_own_finish_does_not_make_up_for_a_short_cut() -> None:
    race = episode()
    drive(race, 3.0, 60.0, 2.0)
    outcome, end = act(race, at(61.0, finished=True))
    assert end == "short_cut"
    assert not outcome.finished


def test_the_games_own_finish_counts_just_before_the_measured_one() -> None:
    race = episode()
    assert drive(race, 2.0, 398.0, 1.0)[1] == ""
    _, end = act(race, at(398.5, finished=True))
    assert end == "finished"
    assert race.summary("straight", end)["finish_time"] == pytest.approx(race.seconds)


def test_time_off_the_road_is_counted() -> None:
    race = episode()
    for along in range(2, 12):
        act(race, at(float(along), on_road=along < 5))
    assert race.summary("road", "")["off_road_seconds"] == pytest.approx(0.7)


def test_an_action_held_for_several_steps_counts_once() -> None:
    race = episode(replace(CONFIG, action_repeat=3))
    before = race.kart
    for along in (3.0, 5.0, 7.0):
        race.step(at(along))
    outcome, _ = race.end_action(Controls(), before)
    assert outcome.ground == pytest.approx(6.0)
    assert outcome.seconds == pytest.approx(0.3)
    assert race.summary("road", "")["length"] == 1.0


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("", (False, False)),
        ("finished", (True, False)),
        ("stuck", (True, False)),
        ("wrong_way", (True, False)),
        ("short_cut", (True, False)),
        ("time_limit", (False, True)),
    ],
)
def test_only_the_time_limit_cuts_an_episode_short(end: str, expected: tuple[bool, bool]) -> None:
    assert ending(end) == expected
