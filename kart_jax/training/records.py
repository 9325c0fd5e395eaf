"""The records of a run: logs, evaluations, videos, checkpoints."""

import contextlib
from dataclasses import replace

from kart_jax.evaluation.evaluator import Evaluator
from kart_jax.evaluation.recorder import Recorder
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.checkpoints import Checkpoint, CheckpointError, Checkpoints
from kart_jax.run_folder.logs import open_writer
from kart_jax.run_folder.source import Resumed, policy_spec
from kart_jax.training.collector import Collected
from kart_jax.training.console import Console
from kart_jax.training.metrics import EpisodeWindow
from kart_jax.training.run import Run
from kart_jax.training.schedule import Every
from kart_jax.training.signals import Interrupted
from kart_jax.training.snapshot import Snapshot, Snapshots


class Records:
    """Logs every update, and evaluates, films and saves when it is due.

    Of several processes only the first does so; the others wait for it where they must.
    """

    def __init__(self, run: Run, snapshots: Snapshots, step: int) -> None:
        """Open the logs of a run that begins, or resumes, at policy step `step`."""
        config, first = run.config, run.processes.is_first
        self._run, self._config, self._processes = run, config, run.processes
        self._snapshots, self._learner = snapshots, snapshots.learner
        self._snapshot: Snapshot | None = None
        """Of the last finished update; None until the run has begun."""
        self._spec = policy_spec(config)
        self._episodes = EpisodeWindow()
        self._checkpoints = Checkpoints(run.folder, config.run.keep)
        self._writer = open_writer(run.folder if first else None, config, step)
        self.console = Console(config.run, step, quiet=not first)
        self._evaluator = Evaluator(config, self._spec)
        self._recorder = Recorder(config, self._spec, run.folder)
        self._evaluation = Every(config.run.eval_steps, self._evaluate, step)
        self._periodic = (
            self._evaluation,
            Every(config.run.video_steps, self._film, step),
            Every(config.run.checkpoint_steps, self._save, step),
        )
        self.target_reached = False
        """Whether the last evaluation reached the run's target; set in the first process only."""

    def restore(self, source: Resumed) -> None:
        """Restore the running means and the step of the last evaluation."""
        self._episodes = EpisodeWindow(source.progress["episodes"])
        # Version 0.1 did not save it; it evaluated each checkpoint.
        self._evaluation.done = source.progress.get("evaluated", source.step)

    def begin(self, step: int, is_policy: bool) -> None:
        """Take the first snapshot, and evaluate what the run begins with.

        Args:
            step: policy steps taken so far.
            is_policy: it begins with a policy, which PPO may make worse at first.
        """
        self._take_snapshot(step, self._processes.together(self.env_states))
        if is_policy and self._evaluation.steps:
            self._evaluate()
        self._evaluation.run(step)  # a stop may have cut the last one short

    def add(self, step: int, collected: Collected, metrics: dict[str, float]) -> None:
        """Log the update that finished at `step`, and do what is due."""
        self._episodes.extend(collected.episodes)
        self._log(step, collected, metrics)
        self._take_snapshot(step, collected.env_states)
        for task in self._periodic:
            task.run(step)

    def env_states(self) -> list[object] | None:
        """Return the environments' states, where a snapshot holds them.

        Call it before an update learns, not after: a worker may hang here, and a stop must then
        find learner and snapshot at the same step.
        """
        with self._run.stop.interrupting():
            return self._snapshots.env_states()

    def save_last(self) -> None:
        """Save before the end; all processes wait, since one that leaves ends the others.

        Raises:
            CheckpointError: it could not be saved.
        """
        self._save()
        saved = self._processes.in_first(self._checkpoints.wait)
        if self._processes.any(saved is False):
            raise CheckpointError("the last checkpoint could not be saved")

    def finish_video(self) -> None:
        """Wait for the last video; a stop abandons it, and the run still counts as finished."""
        self._processes.in_first(self._finish_video_here)

    def _finish_video_here(self) -> None:
        stop, stopwatch = self._run.stop, self._run.stopwatch
        with contextlib.suppress(Interrupted), stop.interrupting(), stopwatch("finish the video"):
            self._recorder.close(wait=True)

    def close(self) -> None:
        """Wait for the last save, abandon a video, close the logs."""
        self._checkpoints.close()
        self._recorder.close(wait=False)
        self._writer.close()

    def _log(self, step: int, collected: Collected, metrics: dict[str, float]) -> None:
        """Write and show the metrics of one rollout and its update."""
        stopwatch = self._run.stopwatch
        metrics = {f"ppo/{name}": value for name, value in metrics.items()}
        metrics |= self._episodes.means()
        metrics |= {
            "time/steps_per_second": self.console.rate(step),
            "workers/losses": float(collected.losses),
            "data/bytes_per_step": collected.bytes_sent / self._config.steps_per_update,
            "ppo/policy_lag": float(self._config.ppo.overlap),
        }
        metrics |= {f"time/{stage}": s for stage, s in stopwatch.seconds.items()}
        with stopwatch("log"):
            self._writer.write(step, metrics)
            self.console.show(step, metrics)

    def _take_snapshot(self, step: int, env_states: list[object] | None) -> None:
        """Replace the snapshot, which a stop amid an update saves."""
        episodes, evaluated = self._episodes.dump(), self._evaluation.done
        self._snapshot = self._snapshots.take(step, evaluated, episodes, env_states)

    def _evaluate(self) -> None:
        """Evaluate the policy in the first process, and save it if it is the best so far."""
        self._processes.in_first(self._evaluate_here)

    def _evaluate_here(self) -> None:
        assert self._snapshot is not None
        variables, _ = self._learner.save_state()
        with self._run.stopwatch("evaluate"), self._run.stop.interrupting():
            metrics = self._evaluator.evaluate(variables)
        step = self._snapshot.step
        self._writer.write(step, metrics)
        self.console.show_evaluation(step, metrics)
        self.target_reached = self._evaluator.reaches_target(metrics)
        self._snapshot = replace(self._snapshot, evaluated=step)
        # The best so far is the one on disk, since a save may have failed.
        self._checkpoints.wait()
        best = checkpoints.read_best(self._checkpoints.folder)
        if best is None or self._evaluator.is_better(metrics, best["metrics"]):
            self._save(metrics)

    def _film(self) -> None:
        """Begin a video of the current policy."""
        if self._processes.is_first:
            assert self._snapshot is not None
            with self._run.stopwatch("evaluate"):
                self._recorder.start(self._snapshot.step, self._learner.save_state()[0])

    def _save(self, best: dict[str, float] | None = None) -> None:
        """Begin to save the snapshot; `best` are its metrics if it is the best policy so far."""
        snapshot = self._snapshot
        if not self._processes.is_first or snapshot is None:
            return
        with self._run.stopwatch("checkpoint"):
            progress = {
                **self._snapshots.progress(snapshot),
                "policy": self._spec.to_dict(),
                "config": self._config.to_dict(),
            }
            state, carry = self._learner.save_state(), self._snapshots.carry(snapshot)
            progress["reward_scale"] = {k: float(x) for k, x in state[1]["reward_scale"].items()}
            self._checkpoints.save(Checkpoint(snapshot.step, *state, progress, carry), best)
