"""The course of training: begin, collect, learn, record, stop."""

import contextlib
import json
import time
from dataclasses import dataclass, replace

import jax

from kart_jax.config import TrainConfig
from kart_jax.game import make_env
from kart_jax.policy.policy import Policy
from kart_jax.ppo.agent import Agent
from kart_jax.ppo.update import PPO
from kart_jax.run_folder.checkpoints import read_learner, read_policy
from kart_jax.run_folder.source import Resumed, Source, load_teacher, policy_spec
from kart_jax.training.collector import Collected, Collector, RewardError
from kart_jax.training.devices import AXIS, Devices
from kart_jax.training.learner import Learner, NonFiniteError, Update
from kart_jax.training.processes import PeerFailedError
from kart_jax.training.records import Records
from kart_jax.training.run import Run
from kart_jax.training.signals import Interrupted
from kart_jax.training.snapshot import Snapshots
from kart_jax.workers.errors import WorkersLostError
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.worker import MakeEnv


def train(run: Run, source: Source | None, make: MakeEnv = make_env) -> bool:
    """Train to the end or until stopped; save the last finished update either way.

    Args:
        run: what to train, and where.
        source: what to begin with, in the first process of the run; None is a new network.
        make: makes the environments, in the workers: importable there.

    Returns:
        Whether the run ended by itself, rather than by a signal.

    Raises:
        WorkersLostError: workers died again and again; the last update was saved.
        PeerFailedError: another process of the run failed; the last update was saved.
        CheckpointError: the last checkpoint could not be saved, or `source` does not fit.
        RewardError: a reward was not finite; the last update was saved.
        RuntimeError: a loss or gradient was not finite.
    """
    config, processes = run.config, run.processes
    step = processes.all_reduce_max(source.step if isinstance(source, Resumed) else 0)
    workers = replace(config.workers, groups=config.workers.group_count(processes.devices.count))
    # A resumed run has other races than those before.
    seed = derive_seed(config.run.seed, step) if step else config.run.seed
    first = processes.index * workers.num_envs
    with run.stopwatch("start workers"):
        groups = WorkerGroups(config.race, workers, seed, make, first)
    with groups as envs:
        trainer = processes.together(lambda: Trainer(run, envs, first, step))
        with contextlib.closing(trainer.records):
            return trainer.train(source)


def make_learner(config: TrainConfig, devices: Devices) -> Learner:
    """Return the learner of a run, with a new network.

    Raises:
        CheckpointError, ValueError: as `load_teacher`.
    """
    spec = policy_spec(config)
    agent = Agent.of(spec, config.ppo.random_shift, AXIS)
    teacher = load_teacher(config, spec) if config.ppo.kickstart_coefficient else None
    if teacher is None:
        return Learner(PPO(agent, config.ppo, AXIS), devices, config.run.seed)
    ppo = PPO(agent, config.ppo, AXIS, teacher.spec.module())
    return Learner(ppo, devices, config.run.seed, jax.device_get(teacher.variables))


@dataclass(frozen=True)
class Pending:
    """An update in progress, and the rollout that it learns from."""

    update: Update
    collected: Collected


class Trainer:
    """One run: `train` is its course, and the methods after it are the steps, in order."""

    def __init__(self, run: Run, envs: WorkerGroups, first: int, step: int) -> None:
        """Make all parts; `begin` restores them.

        Args:
            run: what to train.
            envs: the environments of this process.
            first: the number of the first one, among those of all processes.
            step: policy steps taken so far.
        """
        config, processes = run.config, run.processes
        self.run, self.config, self.processes = run, config, processes
        self.step = step
        self.steps_per_update = config.steps_per_update * processes.count
        with run.stopwatch("set up"):
            self.learner = make_learner(config, processes.devices)
        rollouts = self.learner.create_rollouts(envs.num_envs, len(envs.groups), first)
        self.collector = Collector(envs, self.learner, rollouts, run.stopwatch, run.stop)
        # The real game cannot save its state, and several processes do not save theirs.
        exact = config.race.simulator == "fake" and not config.ppo.overlap and processes.count == 1
        self.snapshots = Snapshots(self.collector, exact)
        self.records = Records(run, self.snapshots, step)

    def train(self, source: Source | None) -> bool:
        """Run from `source` to the end; return whether no stop was requested before it."""
        records, finished = self.records, False
        with records.console, jax.transfer_guard("disallow"):
            try:
                self.begin(source)
                self.learn_from_rewards()
                finished = True
            except Interrupted:
                pass
            except (WorkersLostError, PeerFailedError, RewardError):
                records.save_last()
                raise
            records.save_last()
            if finished:
                records.finish_video()
        records.console.show_end(finished, self.step, records.target_reached, self.run.stopwatch)
        return finished

    def begin(self, source: Source | None) -> None:
        """Restore what the run begins with, and begin an episode in every environment."""
        with self.run.stopwatch("set up"):
            self.processes.together(lambda: self.restore(source))
            if self.processes.count > 1:
                self.learner.share_state()
        self.records.begin(self.step, self.processes.any(isinstance(source, Policy)))

    def restore(self, source: Source | None) -> None:
        """Load what the run begins with; a new network needs nothing."""
        if isinstance(source, Resumed):
            policy, learner = self.learner.save_state()
            policy = read_policy(source.path, policy)
            self.learner.load_state(policy, read_learner(source.path, learner))
            self.records.restore(source)
        elif source is not None:
            self.learner.load_policy(jax.device_get(source.variables), source.reward_scale)
        with self.run.stop.interrupting():
            self.collector.start()
            if isinstance(source, Resumed):
                self.snapshots.resume(source)

    def learn_from_rewards(self) -> None:
        """Collect and update until steps or time are used up or the target is reached.

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

    def wants_more(self, pending: Pending | None) -> bool:
        """Return whether another rollout is to be collected."""
        begun = self.step + (self.steps_per_update if pending is not None else 0)
        over = self.records.target_reached or time.monotonic() > self.run.deadline
        return begun < self.config.run.total_steps and not self.processes.any(over)

    def collect(self, pending: Pending | None) -> Collected:
        """Collect a rollout; a pending update takes gradient steps while workers simulate."""
        actor = self.learner.actor(lag=int(pending is not None))

        def between() -> None:
            if pending is not None:
                with self.run.stopwatch("learn"):
                    pending.update.step()

        def work() -> Collected:
            collected = self.collector.collect(actor, between)
            return replace(collected, env_states=self.records.env_states())

        return self.processes.together(work)

    def begin_update(self, collected: Collected) -> Pending:
        """Make a batch of a rollout; take no gradient steps yet."""
        with self.run.stopwatch("learn"):
            update, self.collector.rollouts = self.learner.begin_update(
                self.collector.rollouts,
                collected.outcomes,
                collected.newest,
                self.step,
                self.config.run.total_steps,
            )
        return Pending(update, collected)

    def finish(self, pending: Pending) -> None:
        """Take the remaining gradient steps, and record the update.

        Raises:
            RuntimeError: a loss or gradient was not finite, in all processes at once.
        """
        try:
            with self.run.stopwatch("learn"):
                check = self.run.stop.check
                metrics = pending.update.finish(lambda: self.processes.together(check))
        except NonFiniteError as error:
            path = self.run.folder / "non_finite_batch.json"
            if self.processes.is_first:
                path.write_text(json.dumps(error.statistics, indent=2), encoding="utf-8")
            error.args = (f"{error} The batch's statistics are in {path}.",)
            raise
        self.step += self.steps_per_update
        self.records.add(self.step, pending.collected, metrics)
