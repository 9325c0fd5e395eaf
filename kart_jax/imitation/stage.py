"""The stage before PPO: round by round the policy drives, and learns what the guide would do."""

import logging
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from numpy.typing import NDArray

from kart_jax.config import TrainConfig
from kart_jax.game import make_env
from kart_jax.imitation.cloning import Cloner, Samples
from kart_jax.imitation.demonstrations import Demonstration, Demonstrator, GuidedEnv
from kart_jax.imitation.log import ImitationLog
from kart_jax.imitation.rounds import Rounds
from kart_jax.policy.exported import write_policy
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.training.signals import StopRequest
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.vector_env import KartVectorEnv
from kart_jax.workers.worker import MakeEnv

log = logging.getLogger(__name__)

FOLDER = "imitated"
"""In a run's folder: the policy that imitation made, as exported policies are."""
ROUNDS = "imitation"
"""In a run's folder, while it imitates: the rounds so far, to resume from."""
LOG = "imitation.jsonl"
"""In a run's folder: a line for each round."""
STAGE = 2**40
"""Stands for the policy steps that the seeds of a resumed run follow from."""


def imitate(
    config: TrainConfig,
    spec: PolicySpec,
    run_dir: Path,
    stop: StopRequest,
    make: MakeEnv = make_env,
) -> Path:
    """Make a policy from what the guide tells, and write it to the run's folder.

    It goes on after the last whole round, and does nothing where the policy is there already.
    `make` makes the environments; they must have a guide.

    Returns:
        The exported policy's folder.

    Raises:
        Interrupted: a stop was asked for; the rounds so far are kept.
        WorkersLostError: the game cannot run.
    """
    folder = run_dir / FOLDER
    if not folder.exists():
        imitation = _Imitation(config, spec, run_dir)
        if imitation.rounds_left:
            imitation.go_on(stop, make)
        _write(folder, spec, imitation.cloner, config)
    Rounds(run_dir / ROUNDS).clear()
    return folder


class _Imitation:
    """Driving and learning in turn; a round is done once it is kept in the run's folder."""

    def __init__(self, config: TrainConfig, spec: PolicySpec, run_dir: Path) -> None:
        """Begin anew, or after the rounds that are done."""
        options = self._options = config.imitation
        self._config = config
        self._policy = Policy(spec, {}, config.to_dict()["race"])
        steps = options.imitation_rounds * options.round_gradient_steps
        self.cloner = Cloner(spec, config.ppo, options.imitation_rate, steps, config.run.seed)
        self._samples = Samples(config.race.stack)
        self._rounds = Rounds(run_dir / ROUNDS)
        self._done = 0
        if kept := self._rounds.load():
            self._restore(*kept)
        self._log = ImitationLog(run_dir / LOG, options, config.run.quiet, self._done)

    def _restore(
        self, done: int, shown: list[Demonstration], snapshot: dict[str, NDArray[Any]]
    ) -> None:
        """Take up the rounds that are done, unless they are of another version."""
        try:
            self.cloner.restore(snapshot)
        except ValueError as error:
            log.warning("the rounds so far are of no use, imitation begins again: %s", error)
            self._rounds = Rounds(self._rounds.folder)
        else:
            self._done = done
            self._samples.extend(shown)

    @property
    def rounds_left(self) -> range:
        """Their numbers; the first is 1."""
        return range(self._done + 1, self._options.imitation_rounds + 1)

    def go_on(self, stop: StopRequest, make: MakeEnv) -> None:
        """Do the rounds that are left."""
        config, options = self._config, self._options
        seed = derive_seed(config.run.seed, STAGE + self._done)
        # Some end their first round later than others: all of it is to be the guide's.
        lead = 0 if self._done else 2 * options.round_steps // config.workers.num_envs
        make_guided = partial(GuidedEnv, make, lead, options.imitation_drift)
        with KartVectorEnv(config.race, config.workers, seed, make_guided) as envs:
            with stop.interrupting():
                demonstrator = Demonstrator(envs, config.race.stack)
            for number in self.rounds_left:
                self._do_round(number, demonstrator, stop)

    def _do_round(self, number: int, demonstrator: Demonstrator, stop: StopRequest) -> None:
        options = self._options
        self._policy.variables = self.cloner.variables
        self._log.begin(number)

        def act(observation: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
            stop.check()
            actions = self._policy.act(observation)  # greedily: one random drift may end a race
            self._log.driving(len(actions))
            return actions

        def before_step() -> None:
            stop.check()
            self._log.learning()

        shown = demonstrator.drive(act, options.round_steps)
        self._samples.extend(shown)
        figures = self.cloner.learn(
            self._samples, options.imitation_batch, options.round_gradient_steps, before_step
        )
        self._log.end(shown, {**figures, "steps": len(self._samples)})
        self._rounds.save(number, shown, self.cloner.snapshot())


def _write(folder: Path, spec: PolicySpec, cloner: Cloner, config: TrainConfig) -> None:
    """Export the policy to a folder that is whole or not there at all."""
    partly = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partly, ignore_errors=True)
    partly.mkdir()
    steps, scale = config.imitation.imitation_steps, cloner.reward_scale
    variables = jax.device_get(cloner.variables)
    write_policy(partly, spec, variables, config.to_dict(), 0, steps, scale)
    partly.rename(folder)
