"""Running means of episodes, and the time of each stage."""

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

EPISODES = 100
"""Episodes that the running means are taken over."""


class Stopwatch:
    """Seconds spent in named stages; a stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the body of a `with`."""
        outer, self._inner = self._inner, 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[stage] += elapsed - self._inner
            self._inner = outer + elapsed

    def table(self) -> str:
        """A line for each stage: its name, seconds and share."""
        total = sum(self.seconds.values()) or 1.0
        stages = sorted(self.seconds.items(), key=lambda item: -item[1])
        return "\n".join(f"  {s:<18}{t:9.1f} s {100 * t / total:5.1f} %" for s, t in stages)


class EpisodeWindow:
    """The last episodes, whose means are logged."""

    def __init__(self, episodes: Sequence[Mapping[str, Any]] = ()) -> None:
        self._episodes: deque[Mapping[str, Any]] = deque(episodes, maxlen=EPISODES)

    def extend(self, episodes: Sequence[Mapping[str, Any]]) -> None:
        """Add episodes that ended."""
        self._episodes.extend(episodes)

    def dump(self) -> list[Mapping[str, Any]]:
        """The episodes, oldest first, as plain values."""
        return list(self._episodes)

    def means(self) -> dict[str, float]:
        """Running means, empty before the first episode."""
        if not self._episodes:
            return {}

        def mean(name: str) -> float:
            return float(np.mean([float(e[name]) for e in self._episodes]))

        result = {
            "episode/return": mean("return"),
            "episode/length": mean("length"),
            "episode/progress_m": mean("progress_m"),
            "episode/progress_fraction": mean("progress_fraction"),
            "episode/finish_rate": mean("finished"),
        }
        times = [e["finish_time"] for e in self._episodes if e["finished"]]
        if times:
            result["episode/finish_time"] = float(np.mean(times))
        return result
