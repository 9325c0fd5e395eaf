"""Evaluation during training: greedy episodes from fixed seeds, in workers of its own."""

from typing import Any

import jax
import numpy as np

from kart_jax.config import TrainConfig
from kart_jax.evaluation.trials import SELECTION_SEEDS, make_trial, run_trials
from kart_jax.policy.policy import Policy, PolicySpec

Metrics = dict[str, float]


class Evaluator:
    """Races the current policy, against as many opponents as it trains with."""

    def __init__(self, config: TrainConfig, spec: PolicySpec) -> None:
        self._config = config
        self._policy = Policy(spec, {}, config.to_dict()["race"])
        race = config.race
        self._trials = [
            make_trial("policy", track, SELECTION_SEEDS + number, race.difficulty, race.karts)
            for track in config.race.track
            for number in range(config.run.eval_episodes)
        ]

    def evaluate(self, variables: Any) -> Metrics:
        """Race a policy of these host variables in all trials; return the means.

        Raises:
            WorkersLostError: the game cannot run.
        """
        with jax.transfer_guard("allow"):
            self._policy.variables = jax.device_put(variables)
            results = list(
                run_trials(
                    self._config.race, self._trials, self._policy.act, self._config.run.eval_workers
                )
            )
        episodes = [result.episode for result in results]
        metrics = {
            "eval/finish_rate": float(np.mean([e["finished"] for e in episodes])),
            "eval/progress_m": float(np.mean([e["progress_m"] for e in episodes])),
            "eval/progress_fraction": float(np.mean([e["progress_fraction"] for e in episodes])),
            "eval/return": float(np.mean([e["return"] for e in episodes])),
        }
        times = [e["finish_time"] for e in episodes if e["finished"]]
        if times:
            metrics["eval/finish_time"] = float(np.mean(times))
        return metrics

    @staticmethod
    def is_better(metrics: Metrics, other: Metrics) -> bool:
        """Return whether these metrics beat the others."""
        return _rank(metrics) > _rank(other)

    def reaches_target(self, metrics: Metrics) -> bool:
        """Return whether the run's target is reached."""
        target = self._config.run.stop_at_finish_rate
        return target is not None and metrics["eval/finish_rate"] >= target


def _rank(metrics: Metrics) -> tuple[float, float, float]:
    """Return the sort key: more finishes, then more progress, then less time."""
    time = metrics.get("eval/finish_time", float("inf"))
    return metrics["eval/finish_rate"], metrics["eval/progress_fraction"], -time
