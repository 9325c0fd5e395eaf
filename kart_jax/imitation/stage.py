"""The stage before PPO: round by round the policy drives, and learns the teacher's actions.

The teacher drives at first, and the policy that learns from it later: so the policy learns what
to do in the states that it reaches by itself (Ross et al. 2011, "DAgger", arXiv 1011.0686).
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from numpy.typing import NDArray

from kart_jax.config import TrainConfig
from kart_jax.game import make_env
from kart_jax.imitation.cloning import Cloner, Samples
from kart_jax.imitation.demonstrations import Demonstration, Demonstrator
from kart_jax.imitation.log import ImitationLog
from kart_jax.imitation.rounds import Rounds
from kart_jax.imitation.teachers import make_teacher
from kart_jax.policy.exported import write_policy
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.run_folder.folder import IMITATED
from kart_jax.run_folder.source import load_teacher
from kart_jax.training.signals import StopRequest
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.worker import MakeEnv

log = logging.getLogger(__name__)

ROUNDS = "imitation"
"""In a run's folder, while it imitates: the rounds so far, to resume from."""
LOG = "imitation.jsonl"
"""In a run's folder: a line for each round."""
SEED_OFFSET = 2**40
"""Sets the seeds of the rounds apart from those of PPO, which follow from its policy steps."""


def imitate(
    config: TrainConfig,
    spec: PolicySpec,
    run_dir: Path,
    stop: StopRequest,
    make: MakeEnv = make_env,
    start: Policy | None = None,
) -> Path:
    """Train a policy on the teacher's actions, and write it to the run's folder.

    It resumes after the last whole round, and does nothing where the policy exists already.
    `make` makes the environments; they must have a guide if it teaches. With `start`, that policy
    learns on, and drives from the first round on.

    Returns:
        The exported policy's folder.

    Raises:
        Interrupted: a stop was requested; the rounds so far are saved.
        WorkersLostError: the game cannot run.
    """
    folder = run_dir / IMITATED
    if not folder.exists():
        imitation = _Imitation(config, spec, run_dir, start)
        if imitation.rounds_left:
            imitation.finish(stop, make)
        _write(folder, spec, imitation.cloner, config)
    Rounds(run_dir / ROUNDS).clear()
    return folder


class _Imitation:
    """Driving and learning in turn; a round is done once the run's folder holds it."""

    def __init__(
        self, config: TrainConfig, spec: PolicySpec, run_dir: Path, start: Policy | None = None
    ) -> None:
        """Begin with the first round, or after the saved ones."""
        options = self._options = config.imitation
        self._config = config
        self._policy = Policy(spec, {}, config.to_dict()["race"])
        coach = load_teacher(config, spec)
        self._teacher = make_teacher(spec, coach, options.imitation_drift, config.run.seed)
        steps = options.imitation_rounds * options.round_gradient_steps
        self.cloner = Cloner(spec, config.ppo, options.imitation_rate, steps, config.run.seed)
        if start is not None:
            self.cloner.take_weights(start)
        self._guided_rounds = 1 if start is None else 0
        if coach is not None:
            self.cloner.take_critic(coach)
        self._samples = Samples(config.race.stack)
        self._rounds = Rounds(run_dir / ROUNDS)
        self._done = 0
        if saved := self._rounds.load():
            self._restore(*saved)
        self._log = ImitationLog(run_dir / LOG, options, config.run.quiet, self._done)

    def _restore(
        self,
        done: int,
        demonstrations: list[Demonstration],
        snapshot: dict[str, NDArray[Any]],
    ) -> None:
        """Resume after the rounds that are done, unless they are of another version."""
        try:
            self.cloner.restore(snapshot)
        except ValueError as error:
            log.warning("the saved rounds do not fit, imitation begins again: %s", error)
            self._rounds = Rounds(self._rounds.folder)
        else:
            self._done = done
            self._samples.extend(demonstrations)

    @property
    def rounds_left(self) -> range:
        """Numbers of the remaining rounds; the first round is 1."""
        return range(self._done + 1, self._options.imitation_rounds + 1)

    def finish(self, stop: StopRequest, make: MakeEnv) -> None:
        """Do the remaining rounds."""
        config, options = self._config, self._options
        seed = derive_seed(config.run.seed, SEED_OFFSET + self._done)
        # Twice a share of the round: some environments end it later, and the teacher drives it all.
        share = options.round_steps // config.workers.num_envs
        guided_steps = 2 * share if self._done < self._guided_rounds else 0
        make_guided = self._teacher.environments(make, guided_steps)
        race = self._teacher.race(config.race)
        with WorkerGroups(race, config.workers, seed, make_guided) as envs:
            with stop.interrupting():
                demonstrator = Demonstrator(envs, race.stack)
            for number in self.rounds_left:
                self._do_round(number, demonstrator, stop)

    def _do_round(self, number: int, demonstrator: Demonstrator, stop: StopRequest) -> None:
        options, first = self._options, number <= self._guided_rounds
        self._policy.variables = self.cloner.variables
        self._log.begin(number)

        def act(observation: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
            stop.check()
            actions = self._teacher.act(observation) if first else None
            if actions is None:  # greedily: one random drift may end a race
                actions = self._policy.act(observation)
            self._log.driving(len(actions))
            return actions

        def before_step() -> None:
            stop.check()
            self._log.learning()

        episodes = demonstrator.drive(act, options.round_steps)
        demonstrations = [self._teacher.label(episode, first) for episode in episodes]
        self._samples.extend(demonstrations)
        metrics = self.cloner.learn(
            self._samples, options.imitation_batch, options.round_gradient_steps, before_step
        )
        self._log.end(demonstrations, {**metrics, "steps": len(self._samples)})
        self._rounds.save(number, demonstrations, self.cloner.snapshot())


def _write(folder: Path, spec: PolicySpec, cloner: Cloner, config: TrainConfig) -> None:
    """Export the policy to a folder that is whole or absent."""
    partly = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partly, ignore_errors=True)
    partly.mkdir()
    steps, scale = config.imitation.imitation_steps, cloner.reward_scale
    variables = jax.device_get(cloner.variables)
    write_policy(partly, spec, variables, config.to_dict(), 0, steps, scale)
    partly.rename(folder)
