"""Intervals against values worked out elsewhere, and what they promise."""

import numpy as np
import pytest

from kart_jax.evaluation.statistics import (
    bootstrap_interval,
    end_seconds,
    episode_statistics,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (without continuity).
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))],
)
def test_wilson_against_published_values(
    successes: int, trials: int, expected: tuple[float, float]
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx(expected, abs=5e-5)


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        interval = bootstrap_interval(rng.normal(30.0, 2.0, 40).tolist())
        assert interval is not None
        hits += interval[0] <= 30.0 <= interval[1]
    assert 88 <= hits <= 99


def test_one_value_has_no_interval() -> None:
    assert bootstrap_interval([1.0]) is None


def episode(finish_time: float | None, progress: float) -> dict[str, object]:
    return {
        "finished": finish_time is not None,
        "finish_time": finish_time,
        "progress_m": progress,
        "progress_fraction": progress / 100,
        "position": 2.0,
    }


def test_lap_times_are_of_finished_races_and_one_lap() -> None:
    figures = episode_statistics(
        [episode(60.0, 100), episode(80.0, 100), episode(None, 40)], laps=2
    )
    assert figures["finish_rate"] == pytest.approx(2 / 3)
    assert figures["lap_time_mean"] == 35.0
    assert figures["lap_time_best"] == 30.0
    assert figures["progress_mean"] == 80.0
    assert figures["position_mean"] == 2.0


def test_an_episode_ends_at_the_finish_or_after_its_last_action() -> None:
    assert end_seconds({"finished": True, "finish_time": 28.84, "game_seconds": 28.9}) == 28.84
    assert end_seconds({"finished": False, "finish_time": None, "game_seconds": 6.5}) == 6.5


def test_no_finish_has_no_lap_time() -> None:
    figures = episode_statistics([episode(None, 40)])
    assert figures["lap_time_mean"] is figures["lap_time_best"] is None
