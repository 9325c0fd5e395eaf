import math
import time
from typing import Any

import numpy as np
import pytest

from kart_jax.training.metrics import EPISODES, EpisodeCounter, EpisodeWindow, Stopwatch
from kart_jax.workers.batch import StepBatch


def episode(**changes: Any) -> dict[str, Any]:
    plain = {
        "return": 1.0,
        "length": 10.0,
        "progress_m": 50.0,
        "progress_fraction": 0.5,
        "finished": False,
        "finish_time": math.nan,
    }
    return plain | changes


def test_an_inner_stage_counts_for_itself_alone() -> None:
    watch = Stopwatch()
    with watch("outer"), watch("inner"):
        time.sleep(0.02)
    assert watch.seconds["inner"] >= 0.02
    assert watch.seconds["outer"] < watch.seconds["inner"]


def test_a_stage_that_fails_is_timed_too() -> None:
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch("failing"):
        _ = 1 / 0
    assert "failing" in watch.table()


def test_means_of_no_episode_are_none() -> None:
    assert EpisodeWindow().means() == {}


def test_only_finished_episodes_have_a_finish_time() -> None:
    window = EpisodeWindow([episode(), episode(finished=True, finish_time=40.0)])
    means = window.means()
    assert means["episode/finish_rate"] == 0.5
    assert means["episode/finish_time"] == 40.0
    assert "episode/finish_time" not in EpisodeWindow([episode()]).means()


def test_whole_races_have_means_of_their_own() -> None:
    part = episode(on_grid=False, finished=True, finish_time=5.0, progress_m=100.0)
    whole = episode(on_grid=True, progress_m=300.0)
    means = EpisodeWindow([part, whole]).means()
    assert means["episode/progress_m"] == 200.0
    assert means["episode/finish_rate"] == 0.5
    assert (means["grid/progress_m"], means["grid/finish_rate"]) == (300.0, 0.0)
    assert "grid/finish_time" not in means
    assert not [name for name in EpisodeWindow([part]).means() if name.startswith("grid/")]


def test_the_window_forgets_the_oldest() -> None:
    window = EpisodeWindow([episode(progress_m=1000.0)])
    window.extend([episode()] * EPISODES)
    assert window.means()["episode/progress_m"] == 50.0


def step_of(rewards: list[float], first: list[bool], lost: list[bool], summary: Any) -> StepBatch:
    no = np.zeros(len(rewards), bool)
    return StepBatch(
        frames=None,
        final_frames=None,
        states=None,
        final_states=None,
        rewards=np.array(rewards, np.float32),
        terminated=no,
        truncated=no,
        first=np.array(first),
        lost=np.array(lost),
        final_infos={0: {"summary": summary}} if first[0] else {},
    )


def test_episodes_are_counted_by_what_the_trainer_gets() -> None:
    counter = EpisodeCounter([2, 1])
    assert counter.add(0, step_of([1, 5], [False, False], [False, False], None)) == []
    assert counter.add(1, step_of([7], [False], [False], None)) == []
    resumed = EpisodeCounter([2, 1])
    resumed.restore(counter.dump())
    for one in (counter, resumed):
        told = one.add(0, step_of([2, 0], [True, True], [False, True], {"return": 0.1, "end": "a"}))
        assert told == [{"return": 3.0, "length": 2.0, "end": "a"}]  # the lost one is none
        assert one.add(0, step_of([4, 4], [True, True], [False, False], {}))[1] == {
            "return": 4.0,
            "length": 1.0,
        }
        assert one.add(1, step_of([1], [True], [False], {})) == [{"return": 8.0, "length": 2.0}]
