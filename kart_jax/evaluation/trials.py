"""Trials: a fixed list of episodes, shared out among workers, by any driver. Imports no JAX.

Which worker drives which trial changes nothing: a trial's start, opponents and random
actions follow from its seed.
"""

import fcntl
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kart_jax.game import RaceConfig, make_env
from kart_jax.game.config import Scenery
from kart_jax.game.env import KartEnv
from kart_jax.game.errors import GameError
from kart_jax.game.start import DRAWN_SEEDS
from kart_jax.imitation.demonstrations import guided_action
from kart_jax.workers.batch import StepBatch
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.observer import Observer, VectorAct

Driver = Literal["policy", "coach", "guide", "ai", "straight", "random"]

STRAIGHT: dict[str, Any] = {
    "full": (1, 0, 1, 0, 0, 0, 0),
    "reduced": (1, 0, 1, 0, 0, 0),
    "race": (2, 2, 0, 0),
    "fine": (2, 4, 0, 0, 0),
    "drive": (1, 1),
    "discrete": 0,
    "continuous": (0.0, 1.0),
}
"""Full throttle, wheel straight, in each action set."""
PATH_SECONDS = 0.5
"""Game seconds between two points of a driven path."""
ATTEMPTS = 3
"""Times that a trial is begun whose worker is lost."""
SELECTION_SEEDS = 2**29
"""Seeds of trials from here on choose the best checkpoint during training, and so are not
for judging it."""
JITTER = 0.5
"""Metres by which a policy's start is moved sideways at most; not with karts beside."""
ACTIONS = 5
"""Random actions at most before a policy takes over."""


@dataclass(frozen=True)
class Trial:
    """One episode to drive."""

    driver: Driver
    track: str
    seed: int
    """0 to 2**30; the episodes of equal seeds begin alike."""
    difficulty: int
    karts: int = 1
    jitter: float = 0.0
    """Metres by which the start is moved sideways at most."""
    actions: int = 0
    """Random actions at most before control begins."""
    scenery: Scenery = "full"
    """What the game draws: all of it, whatever the policy learnt from."""

    def race(self, race: RaceConfig) -> RaceConfig:
        """Return `race` as this trial has it, begun on the grid, at any place with opponents.

        Nothing is drawn for drivers that do not look.
        """
        return replace(
            race,
            observation=race.observation if self.driver == "policy" else "state",
            track=(self.track,),
            track_weights=(),
            difficulty=self.difficulty,
            karts=self.karts,
            driver="ai" if self.driver == "ai" else "agent",
            start_position=1 if self.karts == 1 else 0,
            start_jitter=self.jitter,
            start_actions=self.actions,
            random_start=0.0,
            scenery=self.scenery,
        )

    @property
    def episode_seed(self) -> int:
        """The environment's seed: one that training does not draw."""
        return DRAWN_SEEDS + self.seed


def make_trial(driver: Driver, track: str, seed: int, difficulty: int, karts: int) -> Trial:
    """Return a trial with the usual random start.

    The game's AI, which would use random actions to drive, starts as it stands.
    """
    if driver == "ai":
        return Trial(driver, track, seed, difficulty, karts)
    jitter = JITTER if karts == 1 else 0.0
    return Trial(driver, track, seed, difficulty, karts, jitter, ACTIONS)


@dataclass(frozen=True)
class TrialResult:
    """How a trial went."""

    trial: Trial
    episode: dict[str, Any]
    """What the environment summarised, None for what is not a number."""
    path: list[list[float]] = field(default_factory=list)
    """Where the kart was: x and z in metres, and its speed in metres a second."""
    outline: list[list[float]] = field(default_factory=list)
    """The road's segments: x and z of both ends and the width, in metres."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, all but the outline."""
        return {**asdict(self.trial), **self.episode, "path": self.path}


class TrialEnv(gymnasium.Env[Any, Any]):
    """A worker's environment: each reset takes the next trial that is left.

    When none is left, it idles: zeros to observe, and no end.
    """

    def __init__(
        self, trials: Sequence[Trial], tickets: Path, policy_race: RaceConfig, race: RaceConfig
    ) -> None:
        """Share `trials` of a policy's race with all who count in the file `tickets`."""
        self._trials, self._tickets = trials, tickets
        self._race = replace(policy_race, stack=race.stack)
        self._env = make_env(trials[0].race(race))
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self._trial: Trial | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next trial, whose number is `info["trial"]`, or idle without one."""
        number = self._take()
        if number >= len(self._trials):
            self._trial = None
            return self._idle(), {}
        trial = self._trial = self._trials[number]
        race = trial.race(self._race)
        if race != self._env.unwrapped.config:  # type: ignore[attr-defined]
            self._env.close()
            self._env = make_env(race)
        observation, info = self._env.reset(
            seed=trial.episode_seed,
            options={"track": trial.track, "episode_seed": trial.episode_seed},
        )
        self._env.action_space.seed(trial.seed)
        self._path: list[list[float]] = []
        self._steps = 0
        return observation, {**info, "trial": number}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Drive; `action` counts only where the policy is the driver."""
        if self._trial is None:
            return self._idle(), 0.0, False, False, {}
        if self._trial.driver == "straight":
            action = np.array(STRAIGHT[self._race.action_set], self.action_space.dtype)
        elif self._trial.driver == "guide":
            action = guided_action(self._env)
        elif self._trial.driver == "random":
            action = self._env.action_space.sample()
        observation, reward, terminated, truncated, info = self._env.step(action)
        self._follow(info)
        return observation, float(reward), terminated, truncated, info

    def _follow(self, info: dict[str, Any]) -> None:
        """Note where the kart is; at the end, add the path and the road's outline to `info`."""
        env = self._env.unwrapped
        if not isinstance(env, KartEnv):
            return
        every = max(round(PATH_SECONDS / self._race.action_seconds), 1)
        if self._steps % every == 0 or "summary" in info:
            x, _, z = env.kart.location.tolist()
            self._path.append([round(x, 2), round(z, 2), round(env.kart.speed, 2)])
        self._steps += 1
        if "summary" in info:
            line = env.line
            ends = np.column_stack([line.start, line.start + line.span, line.widths])
            info["path"] = self._path
            info["outline"] = ends[:, [0, 2, 3, 5, 6]].round(2).tolist()

    def _idle(self) -> Any:
        return _zeros(self.observation_space)

    def _take(self) -> int:
        """Return a number that no other worker gets."""
        with self._tickets.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            number = int(file.read() or b"0")
            file.seek(0)
            file.write(str(number + 1).encode())
        return number

    def close(self) -> None:
        """Leave the race."""
        self._env.close()


def run_trials(
    race: RaceConfig,
    trials: Sequence[Trial],
    act: VectorAct,
    workers: int = 2,
) -> Iterator[TrialResult]:
    """Drive all trials, in `workers` processes; yield each result as it ends.

    A trial whose worker is lost is begun again.

    Args:
        race: the view and the controls that the policy was trained with.
        trials: what to drive.
        act: the policy; other drivers do not ask it.
        workers: processes, two to a core at most.

    Raises:
        WorkersLostError: the game cannot run.
        RuntimeError: a trial's worker was lost each time.
    """
    for left in _batches(race, trials):
        for _ in range(ATTEMPTS):
            if not left:
                break
            done = set()
            for number, result in _run_once(race, left, act, workers):
                done.add(number)
                yield result
            left = [trial for number, trial in enumerate(left) if number not in done]
        if left:
            raise GameError(f"the game ended {ATTEMPTS} times in {left[0]}")


def _batches(race: RaceConfig, trials: Sequence[Trial]) -> list[list[Trial]]:
    """The trials, by what one process can drive: it keeps its driver and what it draws, and its
    track if it draws nothing."""
    batches: dict[tuple[str, bool, str], list[Trial]] = {}
    for trial in trials:
        own = trial.race(race)
        key = (own.driver, trial.driver == "policy", "" if own.draws else trial.track)
        batches.setdefault(key, []).append(trial)
    return list(batches.values())


def _run_once(
    race: RaceConfig,
    trials: Sequence[Trial],
    act: VectorAct,
    workers: int,
) -> Iterator[tuple[int, TrialResult]]:
    """Drive the trials of a batch; those of lost workers have no result."""
    count = min(workers, len(trials))
    # No spares: each would take a trial when it loads the game.
    config = WorkerConfig(num_envs=count, spares=0, max_losses=ATTEMPTS)
    with tempfile.TemporaryDirectory() as folder:
        tickets = Path(folder) / "tickets"
        tickets.touch()
        make = partial(TrialEnv, list(trials), tickets, race)
        with WorkerGroups(trials[0].race(race), config, 0, make) as envs:
            groups = [_Group(race, batch) for batch in envs.start()]
            if trials[0].driver != "policy":
                act = _ignored_act(envs)
            for group, one in enumerate(groups):
                envs.send(group, act(one.observations()))
            while any(one.busy for one in groups):
                for group, one in enumerate(groups):
                    for number, info in one.receive(envs.receive(group)):
                        yield number, _result(trials[number], info)
                    envs.send(group, act(one.observations()))


def _ignored_act(envs: WorkerGroups) -> VectorAct:
    """Return a policy for drivers that ignore its actions."""
    space = envs.single_action_space
    shape = (len(envs.groups[0]), *(space.shape or ()))
    actions = np.zeros(shape, space.dtype)
    return lambda _: actions


def _zeros(space: gymnasium.Space[Any]) -> Any:
    """A member of a space of observations."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {name: _zeros(part) for name, part in space.items()}
    return np.zeros(space.shape or (), space.dtype)


def _result(trial: Trial, info: dict[str, Any]) -> TrialResult:
    episode = plain_episode(info["summary"])
    return TrialResult(trial, episode, info.get("path", []), info.get("outline", []))


def plain_episode(episode: dict[str, Any]) -> dict[str, Any]:
    """Return an episode's summary as JSON can hold it: None for what is not a number."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in episode.items()
    }


class _Group:
    """One group of workers: what it observes, and the trials that it drives."""

    def __init__(self, race: RaceConfig, batch: StepBatch) -> None:
        self._observer = Observer(batch, race.stack)
        self._trials: dict[int, int] = {}
        self._begin(batch)

    @property
    def busy(self) -> bool:
        """Whether a trial is under way."""
        return bool(self._trials)

    def observations(self) -> dict[str, NDArray[Any]]:
        """The newest of each environment, as `VectorAct` takes them."""
        return self._observer.observation()

    def receive(self, batch: StepBatch) -> list[tuple[int, dict[str, Any]]]:
        """Follow a step; return the trials that ended, and their last infos."""
        self._observer.push(batch)
        ended = [(self._trials[place], info) for place, info in batch.final_infos.items()]
        self._begin(batch)
        return ended

    def _begin(self, batch: StepBatch) -> None:
        for place, info in batch.reset_infos.items():
            self._trials.pop(place, None)
            if "trial" in info:
                self._trials[place] = info["trial"]
