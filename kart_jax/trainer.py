"""A training run from start to end: collect, learn, log, checkpoint, stop cleanly."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from kart_jax import checkpoints
from kart_jax.checkpoints import Checkpoint, CheckpointError, Checkpoints
from kart_jax.config import TrainConfig
from kart_jax.console import Console
from kart_jax.learner import Learner, NonFiniteError, Update
from kart_jax.metrics import EpisodeWindow, MetricsWriter, Stopwatch
from kart_jax.parallel import AXIS, Devices
from kart_jax.plain import from_plain, to_plain
from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.policy import PolicySpec
from kart_jax.ppo.agent import Agent
from kart_jax.ppo.update import PPO
from kart_jax.rollout import Collected, Collector, Interrupted
from kart_jax.workers.vector_env import KartVectorEnv


@dataclass
class Boundary:
    """The moment between two updates that a checkpoint goes back to."""

    step: int
    episodes: list[Any]
    collector: dict[str, Any] | None
    """The environments and their newest frames, or None where the game cannot tell them."""


class Trainer:
    """Runs one configuration in one folder."""

    def __init__(self, config: TrainConfig, run_dir: Path) -> None:
        self.config = config
        self.run_dir = run_dir
        self.step = 0
        self.stopwatch = Stopwatch()
        self._stop: str | None = None
        self._window = EpisodeWindow()
        self._exact = config.race.simulator == "fake" and not config.ppo.overlap

    def train(self) -> bool:
        """Train to the end, or until stopped; either way the last update is saved.

        Returns:
            Whether the run came to its end by itself, rather than by a signal.
        """
        config = self.config
        devices = Devices()
        devices.check_divides(config.workers.num_envs, config.workers.groups)
        source = self._find_source()
        with (
            _signals(self._request_stop),
            KartVectorEnv(config.race, config.workers, config.run.seed) as envs,
        ):
            spec = PolicySpec(
                config.network,
                ActionSpec.from_space(envs.single_action_space),
                config.observation_shape,
            )
            with self.stopwatch("compile and load"):
                self._build(devices, envs, spec)
                self._restore(source)
            self._saver = Checkpoints(self.run_dir, config.run.keep)
            self._writer = MetricsWriter(self.run_dir, self.step)
            self._console = Console(config.run, self.step)
            try:
                with self._console, jax.transfer_guard("disallow"):
                    self._loop()
            finally:
                saved = self._saver.close()
                self._writer.close()
        if not saved:
            raise CheckpointError("the last checkpoint could not be saved")
        if not config.run.quiet:
            print(f"\nWhere the time went:\n{self.stopwatch.table()}")
        return self._stop is None

    def _build(self, devices: Devices, envs: KartVectorEnv, spec: PolicySpec) -> None:
        config = self.config
        agent = Agent(
            spec.module(AXIS), spec.actions, spec.observation_shape, config.ppo.random_shift
        )
        self._spec = spec
        self._devices = devices
        self._envs = envs
        self._learner = Learner(PPO(agent, config.ppo, AXIS), devices, config.run.seed)
        workers = config.workers
        rollouts = self._learner.create_rollouts(workers.num_envs, workers.groups)
        self._collector = Collector(envs, self._learner, rollouts, self.stopwatch)

    def _loop(self) -> None:
        """Update after update, until the steps, the time or the user end it."""
        run, learner = self.config.run, self._learner
        started = time.monotonic()
        saved = self.step
        under_way = None
        self._boundary = self._mark()
        while self.step < run.total_steps and self._stop is None:
            if run.minutes is not None and time.monotonic() - started > 60 * run.minutes:
                break
            actor = learner.actor()
            between = self._learn_between(under_way)
            try:
                collected = self._collector.collect(actor, between, lambda: bool(self._stop))
            except Interrupted:
                break
            metrics = self._learn(under_way) if under_way else {}
            under_way, self._collector.rollouts = learner.begin_update(
                self._collector.rollouts,
                collected.outcomes,
                collected.newest,
                self.step / run.total_steps,
            )
            if not self.config.ppo.overlap:
                metrics = self._learn(under_way)
                under_way = None
            self._account(collected, metrics)
            self._boundary = self._mark()
            if self.step - saved >= run.checkpoint_steps:
                self._save()
                saved = self.step
        if under_way is not None:
            self._learn(under_way)
        self._save()

    def _learn_between(self, under_way: Update | None) -> Callable[[], None]:
        """What to do while a group simulates: a gradient step of the update under way."""
        if under_way is None:
            return lambda: None

        def step() -> None:
            with self.stopwatch("learn"):
                under_way.step()

        return step

    def _learn(self, update: Update) -> dict[str, float]:
        """Finish an update; where it fails, keep the last good state and say why."""
        try:
            with self.stopwatch("learn"):
                return update.finish()
        except NonFiniteError as error:
            path = self.run_dir / "non_finite_batch.json"
            path.write_text(json.dumps(error.statistics, indent=2), encoding="utf-8")
            raise RuntimeError(f"{error} The batch's statistics are in {path}.") from None

    def _account(self, collected: Collected, metrics: dict[str, float]) -> None:
        """Count and log one rollout and what was learnt."""
        self.step += self.config.steps_per_update * jax.process_count()
        self._window.extend(collected.episodes)
        rate = self._console.rate(self.step)
        logged = {f"ppo/{name}": value for name, value in metrics.items()}
        logged |= self._window.means()
        logged |= {
            "time/steps_per_second": rate,
            "workers/losses": float(self._envs.losses),
            "ppo/policy_lag": float(self.config.ppo.overlap),
        }
        logged |= {f"time/{stage}": s for stage, s in self.stopwatch.seconds.items()}
        with self.stopwatch("log"):
            self._writer.write(self.step, logged)
            self._console.show(self.step, logged)

    def _mark(self) -> Boundary:
        """Remember this moment, so that a stop in the middle of a rollout can go back to it."""
        collector = None
        if self._exact:
            collector = {
                "heads": self._learner.save_heads(self._collector.rollouts),
                "newest": self._collector.newest,
                "envs": self._envs.get_states(),
            }
        return Boundary(self.step, self._window.dump(), collector)

    def _save(self) -> None:
        """Save the last boundary in the background."""
        with self.stopwatch("checkpoint"):
            boundary, collector = self._boundary, self._boundary.collector
            if collector is not None:
                heads = self._devices.shards(collector["heads"])
                collector = to_plain({**collector, "heads": heads})
            progress = {
                "step": boundary.step,
                "episodes": to_plain(boundary.episodes),
                "collector": collector,
                "devices": self._devices.count,
                "policy": self._spec.to_dict(),
                "config": self.config.to_dict(),
            }
            self._saver.save(Checkpoint(boundary.step, *self._learner.save_state(), progress))

    def _find_source(self) -> Path | None:
        """The checkpoint to begin with, looked for before anything is started."""
        run = self.config.run
        if run.resume:
            try:
                return checkpoints.latest((self.run_dir / "checkpoints").absolute())
            except CheckpointError:
                return None  # stopped before its first checkpoint: begin at the beginning
        return checkpoints.find(run.init_from) if run.init_from is not None else None

    def _restore(self, source: Path | None) -> None:
        """Start afresh, from another run's policy, or where this run stopped."""
        if source is None:
            self._collector.start()
            return
        progress = checkpoints.read_progress(source)
        if PolicySpec.from_dict(progress["policy"]) != self._spec:
            raise ValueError(f"{source} holds a policy of another shape than this run's")
        policy, learner = self._learner.save_state()
        policy = checkpoints.read_policy(source, policy)
        if not self.config.run.resume:
            self._learner.load_policy(policy)
            self._collector.start()
            return
        self._learner.load_state(policy, checkpoints.read_learner(source, learner))
        self.step = progress["step"]
        self._window = EpisodeWindow(from_plain(progress["episodes"]))
        if self._exact and self._same_workers(progress):
            self._resume_collector(from_plain(progress["collector"]))
        else:
            self._collector.start()

    def _resume_collector(self, saved: dict[str, Any]) -> None:
        """Go on in the middle of the episodes that were under way."""
        collector = self._collector
        collector.rollouts = self._learner.load_heads(collector.rollouts, saved["heads"])
        collector.newest = [(frames, first) for frames, first in saved["newest"]]
        self._envs.set_states(saved["envs"])

    def _same_workers(self, progress: dict[str, Any]) -> bool:
        """Whether the checkpoint's environments can be gone on with."""
        saved, workers = progress["config"]["workers"], self.config.workers
        return (
            progress["collector"] is not None
            and progress["devices"] == self._devices.count
            and (saved["num_envs"], saved["groups"]) == (workers.num_envs, workers.groups)
        )

    def _request_stop(self, name: str) -> None:
        self._stop = name


@contextmanager
def _signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into a request to stop; a second one acts as it would have."""
    before: dict[int, Any] = {}

    def handle(number: int, _: FrameType | None) -> None:
        stop(signal.Signals(number).name)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
