"""A training run from start to end: collect, learn, log, evaluate, save, stop."""

import contextlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from kart_jax.config import TrainConfig
from kart_jax.evaluation.evaluator import Evaluator
from kart_jax.evaluation.recorder import Recorder
from kart_jax.game import make_env
from kart_jax.policy.policy import Policy
from kart_jax.ppo.agent import Agent
from kart_jax.ppo.update import PPO
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.checkpoints import Checkpoint, CheckpointError, Checkpoints
from kart_jax.run_folder.logs import open_writer
from kart_jax.run_folder.source import Resumed, Source, policy_spec
from kart_jax.training.collector import Collected, Collector
from kart_jax.training.console import Console
from kart_jax.training.devices import AXIS
from kart_jax.training.learner import Learner, NonFiniteError, Update
from kart_jax.training.metrics import EpisodeWindow, Stopwatch
from kart_jax.training.processes import Cluster, PeerFailedError
from kart_jax.training.schedule import Every
from kart_jax.training.signals import Interrupted, StopRequest
from kart_jax.training.snapshot import Snapshot, Snapshots
from kart_jax.workers.errors import WorkersLostError
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.vector_env import KartVectorEnv
from kart_jax.workers.worker import MakeEnv


@dataclass(frozen=True)
class Run:
    """What a run is, where it writes, and what it shares with the command that started it."""

    config: TrainConfig
    folder: Path
    processes: Cluster
    stop: StopRequest
    stopwatch: Stopwatch
    deadline: float
    """`time.monotonic()` after which no further update begins."""


def train(run: Run, source: Source | None, make: MakeEnv = make_env) -> bool:
    """Train to the end or until stopped; either way the last finished update is saved.

    Args:
        run: what to train, and where.
        source: what to begin with, in the first process of the run; None is a new network.
        make: makes the environments, in the workers: importable there.

    Returns:
        Whether the run came to its end by itself, rather than by a signal.

    Raises:
        WorkersLostError: workers kept dying; the last update was saved.
        PeerFailedError: another process of the run failed; the last update was saved.
        CheckpointError: the last checkpoint could not be saved, or `source` does not fit.
        RuntimeError: a loss or gradient was not finite.
    """
    config, processes = run.config, run.processes
    step = processes.largest(source.step if isinstance(source, Resumed) else 0)
    workers = replace(config.workers, groups=config.workers.group_count(processes.devices.count))
    # A resumed run has other races than those before.
    seed = derive_seed(config.run.seed, step) if step else config.run.seed
    first = processes.index * workers.num_envs
    with KartVectorEnv(config.race, workers, seed, make, first) as envs:
        trainer = processes.together(lambda: Trainer(run, envs, first, step))
        with contextlib.closing(trainer):
            return trainer.train(source)


class Trainer:
    """One run in one folder: `train` is its course, and the methods below it are its steps."""

    def __init__(self, run: Run, envs: KartVectorEnv, first: int, step: int) -> None:
        """Make all parts; nothing is restored yet.

        Args:
            run: what to train.
            envs: the environments of this process.
            first: the number of the first one, among those of all processes.
            step: policy steps taken so far.
        """
        config, processes = run.config, run.processes
        spec = policy_spec(config)
        self.run, self.config, self.spec = run, config, spec
        self.processes, self.stopwatch = processes, run.stopwatch
        self.envs = envs
        self.step = step
        self.steps_per_update = config.steps_per_update * processes.count
        self.target_reached = False
        ppo = PPO(Agent.of(spec, config.ppo.random_shift, AXIS), config.ppo, AXIS)
        self.learner = Learner(ppo, processes.devices, config.run.seed)
        rollouts = self.learner.create_rollouts(envs.num_envs, len(envs.groups), first)
        self.collector = Collector(envs, self.learner, rollouts, run.stopwatch, run.stop)
        self.episodes = EpisodeWindow()
        # The real game cannot save its state, and several processes do not save theirs.
        exact = config.race.simulator == "fake" and not config.ppo.overlap and processes.count == 1
        self.snapshots = Snapshots(self.collector, exact)
        self.snapshot: Snapshot | None = None
        """Of the last finished update; None until the run has begun."""
        self.checkpoints = Checkpoints(run.folder, config.run.keep)
        self.writer = open_writer(run.folder if processes.is_first else None, config, step)
        self.console = Console(config.run, step, quiet=not processes.is_first)
        self.evaluator = Evaluator(config, spec)
        self.recorder = Recorder(config, spec, run.folder)
        self.evaluation = Every(config.run.eval_steps, self.evaluate, step)
        self.periodic = (
            self.evaluation,
            Every(config.run.video_steps, self.film, step),
            Every(config.run.checkpoint_steps, self.save, step),
        )

    def train(self, source: Source | None) -> bool:
        """Run from `source` to the end; return whether no stop was asked for before it."""
        finished = False
        with self.console, jax.transfer_guard("disallow"):
            try:
                self.begin(source)
                self.learn_from_rewards()
                finished = True
            except Interrupted:
                pass
            except (WorkersLostError, PeerFailedError):
                self.save_last()
                raise
            self.save_last()
            if finished:
                self.processes.in_first(self.finish_video)
        self.console.show_end(finished, self.step, self.target_reached, self.stopwatch)
        return finished

    def begin(self, source: Source | None) -> None:
        """Restore what the run begins with, and begin an episode in every environment."""
        with self.stopwatch("compile and load"):
            self.processes.together(lambda: self.restore(source))
            if self.processes.count > 1:
                self.learner.share_state()
        self.take_snapshot(self.processes.together(self.env_states))
        if self.evaluation.steps and self.processes.any(isinstance(source, Policy)):
            self.evaluate()  # PPO may make it worse at first
        self.evaluation.run(self.step)  # a stop may have cut the last one short

    def learn_from_rewards(self) -> None:
        """Update after update, until steps or time are used up or the target is reached.

        With `overlap` an update takes its gradient steps while the next rollout is collected.
        """
        pending: Pending | None = None
        while self.wants_more(pending):
            collected = self.collect(pending)
            if pending is not None:
                self.finish(pending)
            pending = self.begin_update(collected)
            if not self.config.ppo.overlap:
                self.finish(pending)
                pending = None
        if pending is not None:
            self.finish(pending)

    def wants_more(self, pending: "Pending | None") -> bool:
        """Return whether another rollout is to be collected."""
        begun = self.step + (self.steps_per_update if pending is not None else 0)
        over = self.target_reached or time.monotonic() > self.run.deadline
        return begun < self.config.run.total_steps and not self.processes.any(over)

    def collect(self, pending: "Pending | None") -> Collected:
        """Collect a rollout; a pending update takes gradient steps between those of the workers."""
        actor = self.learner.actor(lag=int(pending is not None))

        def between() -> None:
            if pending is not None:
                with self.stopwatch("learn"):
                    pending.update.step()

        def work() -> Collected:
            collected = self.collector.collect(actor, between)
            collected.env_states = self.env_states()
            return collected

        return self.processes.together(work)

    def begin_update(self, collected: Collected) -> "Pending":
        """Make a batch of a rollout; its gradient steps are yet to be taken."""
        progress = self.step / self.config.run.total_steps
        with self.stopwatch("learn"):
            update, self.collector.rollouts = self.learner.begin_update(
                self.collector.rollouts, collected.outcomes, collected.newest, progress
            )
        return Pending(update, collected)

    def finish(self, pending: "Pending") -> None:
        """Finish an update, log it, and do what is due."""
        metrics = self.finish_update(pending.update)
        self.step += self.steps_per_update
        self.episodes.extend(pending.collected.episodes)
        self.log(pending.collected, metrics)
        self.take_snapshot(pending.collected.env_states)
        for task in self.periodic:
            task.run(self.step)

    def finish_update(self, update: Update) -> dict[str, float]:
        """Take the gradient steps that are left; the update's metrics.

        Raises:
            RuntimeError: a loss or gradient was not finite, everywhere at once.
        """
        try:
            with self.stopwatch("learn"):
                return update.finish(lambda: self.processes.together(self.run.stop.check))
        except NonFiniteError as error:
            path = self.run.folder / "non_finite_batch.json"
            if self.processes.is_first:
                path.write_text(json.dumps(error.statistics, indent=2), encoding="utf-8")
            raise RuntimeError(f"{error} The batch's statistics are in {path}.") from None

    def log(self, collected: Collected, metrics: dict[str, float]) -> None:
        """Write and show the metrics of one rollout and its update."""
        metrics = {f"ppo/{name}": value for name, value in metrics.items()}
        metrics |= self.episodes.means()
        metrics |= {
            "time/steps_per_second": self.console.rate(self.step),
            "workers/losses": float(self.envs.losses),
            "data/bytes_per_step": collected.bytes_sent / self.config.steps_per_update,
            "ppo/policy_lag": float(self.config.ppo.overlap),
        }
        metrics |= {f"time/{stage}": s for stage, s in self.stopwatch.seconds.items()}
        with self.stopwatch("log"):
            self.writer.write(self.step, metrics)
            self.console.show(self.step, metrics)

    def evaluate(self) -> None:
        """Race the policy as it is, in the first process, and save it if it is the best so far."""
        self.processes.in_first(self.evaluate_here)

    def evaluate_here(self) -> None:
        """As `evaluate`, in this process."""
        variables, _ = self.learner.save_state()
        with self.stopwatch("evaluate"), self.run.stop.interrupting():
            metrics = self.evaluator.evaluate(variables)
        self.writer.write(self.step, metrics)
        self.console.show_evaluation(self.step, metrics)
        self.target_reached = self.evaluator.reaches_target(metrics)
        assert self.snapshot is not None
        self.snapshot = replace(self.snapshot, evaluated=self.step)
        # The best so far is what was saved as such: a save may have failed.
        self.checkpoints.wait()
        best = checkpoints.read_best(self.checkpoints.folder)
        if best is None or self.evaluator.is_better(metrics, best["metrics"]):
            self.save(metrics)

    def film(self) -> None:
        """Begin a video of the policy as it is, in the first process alone."""
        if self.processes.is_first:
            with self.stopwatch("evaluate"):
                self.recorder.start(self.step, self.learner.save_state()[0])

    def save(self, best: dict[str, float] | None = None) -> None:
        """Begin to save the snapshot, in the first process alone.

        `best` are the metrics of a policy that raced better than all before.
        """
        if not self.processes.is_first or self.snapshot is None:
            return
        with self.stopwatch("checkpoint"):
            progress = {
                **self.snapshots.progress(self.snapshot),
                "policy": self.spec.to_dict(),
                "config": self.config.to_dict(),
            }
            state, carry = self.learner.save_state(), self.snapshots.carry(self.snapshot)
            self.checkpoints.save(Checkpoint(self.snapshot.step, *state, progress, carry), best)

    def save_last(self) -> None:
        """Save before the end; nobody leaves before it is done, which would end the others.

        Raises:
            CheckpointError: it could not be saved.
        """
        self.save()
        saved = self.processes.in_first(self.checkpoints.wait)
        if self.processes.any(saved is False):
            raise CheckpointError("the last checkpoint could not be saved")

    def finish_video(self) -> None:
        """Wait for the last video; a stop abandons it, and the run has come to its end still."""
        stop, stopwatch = self.run.stop, self.stopwatch
        with contextlib.suppress(Interrupted), stop.interrupting(), stopwatch("finish the video"):
            self.recorder.close(wait=True)

    def restore(self, source: Source | None) -> None:
        """Load what the run begins with; a new network needs nothing."""
        if isinstance(source, Resumed):
            policy, learner = self.learner.save_state()
            self.learner.load_state(
                checkpoints.read_policy(source.path, policy),
                checkpoints.read_learner(source.path, learner),
            )
            self.episodes = EpisodeWindow(source.progress["episodes"])
            # Version 0.1 did not say; it evaluated whatever it saved.
            self.evaluation.done = source.progress.get("evaluated", self.step)
        elif source is not None:
            self.learner.load_policy(jax.device_get(source.variables))
        with self.run.stop.interrupting():
            self.collector.start()
            if isinstance(source, Resumed):
                self.snapshots.resume(source)

    def env_states(self) -> list[Any] | None:
        """Return the environments' states, where a snapshot holds them.

        They are asked for before an update learns, not after: a worker may hang here, and a
        stop must then find state and snapshot of the same moment.
        """
        with self.run.stop.interrupting():
            return self.snapshots.env_states()

    def take_snapshot(self, env_states: list[Any] | None) -> None:
        """Remember this moment: a stop amid an update goes back to it."""
        episodes, evaluated = self.episodes.dump(), self.evaluation.done
        self.snapshot = self.snapshots.take(self.step, evaluated, episodes, env_states)

    def close(self) -> None:
        """Wait for the last save, abandon a video, close the logs."""
        self.checkpoints.close()
        self.recorder.close(wait=False)
        self.writer.close()


@dataclass(frozen=True)
class Pending:
    """An update whose gradient steps are being taken, and the rollout that it learns from."""

    update: Update
    collected: Collected
