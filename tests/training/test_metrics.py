import math
import time
from typing import Any

import pytest

from kart_jax.training.metrics import EPISODES, EpisodeWindow, Stopwatch


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


def test_the_window_forgets_the_oldest() -> None:
    window = EpisodeWindow([episode(progress_m=1000.0)])
    window.extend([episode()] * EPISODES)
    assert window.means()["episode/progress_m"] == 50.0
