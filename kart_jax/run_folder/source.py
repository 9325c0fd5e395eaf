"""What a run begins with: nothing, another run's policy, or its own last checkpoint; and who
teaches it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kart_jax.config import TrainConfig
from kart_jax.game.actions import ACTION_SETS
from kart_jax.game.state import SIZE as STATE_SIZE
from kart_jax.imitation.config import GUIDE
from kart_jax.policy.distributions import ActionSpec
from kart_jax.policy.observation import STATE
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.loading import load_policy
from kart_jax.validation import UserError, check


@dataclass(frozen=True)
class Resumed:
    """This run's checkpoint to resume from."""

    path: Path
    progress: dict[str, Any]

    @property
    def step(self) -> int:
        """Policy steps taken."""
        return int(self.progress["step"])


Source = Resumed | Policy
"""What a run begins with: its own checkpoint, or another run's policy."""


def policy_spec(config: TrainConfig) -> PolicySpec:
    """Return the policy that a configuration trains."""
    space = ACTION_SETS[config.race.action_set]().space
    return PolicySpec(
        config.network, ActionSpec.from_space(space), config.observation_shape, config.state_size
    )


def find_source(config: TrainConfig, run_dir: Path | None) -> Source | None:
    """Find what to begin with, before anything is started; None is a new network.

    Raises:
        CheckpointError: there is none where `init_from` says, or all of the run's are damaged.
        ValueError: its policy is of another shape than this run's.
    """
    folder = (run_dir / "checkpoints").absolute() if run_dir is not None else None
    # A run that was stopped before its first checkpoint begins at the beginning.
    if config.run.resume and folder is not None and checkpoints.ever_saved(folder):
        path = checkpoints.latest(folder)
        progress = checkpoints.read_progress(path)
        _check_shape(config, PolicySpec.from_dict(progress["policy"]), run_dir)
        return Resumed(path, progress)
    return load_start(config)


def load_start(config: TrainConfig) -> Policy | None:
    """Load the policy of `init_from`, if any.

    Raises:
        CheckpointError, ValueError: as `find_source`.
    """
    if config.run.init_from is None:
        return None
    policy = load_policy(config.run.init_from)
    _check_shape(config, policy.spec, config.run.init_from)
    return policy


def _check_shape(config: TrainConfig, spec: PolicySpec, where: Path | None) -> None:
    if spec != policy_spec(config):
        raise UserError(f"{where} holds a policy of another shape than this run's")


def load_teacher(config: TrainConfig, spec: PolicySpec) -> Policy | None:
    """Load the policy that teaches one of `spec`, before anything is started.

    None: the guide teaches.

    Raises:
        CheckpointError: there is none where `teacher` says.
        ValueError: it does not see the state, or chooses among other actions.
    """
    name, race = config.imitation.teacher, config.race
    if name == GUIDE:
        return None
    teacher = load_policy(name)
    sight, size = teacher.spec.network.actor, teacher.spec.state_size
    sees = f"{size} numbers of the state" if sight == STATE else sight
    fits = sight == STATE and size == STATE_SIZE
    check(
        fits, "teacher", name, f"a policy that sees {STATE_SIZE} numbers of the state, not {sees}"
    )
    own, its = race.action_set, teacher.race["action_set"]
    alike = spec.actions == teacher.spec.actions
    check(alike, "action_set", own, f"{its}, like that of the teacher {name}")
    return teacher
