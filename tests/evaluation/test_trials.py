"""Trials on the fake game: whichever worker drives them, they go the same way."""

import os
import signal
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import psutil
import pytest

from kart_jax.evaluation.trials import STRAIGHT, Trial, TrialResult, make_trial, run_trials
from kart_jax.game.actions import ACTION_SETS, Controls
from kart_jax.game.start import DRAWN_SEEDS, draw_start
from kart_jax.workers.observer import VectorAct
from tests.helpers.tiny import RACE

TRIALS = [
    *(Trial("policy", track, seed, 2) for track in ("bends", "other") for seed in range(3)),
    Trial("straight", "bends", 0, 0),
    Trial("guide", "bends", 0, 2),
    Trial("random", "bends", 0, 2),
]


def stand_still(seen: Mapping[str, np.ndarray]) -> np.ndarray:
    frames = seen["frames"]
    assert frames.shape[1:] == (RACE.stack, RACE.height, RACE.width, RACE.channels)
    return np.zeros((len(frames), 2), int)


def drive(workers: int, act: VectorAct = stand_still) -> list[TrialResult]:
    results = list(run_trials(RACE, TRIALS, act, workers))
    return sorted(results, key=lambda result: TRIALS.index(result.trial))


def test_what_learnt_from_the_lean_scenery_sees_the_full_one() -> None:
    lean = replace(RACE, scenery="lean")
    assert make_trial("policy", "bends", 0, 2, 1).race(lean).scenery == "full"
    assert Trial("policy", "bends", 0, 2, scenery="lean").race(RACE).scenery == "lean"


def worker_processes() -> list[psutil.Process]:
    return [c for c in psutil.Process().children() if "kart_jax.workers" in command(c)]


def command(process: psutil.Process) -> str:
    """A process's command line; nothing of one that has ended, waited for or not."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_every_trial_is_driven_once_whoever_drives_it() -> None:
    one = drive(workers=1)
    assert [result.trial for result in one] == TRIALS
    assert all(r.episode["track"] == r.trial.track for r in one)
    assert all(r.episode["progress_m"] == 0 for r in one if r.trial.driver == "policy")
    assert all(r.episode["progress_m"] > 0 for r in one if r.trial.driver != "policy")
    assert [r.trial.driver for r in one if r.episode["finished"]] == ["guide"]
    assert drive(workers=3) == one
    assert worker_processes() == []


def test_a_lost_workers_trial_is_driven_again() -> None:
    calls = 0

    def kill_once(seen: Mapping[str, np.ndarray]) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(worker_processes()[0].pid, signal.SIGKILL)
        return stand_still(seen)

    assert [result.trial for result in drive(2, kill_once)] == TRIALS


@pytest.mark.parametrize("name", ACTION_SETS)
def test_straight_is_full_throttle_in_every_action_set(name: str) -> None:
    actions = ACTION_SETS[name]()
    action = np.array(STRAIGHT[name], actions.space.dtype)
    assert actions.space.contains(action if action.ndim else int(action))
    assert actions.controls(action) == Controls(acceleration=1.0)


def test_starts_vary_with_the_seed_but_not_for_the_games_own_driver() -> None:
    trials = [make_trial("policy", "lighthouse", seed, 2, karts=1) for seed in range(20)]
    starts = [draw_start(t.race(RACE), t.episode_seed, {}) for t in trials]
    assert len({start.sideways for start in starts}) == 20
    assert len({start.actions for start in starts}) > 3
    assert all(t.episode_seed >= DRAWN_SEEDS and t.episode_seed < 2**31 for t in trials)
    own = make_trial("ai", "lighthouse", 0, 2, karts=1).race(RACE)
    assert (own.driver, own.start_jitter, own.start_actions) == ("ai", 0, 0)


def test_opponents_draw_the_place_on_the_grid() -> None:
    trials = [make_trial("policy", "lighthouse", seed, 2, karts=5) for seed in range(30)]
    places = {draw_start(t.race(RACE), t.episode_seed, {}).place for t in trials}
    assert places == {1, 2, 3, 4, 5}
