"""Rates, means and their 95% confidence intervals over episodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Interval = tuple[float, float]

RESAMPLES = 10_000
"""Of the bootstrap."""


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the 95% confidence interval of a rate (Wilson, 1927), which holds near 0 and 1 too.

    >>> low, high = wilson_interval(50, 50)
    >>> round(low, 3), round(high, 3)
    (0.929, 1.0)
    """
    from scipy import stats  # here: it takes a second to import

    interval = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95% confidence interval of the mean by the percentile bootstrap (Efron, 1979).

    The resampling is seeded: equal values have equal intervals. None below two values.

    >>> bootstrap_interval([3.0, 3.0, 3.0])
    (3.0, 3.0)
    """
    if len(values) < 2:
        return None
    from scipy import stats

    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def end_seconds(episode: dict[str, Any]) -> float:
    """Return when an episode ended: at the finish, within its last action, or after that action."""
    return float(episode["finish_time" if episode["finished"] else "game_seconds"])


def episode_statistics(episodes: Sequence[dict[str, Any]], laps: int = 1) -> dict[str, Any]:
    """Return rates, means and their intervals over episodes, which are `info["summary"]`.

    Lap times are of finished races alone, None where there is none.
    """
    finished = [e for e in episodes if e["finished"]]
    times = [e["finish_time"] / laps for e in finished]
    progress = [e["progress_m"] for e in episodes]
    return {
        "count": len(episodes),
        "finish_rate": len(finished) / len(episodes),
        "finish_rate_interval": wilson_interval(len(finished), len(episodes)),
        "lap_time_mean": float(np.mean(times)) if times else None,
        "lap_time_interval": bootstrap_interval(times),
        "lap_time_best": min(times, default=None),
        "progress_mean": float(np.mean(progress)),
        "progress_interval": bootstrap_interval(progress),
        "progress_fraction_mean": float(np.mean([e["progress_fraction"] for e in episodes])),
        "position_mean": float(np.mean([e["position"] for e in episodes])),
    }
