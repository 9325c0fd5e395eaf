"""Evaluation during training: greedy episodes from fixed seeds, in workers of its own."""

from typing import Any

import jax
import numpy as np

from kart_jax.config import TrainConfig
from kart_jax.evaluation.trials import SELECTION_SEEDS, make_trial, run_trials
from kart_jax.policy.policy import Policy, PolicySpec

Metrics = dict[str, float]


class Evaluator:
    """Races the policy as it is from time to time; knows the best result so far."""

    def __init__(self, config: TrainConfig, spec: PolicySpec, best: Metrics | None) -> None:
        """`best` is what an earlier part of the same run reached."""
        self._config = config
        self._policy = Policy(spec, {}, config.to_dict()["race"])
        self._best = best
        self._trials = [
            make_trial("policy", track, SELECTION_SEEDS + number, config.race.difficulty, 1)
            for track in config.race.track
            for number in range(config.run.eval_episodes)
        ]

    def is_due(self, before: int, step: int) -> bool:
        """Whether an evaluation falls between two counts of steps."""
        every = self._config.run.eval_steps
        return every > 0 and step // every > before // every

    def evaluate(self, variables: Any) -> Metrics:
        """Race a policy of these host variables in all trials; the means.

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

    def is_best(self, metrics: Metrics) -> bool:
        """Whether these metrics beat all before, which they then replace."""
        if self._best is not None and _rank(metrics) <= _rank(self._best):
            return False
        self._best = metrics
        return True

    def is_enough(self, metrics: Metrics) -> bool:
        """Whether the run's target is reached."""
        target = self._config.run.stop_at_finish_rate
        return target is not None and metrics["eval/finish_rate"] >= target


def _rank(metrics: Metrics) -> tuple[float, float, float]:
    """More finishes first, then more progress, then less time."""
    time = metrics.get("eval/finish_time", float("inf"))
    return metrics["eval/finish_rate"], metrics["eval/progress_fraction"], -time
