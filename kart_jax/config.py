"""One run's configuration: the parts together, and the presets."""

import dataclasses
import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from kart_jax.files import expand_paths, write_whole
from kart_jax.game.config import RaceConfig
from kart_jax.game.state import SIZE as STATE_SIZE
from kart_jax.imitation.config import GUIDE, ImitationConfig
from kart_jax.policy.config import CPU, GPU, REFERENCE, STATE, NetworkConfig, output_shapes
from kart_jax.ppo.config import PPOConfig
from kart_jax.validation import UserError, check, check_choice, check_numbers, check_seed
from kart_jax.workers.config import WorkerConfig

log = logging.getLogger(__name__)

Preset = Literal["cpu", "scratch", "coach", "gpu", "reference"]
SEED = "seed"
"""What version 0.1 called the preset `reference`."""


@dataclass(frozen=True)
class RunConfig:
    """How long a run lasts and what it leaves behind."""

    preset: Preset = "cpu"
    """The defaults of all other options: `cpu` learns from the coach and pixels on two cores,
    `scratch` by PPO from pixels alone, `coach` from the state, without drawing; `gpu` suits one
    accelerator, `reference` is the reference network at its full size."""
    total_steps: int = 400_000
    """Policy steps, summed over environments; rounded up to whole rollouts."""
    minutes: float | None = None
    """Stop after this much time, with a checkpoint; the schedules still end at total_steps.
    Imitation counts, but is not cut short."""
    seed: int = 0
    """Seeds the weights, the actions, the minibatches and the races."""
    run_dir: Path | None = None
    """Where to write; by default a new folder in `runs/`."""
    resume: bool = False
    """Resume the run in run_dir from its last checkpoint, with its configuration."""
    init_from: Path | None = None
    """A run, checkpoint, exported folder or shipped policy's name to begin with."""
    checkpoint_steps: int = 20_000
    """Policy steps between checkpoints."""
    grace: float = 9.0
    """Seconds from a request to stop until the process is ended by force; fewer than the requester
    waits (Docker: 10, Kubernetes: 30), more than a gradient step and a save take."""
    keep: int = 3
    """Checkpoints to keep, newest first, beside the best one."""
    eval_steps: int = 0
    """Policy steps between evaluations, greedy and from fixed seeds, which find the best
    checkpoint; 0: none."""
    eval_episodes: int = 10
    """Episodes of an evaluation, on each track."""
    eval_workers: int = 2
    """Races at once during an evaluation, beside the workers that train and wait."""
    video_steps: int = 0
    """Policy steps between videos of the greedy policy, in the run's videos/; 0: none."""
    stop_at_finish_rate: float | None = None
    """Stop as soon as an evaluation finishes this share of its races, 0 to 1."""
    wandb: bool = False
    """Log to Weights & Biases too; its own variables (WANDB_MODE, WANDB_PROJECT) count."""
    quiet: bool = False
    """Print nothing but warnings and the end."""

    def __post_init__(self) -> None:
        """Refuse impossible lengths."""
        expand_paths(self)
        check_choice("preset", self.preset, get_args(Preset))
        for name in ("total_steps", "checkpoint_steps", "keep", "eval_episodes", "eval_workers"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("eval_steps", "video_steps"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        self._check_target()
        some = self.minutes is None or 0 < self.minutes <= 1e9
        check(some, "minutes", self.minutes, "more than 0, 1000000000 at most")
        check(0 < self.grace <= 1e9, "grace", self.grace, "more than 0, 1000000000 at most")
        check_seed("seed", self.seed)
        if self.resume and self.run_dir is None:
            raise UserError("resume does not say which run: add --run-dir RUN, the run's folder")

    def _check_target(self) -> None:
        target = self.stop_at_finish_rate
        if target is not None:
            check(0 < target <= 1, "stop_at_finish_rate", target, "more than 0, at most 1")
            check(self.eval_steps > 0, "eval_steps", 0, "given with --stop-at-finish-rate")


@dataclass(frozen=True)
class ClusterConfig:
    """The processes that train one policy, if there are several: see docs/clusters.md.

    Each has its own workers and devices. A run's configuration does not hold these options,
    which differ from start to start.
    """

    distributed: bool = False
    """Train in several processes, which SLURM, Kubernetes, a TPU or the flags below define."""
    coordinator: str | None = None
    """HOST:PORT of process 0, with a free port there, where no cluster defines it."""
    num_processes: int | None = None
    """The number of processes, where no cluster defines it."""
    process_id: int | None = None
    """The number of this process, from 0, where no cluster defines it."""
    heartbeat: int = 30
    """Seconds without a sign of life after which a process is lost and the others end."""

    def __post_init__(self) -> None:
        """Refuse flags that do not make a cluster."""
        check_numbers(self)
        named = ("coordinator", "num_processes", "process_id")
        given = [name for name in named if getattr(self, name) is not None]
        check(self.distributed or not given, "distributed", False, f"given with {given}")
        check(len(given) in (0, 3), "coordinator", self.coordinator, f"given with {named[1:]}")
        if given:
            host, _, port = str(self.coordinator).rpartition(":")
            check(
                bool(host) and port.isdecimal(), "coordinator", self.coordinator, "like HOST:12345"
            )
            count, number = self.num_processes or 0, self.process_id
            check(count >= 1, "num_processes", count, "at least 1")
            assert number is not None
            check(0 <= number < count, "process_id", number, f"from 0 to {count - 1}")
        check(self.heartbeat >= 2, "heartbeat", self.heartbeat, "at least 2 s")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on."""

    run: RunConfig = field(default_factory=RunConfig)
    race: RaceConfig = field(default_factory=RaceConfig)
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other."""
        for part in vars(self).values():
            check_numbers(part)
        if self.observation_shape is not None:
            output_shapes(self.network, self.race.stack, self.race.height, self.race.width)
        shift = self.ppo.random_shift
        check("frames" in self.network.sees or not shift, "random_shift", shift, "0 without frames")
        check(self.race.layout == "thwc", "layout", self.race.layout, "thwc to train")
        observed = (
            {"frames", "state"} if self.race.observation == "both" else {self.race.observation}
        )
        needed = "both" if len(self.network.sees) == 2 else self.network.actor
        check(
            self.network.sees <= observed,
            "observation",
            self.race.observation,
            f"{needed}: actor = {self.network.actor!r} and critic = {self.network.critic!r}",
        )
        self._check_kickstart()
        tracks, envs = len(self.race.track), self.workers.num_envs
        check(
            self.race.draws or envs >= tracks,
            "num_envs",
            envs,
            f"at least {tracks}, one for each track: without drawing, each keeps its track",
        )
        check(self.race.driver == "agent", "driver", self.race.driver, "agent to train")

    def _check_kickstart(self) -> None:
        if self.ppo.kickstart_coefficient:
            should = "a policy that sees the state, such as coach, with kickstart_coefficient"
            check(self.imitation.teacher != GUIDE, "teacher", GUIDE, should)
            critic = self.network.critic
            check(critic == "state", "critic", critic, "state with kickstart_coefficient")

    @property
    def is_taught(self) -> bool:
        """Whether training learns from the teacher."""
        imitates = self.imitation.imitation_steps > 0 and self.run.init_from is None
        return imitates or self.ppo.kickstart_coefficient > 0

    @property
    def steps_per_update(self) -> int:
        """Policy steps of one rollout of this process's environments."""
        return self.workers.num_envs * self.ppo.rollout_length

    @property
    def imitation_memory(self) -> int:
        """Bytes of the observations that imitation learns from: all, and a round's twice to save
        it."""
        steps, race = self.imitation.imitation_steps, self.race
        if self.run.init_from is not None or not steps:
            return 0
        frame = race.height * race.width * race.channels if race.draws else 0
        state = 4 * STATE_SIZE if race.observation != "frames" else 0
        return (steps + self.imitation.round_steps) * (frame + state)

    @property
    def observation_shape(self) -> tuple[int, int, int, int] | None:
        """`(S, H, W, C)` of one frame stack, or None where the network sees no frames."""
        race = self.race
        if "frames" not in self.network.sees:
            return None
        return (race.stack, race.height, race.width, race.channels)

    @property
    def state_size(self) -> int:
        """D of a state `[D]`, or 0 where the network sees no state."""
        return STATE_SIZE if "state" in self.network.sees else 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, by part."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Return the configuration that `to_dict` wrote.

        Raises:
            ValueError: a part or a field is not known to this version.
        """
        parts = {name: type(part) for name, part in vars(cls()).items()}
        unknown = sorted(set(values) - set(parts))
        check(not unknown, "configuration", unknown, "made of " + ", ".join(parts))
        return cls(**{name: _part(kind, values.get(name, {})) for name, kind in parts.items()})


def _part(kind: type, values: dict[str, Any]) -> Any:
    values = _without_old_names(kind, values)
    fields = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - fields)
    check(not unknown, kind.__name__, unknown, "made of " + ", ".join(sorted(fields)))
    made: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
    for name in ("run_dir", "init_from"):
        if made.get(name) is not None:
            made[name] = Path(made[name])
    return kind(**made)


def _without_old_names(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return a saved part as this version names it.

    Version 0.1 named them `state_vector` for `observation`, and `seed` for the preset `reference`.
    """
    if kind is RaceConfig and "state_vector" in values:
        others = {name: value for name, value in values.items() if name != "state_vector"}
        return {"observation": "both" if values["state_vector"] else "frames", **others}
    if kind is RunConfig and values.get("preset") == SEED:
        return {**values, "preset": "reference"}
    return values


def race_of(values: dict[str, Any]) -> RaceConfig:
    """Return the race configuration of a policy, from the plain values saved with it.

    Raises:
        ValueError: a field is not known to this version.
    """
    race: RaceConfig = _part(RaceConfig, values)
    return race


FROM_PIXELS = RaceConfig(
    observation="both",
    scenery="lean",
    random_start=0.5,
    start_turn=45.0,
    start_jitter=1.5,
    start_actions=5,
    hold_start=True,
)
"""The race of those who learn from pixels on a processor."""

PRESETS: dict[str, TrainConfig] = {
    "cpu": TrainConfig(
        run=RunConfig(total_steps=350_000, eval_steps=25_000, eval_episodes=16),
        race=replace(FROM_PIXELS, height=72, width=96, colour="rgb", action_set="fine"),
        network=replace(CPU, critic="state"),
        # Chosen by the runs in docs/experiments.md.
        imitation=ImitationConfig(
            teacher="coach", imitation_steps=30_000, imitation_rounds=6, imitation_passes=6
        ),
        ppo=PPOConfig(
            rollout_length=256,
            epochs=3,
            learning_rate=4e-4,
            clip_range=0.15,
            entropy_coefficient=5e-4,
            normalise_rewards=True,
            critic_steps=4_000,
            microbatch=8,  # stays in two cores' caches
        ),
    ),
    # No teacher and no demonstrations. Chosen by the runs in docs/experiments.md.
    "scratch": TrainConfig(
        run=RunConfig(preset="scratch", total_steps=300_000, eval_steps=40_000, eval_episodes=16),
        race=replace(FROM_PIXELS, action_set="drive"),
        network=replace(CPU, critic="state"),
        ppo=PPOConfig(
            discount=0.97,
            learning_rate=6e-4,
            clip_range=0.15,
            entropy_coefficient=0.005,
            entropy_schedule="linear",
            normalise_rewards=True,
            microbatch=8,
            overlap=True,
        ),
    ),
    "coach": TrainConfig(
        run=RunConfig(
            preset="coach",
            total_steps=2_000_000,
            checkpoint_steps=100_000,
            eval_steps=250_000,
        ),
        race=RaceConfig(
            observation="state",
            action_set="fine",
            random_start=0.5,
            start_jitter=0.5,
            start_actions=5,
            hold_start=True,
        ),
        workers=WorkerConfig(num_envs=16),
        network=STATE,
        imitation=ImitationConfig(
            imitation_steps=30_000,
            imitation_rounds=5,
            imitation_batch=256,
            imitation_rate=1e-3,
            imitation_drift=True,
        ),
        ppo=PPOConfig(
            rollout_length=256,
            epochs=6,
            learning_rate=2e-4,
            clip_range=0.15,
            entropy_coefficient=0.001,
            normalise_rewards=True,
            critic_steps=40_000,
        ),
    ),
    # As `scratch`, with larger frames and network, more races, a lower learning rate; without
    # `overlap`, which processes on several GPUs can't have.
    "gpu": TrainConfig(
        run=RunConfig(
            preset="gpu",
            total_steps=10_000_000,
            checkpoint_steps=200_000,
            eval_steps=400_000,
            eval_episodes=16,
        ),
        race=replace(FROM_PIXELS, height=96, width=128, colour="rgb", action_set="drive"),
        workers=WorkerConfig(num_envs=32),
        network=replace(GPU, critic="state"),
        ppo=PPOConfig(
            minibatches=16,
            discount=0.97,
            clip_range=0.15,
            entropy_coefficient=0.005,
            entropy_schedule="linear",
            normalise_rewards=True,
        ),
    ),
    "reference": TrainConfig(
        run=RunConfig(preset="reference", total_steps=10_000_000, checkpoint_steps=50_000),
        race=RaceConfig(height=400, width=600, colour="rgb", action_set="full"),
        workers=WorkerConfig(num_envs=16),
        network=REFERENCE,
        ppo=PPOConfig(rollout_length=64, minibatches=64),
    ),
}


def preset_name(name: str) -> str:
    """Return what a preset is called, with a warning where `name` is what version 0.1 said."""
    if name != SEED:
        return name
    log.warning("the preset seed is now called reference")
    return "reference"


def load(path: Path) -> TrainConfig:
    """Read a saved `config.json`.

    Raises:
        ValueError: the file is missing, is not JSON or does not fit this version.
    """
    try:
        return TrainConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name the folder of an earlier run") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not a saved configuration: {error}") from None
    except (ValueError, TypeError, AttributeError) as error:  # the latter: values of wrong types
        raise UserError(f"{path} does not fit this version: {error}") from None


def save(config: TrainConfig, path: Path) -> None:
    """Write a configuration as JSON, for people to read and edit."""
    write_whole(path, json.dumps(config.to_dict(), indent=2) + "\n")
