"""A training run from start to end: collect, learn, log, checkpoint, stop cleanly."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from kart_jax.config import RunConfig, TrainConfig
from kart_jax.evaluation.evaluator import Evaluator
from kart_jax.evaluation.recorder import Recorder
from kart_jax.game import make_env
from kart_jax.imitation.stage import imitate
from kart_jax.policy.policy import Policy
from kart_jax.ppo.agent import Agent
from kart_jax.ppo.update import PPO
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.checkpoints import Checkpoint, CheckpointError, Checkpoints
from kart_jax.run_folder.loading import load_policy
from kart_jax.run_folder.logs import MetricsWriter
from kart_jax.run_folder.provenance import record_start
from kart_jax.run_folder.source import Resumed, Source, find_source, policy_spec
from kart_jax.training.collector import Collected, Collector
from kart_jax.training.console import Console
from kart_jax.training.devices import AXIS, Devices
from kart_jax.training.learner import Learner, NonFiniteError, Update
from kart_jax.training.metrics import EpisodeWindow, Stopwatch
from kart_jax.training.processes import Cluster, PeerFailedError, StopRelay
from kart_jax.training.signals import Interrupted, StopRequest
from kart_jax.workers.errors import WorkersLostError
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.vector_env import KartVectorEnv
from kart_jax.workers.worker import MakeEnv

log = logging.getLogger(__name__)


@dataclass
class Boundary:
    """The moment between two updates that a checkpoint goes back to."""

    step: int
    episodes: list[Any]
    collector: dict[str, Any] | None
    """The environments and their newest frames, or None where the game cannot tell them."""


class Trainer:
    """Runs one configuration in one folder."""

    def __init__(
        self, config: TrainConfig, run_dir: Path, devices: Devices, make: MakeEnv = make_env
    ) -> None:
        """`make` makes the environments that it trains on, in the workers: importable there."""
        self._make = make
        self.config = config
        self.run_dir = run_dir
        self.step = 0
        self.stopwatch = Stopwatch()
        self._reached = False
        self._devices = devices
        self._cluster = Cluster(devices)
        groups = config.workers.group_count(devices.count)
        self._workers = replace(config.workers, groups=groups)
        self._stop = StopRequest()
        self._window = EpisodeWindow()
        self._exact = (
            config.race.simulator == "fake" and not config.ppo.overlap and self._cluster.count == 1
        )
        self._spec = policy_spec(config)

    def train(self) -> bool:
        """Train to the end, or until stopped; either way the last update is saved.

        Returns:
            Whether the run came to its end by itself, rather than by a signal.

        Raises:
            WorkersLostError: workers kept dying; the last update was saved.
            PeerFailedError: another process of the run failed; the last update was saved.
            CheckpointError: the last checkpoint could not be saved, or none fits this run.
            RuntimeError: a loss or gradient was not finite.
        """
        minutes = self.config.run.minutes or float("inf")
        self._deadline = time.monotonic() + 60 * minutes
        try:
            with self._stop, StopRelay(self._stop):
                return self._train()
        except Interrupted:
            return False  # before the first rollout: nothing was learnt yet

    def _train(self) -> bool:
        config, cluster = self.config, self._cluster
        source = self._find_source()
        self._able = cluster.any(isinstance(source, Policy)) and config.run.eval_steps > 0
        # After a resume not the same races again.
        seed = derive_seed(config.run.seed, self.step) if self.step else config.run.seed
        first = cluster.index * config.workers.num_envs
        with KartVectorEnv(config.race, self._workers, seed, self._make, first) as envs:
            with self.stopwatch("compile and load"):
                cluster.together(lambda: self._begin(envs, first, source))
                if cluster.count > 1:
                    self._learner.share_state()
            self._saver = Checkpoints(self.run_dir, config.run.keep)
            self._writer = self._open_writer()
            self._console = Console(self._console_options, self.step)
            best = checkpoints.read_best(self._saver.folder)
            if best and not config.run.eval_steps and cluster.is_first:
                log.warning(
                    "without --eval-steps the best checkpoint stays that of step %d, which play "
                    "and export take; for a newer one name its folder in %s",
                    best["step"],
                    self._saver.folder,
                )
            self._evaluator = Evaluator(config, self._spec, best and best["metrics"])
            self._recorder = Recorder(config, self._spec, self.run_dir)
            try:
                with self._console, jax.transfer_guard("disallow"):
                    finished = self._run()
                    with self._stop.interrupting(), self.stopwatch("finish the last video"):
                        self._recorder.close(wait=True)
            except Interrupted:
                finished = False
            finally:
                self._saver.close()
                self._recorder.close(wait=False)
                self._writer.close()
        if not self._console_options.quiet:
            if finished and self.step == 0 and not self._reached:
                print("\nNo PPO: the time, or the steps, were up before its first update.")
            print(f"\nWhere the time went:\n{self.stopwatch.table()}")
        return finished

    def _open_writer(self) -> MetricsWriter:
        """The logs, which the first process alone writes."""
        if not self._cluster.is_first:
            return MetricsWriter(None, self.step)
        start = record_start(self.run_dir, self.step)
        about = {"config": self.config.to_dict(), "start": start}
        return MetricsWriter(self.run_dir, self.step, about, self.config.run.wandb)

    def _find_source(self) -> Source | None:
        """What to begin with, of which the others get the state; and at which step, all of them."""
        cluster = self._cluster
        source = cluster.together(lambda: self._source() if cluster.is_first else None)
        step = source.progress["step"] if isinstance(source, Resumed) else 0
        high, low = divmod(step, 2**30)
        self.step = self._devices.largest(high) * 2**30 + self._devices.largest(low)
        return source

    def _source(self) -> Source | None:
        """What to begin with; what is imitated is imitated now, unless it was before."""
        source = find_source(self.config, self.run_dir)
        if source is not None or not self.config.imitation.imitation_steps:
            return source
        with self.stopwatch("imitate"):
            imitated = imitate(self.config, self._spec, self.run_dir, self._stop, self._make)
        return load_policy(imitated)

    @property
    def _console_options(self) -> RunConfig:
        run = self.config.run
        return run if self._cluster.is_first else replace(run, quiet=True)

    def _begin(self, envs: KartVectorEnv, first: int, source: Source | None) -> None:
        """Make what learns and what collects, as they were where a run is gone on with."""
        self._build(envs, first)
        self._restore(source)

    def _build(self, envs: KartVectorEnv, first: int) -> None:
        config, spec = self.config, self._spec
        agent = Agent(
            spec.module(AXIS), spec.actions, spec.observation_shape, config.ppo.random_shift
        )
        self._envs = envs
        self._learner = Learner(PPO(agent, config.ppo, AXIS), self._devices, config.run.seed)
        rollouts = self._learner.create_rollouts(envs.num_envs, len(envs.groups), first)
        self._collector = Collector(envs, self._learner, rollouts, self.stopwatch, self._stop)

    def _run(self) -> bool:
        """Train, and save the last finished update however it ends, unless by an error of ours.

        Returns:
            Whether nobody asked it to stop.
        """
        try:
            self._mark(self._cluster.together(self._env_states))
        except Interrupted:
            return False  # nothing has changed since the last checkpoint
        self._saved = self.step
        finished = True
        try:
            if self._able:
                self._judge()
            self._loop()
        except Interrupted:
            finished = False
        except (WorkersLostError, PeerFailedError):
            self._save_last()
            raise
        self._save_last()
        return finished

    def _save_last(self) -> None:
        """Save before the end; nobody leaves before it is done, which would end the others.

        Raises:
            CheckpointError: it could not be saved.
        """
        self._save()
        if self._cluster.any(not self._saver.wait()):
            raise CheckpointError("the last checkpoint could not be saved")

    def _loop(self) -> None:
        """Update after update, until the steps or time are used up or the target is reached."""
        learner, collector = self._learner, self._collector
        under_way: tuple[Update, Collected] | None = None
        while self._steps_begun(under_way) < self.config.run.total_steps:
            if self._cluster.any(self._reached or time.monotonic() > self._deadline):
                break
            between = partial(self._advance, under_way[0] if under_way else None)
            collected = self._cluster.together(partial(self._collect, between))
            if under_way:
                self._finish(*under_way)
            with self.stopwatch("learn"):
                update, collector.rollouts = learner.begin_update(
                    collector.rollouts,
                    collected.outcomes,
                    collected.newest,
                    self.step / self.config.run.total_steps,
                )
            under_way = (update, collected)
            if not self.config.ppo.overlap:
                self._finish(*under_way)
                under_way = None
        if under_way:
            self._finish(*under_way)

    def _collect(self, between: Callable[[], None]) -> Collected:
        """A rollout, and the environments' states after it."""
        collected = self._collector.collect(self._learner.actor(), between)
        collected.env_states = self._env_states()
        return collected

    def _steps_begun(self, under_way: object) -> int:
        """Policy steps learnt from, or being learnt from."""
        return self.step + (self._steps_per_update if under_way else 0)

    @property
    def _steps_per_update(self) -> int:
        return self.config.steps_per_update * self._cluster.count

    def _advance(self, update: Update | None) -> None:
        """While a group simulates: a gradient step of the update under way."""
        if update is not None:
            with self.stopwatch("learn"):
                update.step()

    def _finish(self, update: Update, collected: Collected) -> None:
        """Finish an update, log it, and save it when a checkpoint is due."""
        try:
            with self.stopwatch("learn"):
                metrics = update.finish(lambda: self._cluster.together(self._stop.check))
        except NonFiniteError as error:  # everywhere at once
            path = self.run_dir / "non_finite_batch.json"
            if self._cluster.is_first:
                path.write_text(json.dumps(error.statistics, indent=2), encoding="utf-8")
            raise RuntimeError(f"{error} The batch's statistics are in {path}.") from None
        self._account(collected, metrics)
        self._mark(collected.env_states)
        best = None
        if self._evaluator.is_due(self.step - self._steps_per_update, self.step):
            best = self._cluster.together(self._evaluate)
        film = self._recorder.is_due(self.step - self._steps_per_update, self.step)
        if film and self._cluster.is_first:
            with self.stopwatch("evaluate"):
                self._recorder.start(self.step, self._learner.save_state()[0])
        if best or self.step - self._saved >= self.config.run.checkpoint_steps:
            self._save(best)
            self._saved = self.step

    def _judge(self) -> None:
        """Evaluate what the run begins with: learning from rewards may make it worse at first."""
        best = self._cluster.together(self._evaluate)
        if best:
            self._save(best)

    def _evaluate(self) -> dict[str, float] | None:
        """Race the policy as it is, in one process; the metrics if they are the best so far."""
        if not self._cluster.is_first:
            return None
        variables, _ = self._learner.save_state()
        with self.stopwatch("evaluate"), self._stop.interrupting():
            metrics = self._evaluator.evaluate(variables)
        self._writer.write(self.step, metrics)
        self._console.show_evaluation(self.step, metrics)
        self._reached = self._evaluator.is_enough(metrics)
        return metrics if self._evaluator.is_best(metrics) else None

    def _account(self, collected: Collected, metrics: dict[str, float]) -> None:
        """Count and log one rollout and what was learnt."""
        self.step += self._steps_per_update
        self._window.extend(collected.episodes)
        rate = self._console.rate(self.step)
        logged = {f"ppo/{name}": value for name, value in metrics.items()}
        logged |= self._window.means()
        logged |= {
            "time/steps_per_second": rate,
            "workers/losses": float(self._envs.losses),
            "data/bytes_per_step": collected.bytes_sent / self.config.steps_per_update,
            "ppo/policy_lag": float(self.config.ppo.overlap),
        }
        logged |= {f"time/{stage}": s for stage, s in self.stopwatch.seconds.items()}
        with self.stopwatch("log"):
            self._writer.write(self.step, logged)
            self._console.show(self.step, logged)

    def _env_states(self) -> Any:
        """The environments' states, where the game can tell them.

        They are asked for before an update learns, not after: a worker may hang here, and a
        stop must then find state and boundary of the same moment.
        """
        with self._stop.interrupting():
            return self._envs.get_states() if self._exact else None

    def _mark(self, env_states: Any) -> None:
        """Remember this moment, so that a stop in the middle of an update can go back to it."""
        collector = None
        if self._exact:
            collector = {
                "heads": self._learner.save_heads(self._collector.rollouts),
                "newest": list(self._collector.newest),
                "envs": env_states,
            }
        self._boundary = Boundary(self.step, self._window.dump(), collector)

    def _save(self, best: dict[str, float] | None = None) -> None:
        """Save the last boundary in the background; `best` are its metrics, if it raced best."""
        if not self._cluster.is_first:
            return
        with self.stopwatch("checkpoint"):
            boundary, collector = self._boundary, self._boundary.collector
            if collector is not None:
                heads = self._devices.shards(collector["heads"])
                collector = {**collector, "heads": heads}
            progress = {
                "step": boundary.step,
                "episodes": boundary.episodes,
                "devices": self._devices.count,
                "policy": self._spec.to_dict(),
                "config": self.config.to_dict(),
            }
            state = self._learner.save_state()
            checkpoint = Checkpoint(boundary.step, *state, progress, collector)
            self._saver.save(checkpoint, best)

    def _restore(self, source: Source | None) -> None:
        """Start afresh, from another run's policy, or where this run stopped."""
        saved = None
        if isinstance(source, Policy):
            self._learner.load_policy(jax.device_get(source.variables))
        elif source:
            policy, learner = self._learner.save_state()
            policy = checkpoints.read_policy(source.path, policy)
            learner = checkpoints.read_learner(source.path, learner)
            self._learner.load_state(policy, learner)
            self._window = EpisodeWindow(source.progress["episodes"])
            saved = self._resumable(source)
        if saved:
            self._resume_collector(saved)
        else:
            self._collector.start()

    def _resume_collector(self, saved: dict[str, Any]) -> None:
        """Go on in the middle of the episodes that were under way."""
        collector = self._collector
        collector.start()
        collector.rollouts = self._learner.load_heads(collector.rollouts, saved["heads"])
        collector.newest = [(frames, first) for frames, first in saved["newest"]]
        with self._stop.interrupting():
            self._envs.set_states(saved["envs"])

    def _resumable(self, source: Resumed) -> dict[str, Any] | None:
        """The checkpoint's environments, if they can be gone on with."""
        progress = source.progress
        saved, workers = progress["config"]["workers"], self.config.workers
        same = (
            self._exact
            and progress["devices"] == self._devices.count
            and (saved["num_envs"], saved["groups"]) == (workers.num_envs, workers.groups)
        )
        return checkpoints.read_collector(source.path, progress) if same else None
