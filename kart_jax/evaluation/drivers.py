"""Driving episodes in this process, step by step, with a policy or without."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kart_jax.config import PRESETS, race_of
from kart_jax.evaluation.trials import STRAIGHT, Driver
from kart_jax.game import RaceConfig, make_env
from kart_jax.game.actions import ACTION_SETS, Controls
from kart_jax.game.engine.world import KartState
from kart_jax.game.env import KartEnv
from kart_jax.imitation.demonstrations import guided_action
from kart_jax.validation import UserError

if TYPE_CHECKING:
    from kart_jax.policy.policy import Policy

Observed = Mapping[str, NDArray[Any]]
"""One observation: `frames [T, H, W, C]`, `state [D]`, or both."""
Act = Callable[[Observed], Any]
"""Takes an observation and returns an action."""
ActOrGuide = Act | None
"""None stands for the guide, which looks at the race instead."""
COACH = "coach"
"""The name of the shipped policy that sees the state."""


@dataclass(frozen=True)
class Step:
    """One action: the observation before it, and its outcome."""

    seen: Observed
    """The observation before the action."""
    action: Any
    controls: Controls
    """The action as the kart's controls; those of the game's own driver are what it did."""
    reward: float
    info: dict[str, Any]
    """The environment's, with `summary` at the end."""
    before: KartState | None
    """The kart when the action was chosen; the fake game has none."""
    value: float | None = None
    """The value of the observation, where it was computed."""


def open_policy(source: str | None, driver: Driver) -> "Policy | None":
    """Return the policy of a name or path, which only the driver `policy` must have, or the coach.

    Raises:
        ValueError: `driver` is `policy` and `source` None.
        CheckpointError: there is no such policy.
    """
    if driver == "coach":
        source = COACH
    if source is None:
        if driver == "policy":
            raise UserError(
                "no policy is named: add a run's folder or a shipped policy's name, such as "
                "lighthouse, or choose another driver, such as --driver guide"
            )
        return None
    from kart_jax.run_folder.loading import load_policy

    return load_policy(source)


def race_from_grid(
    policy: "Policy | None", driver: Driver, changes: dict[str, Any], opponents: int = 0
) -> RaceConfig:
    """Return the race that the policy was trained on, or that of the preset `cpu`, from the grid.

    `changes` of None are ignored. Where a race that draws nothing has several tracks, it draws:
    without, a process keeps its track.
    """
    race = race_of(policy.race) if policy is not None else PRESETS["cpu"].race
    given = {name: value for name, value in changes.items() if value is not None}
    if len(given.get("track", race.track)) > 1 and not race.draws:
        given.setdefault("observation", "both")
    return replace(
        race,
        **{
            "random_start": 0.0,
            "scenery": "full",
            "track_weights": (),
            "karts": opponents + 1,
            "start_position": 1 if opponents == 0 else 0,
            "driver": "ai" if driver == "ai" else "agent",
            **given,
        },
    )


def make_act(
    driver: Driver, race: RaceConfig, policy: "Policy | None", seed: int, sample: bool = False
) -> ActOrGuide:
    """Return what chooses a driver's actions: the policy's most probable unless `sample`."""
    if driver == "guide":
        return None
    space = ACTION_SETS[race.action_set]().space
    if driver == "random":
        space.seed(seed)
        return lambda _: space.sample()
    if driver not in ("policy", "coach"):  # the game's own driver ignores it
        action = np.array(STRAIGHT[race.action_set], space.dtype)
        return lambda _: action
    assert policy is not None
    if not sample:
        return policy.act
    import jax

    numbers = iter(range(sys.maxsize))
    first = jax.random.key(seed)
    return lambda seen: policy.act(seen, jax.random.fold_in(first, next(numbers)))


def drive_episodes(
    race: RaceConfig, act: ActOrGuide, episodes: int, seed: int
) -> Iterator[list[Step]]:
    """Drive `episodes` on the tracks of `race` in turn; yield the steps of each as it ends.

    The seeds are `seed` and those after it.
    """
    env = make_env(race)
    try:
        for number in range(episodes):
            track = race.track[number % len(race.track)]
            yield list(drive(env, act, seed + number, {"track": track}))
    finally:
        env.close()


def add_values(policy: "Policy", steps: Iterable[Step]) -> list[Step]:
    """Return the steps with the policy's value of each, where its critic sees enough."""
    if not policy.has_value:
        return list(steps)
    return [replace(step, value=float(policy.value(step.seen))) for step in steps]


def by_name(observation: Any) -> Observed:
    """Return an environment's observation as a mapping, whatever its space."""
    if isinstance(observation, Mapping):
        return observation
    return {"frames" if observation.dtype == np.uint8 else "state": observation}


def drive(
    env: gymnasium.Env[Any, Any],
    act: ActOrGuide,
    seed: int,
    options: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Drive one episode to its end."""
    actions = ACTION_SETS[env.unwrapped.config.action_set]()  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=seed, options=options)
    ended = False
    while not ended:
        before = env.unwrapped.kart if isinstance(env.unwrapped, KartEnv) else None
        seen = by_name(observation)
        action = guided_action(env) if act is None else act(seen)
        after, reward, terminated, truncated, info = env.step(action)
        controls = info.get("controls")
        yield Step(
            seen=seen,
            action=action,
            controls=Controls(**controls) if controls else actions.controls(action),
            reward=float(reward),
            info=info,
            before=before,
        )
        observation, ended = after, terminated or truncated
