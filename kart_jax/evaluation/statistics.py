"""What can be said of some episodes, with 95% confidence intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Interval = tuple[float, float]

RESAMPLES = 10_000
Z = 1.959964
"""The normal distribution's 97.5% quantile."""


def wilson_interval(successes: int, trials: int) -> Interval:
    """95% confidence interval of a rate (Wilson, 1927), which holds near 0 and 1 too.

    >>> low, high = wilson_interval(50, 50)
    >>> round(low, 3), round(high, 3)
    (0.929, 1.0)
    """
    rate, squared = successes / trials, Z**2
    centre = (rate + squared / (2 * trials)) / (1 + squared / trials)
    half = Z * np.sqrt(rate * (1 - rate) / trials + squared / (4 * trials**2))
    half /= 1 + squared / trials
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """95% confidence interval of the mean by percentiles of resampled means (Efron, 1979).

    The resampling is seeded: equal values give equal intervals. None below two values.

    >>> bootstrap_interval([3.0, 3.0, 3.0])
    (3.0, 3.0)
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def end_seconds(episode: dict[str, Any]) -> float:
    """When an episode ended: at the finish, which lies within its last action, or after that."""
    return float(episode["finish_time" if episode["finished"] else "game_seconds"])


def summarise(episodes: Sequence[dict[str, Any]], laps: int = 1) -> dict[str, Any]:
    """Rates, means and their intervals over episodes as `info["episode"]` tells them.

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
