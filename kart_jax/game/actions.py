"""Action sets: what an agent may choose from, by name, and what it means to the kart."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from kart_jax.validation import check


class Controls(NamedTuple):
    """The kart's controls during one step."""

    steer: float = 0.0
    """-1 (left) to 1 (right)."""
    acceleration: float = 0.0
    """0 to 1."""
    brake: bool = False
    """Brakes; drives backwards when the kart stands."""
    fire: bool = False
    drift: bool = False
    nitro: bool = False
    rescue: bool = False


def mean_controls(parts: Sequence[Controls]) -> Controls:
    """Return the mean of steer and acceleration, and the majority of the other controls."""
    means = np.mean(np.asarray(parts, np.float32), axis=0).tolist()
    return Controls(*means[:2], *(mean > 0.5 for mean in means[2:]))


class ActionSet(Protocol):
    """A space of actions, each instance's its own since it can be seeded, and their meaning."""

    space: spaces.Space[Any]

    def __init__(self) -> None: ...

    def controls(self, action: Any) -> Controls:
        """Return the controls that a member of the space stands for."""


class FullActions:
    """Seven parts: acceleration, brake, steer (left, none, right), fire, drift, nitro, rescue."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.MultiDiscrete([2, 2, 3, 2, 2, 2, 2])

    def controls(self, action: Any) -> Controls:
        """Part by part, in the order of the class's description."""
        throttle, brake, steer, fire, drift, nitro, rescue = map(int, action)
        return Controls(
            steer=steer - 1.0,
            acceleration=float(throttle),
            brake=bool(brake),
            fire=bool(fire),
            drift=bool(drift),
            nitro=bool(nitro),
            rescue=bool(rescue),
        )


class DriveActions:
    """Two parts: throttle and steer (left, none, right). Enough to finish a lap alone."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.MultiDiscrete([2, 3])

    def controls(self, action: Any) -> Controls:
        """Return throttle and steer."""
        throttle, steer = map(int, action)
        return Controls(steer=steer - 1.0, acceleration=float(throttle))


class RaceActions:
    """Four parts: throttle (brake, none, full), steer in five steps, drift, nitro."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.MultiDiscrete([3, 5, 2, 2])

    def controls(self, action: Any) -> Controls:
        """Part by part, in the order of the class's description."""
        throttle, steer, drift, nitro = map(int, action)
        return Controls(
            steer=steer / 2 - 1.0,
            acceleration=float(throttle == 2),
            brake=throttle == 0,
            drift=bool(drift),
            nitro=bool(nitro),
        )


class FineActions:
    """Five parts: throttle (brake, none, full), steer in nine steps, drift, nitro, fire.

    The steps are closer together the less they steer. A drift with the wheel straight steers a
    hair to the right: with the wheel at 0 the game (pystk2 0.7.4) begins a drift to the left, and
    does not report the skid.
    """

    STEPS = (-1.0, -0.6, -0.3, -0.1, 0.0, 0.1, 0.3, 0.6, 1.0)
    HAIR = 0.01
    """The least steering with which the game reports a skid."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.MultiDiscrete([3, len(self.STEPS), 2, 2, 2])

    def controls(self, action: Any) -> Controls:
        """Part by part, in the order of the class's description."""
        throttle, step, drift, nitro, fire = map(int, action)
        steer = self.STEPS[step]
        return Controls(
            steer=steer if steer or not drift else self.HAIR,
            acceleration=float(throttle == 2),
            brake=throttle == 0,
            fire=bool(fire),
            drift=bool(drift),
            nitro=bool(nitro),
        )


class ReducedActions:
    """Six parts: the full set without rescue, which a beginner presses too often."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.MultiDiscrete([2, 2, 3, 2, 2, 2])

    def controls(self, action: Any) -> Controls:
        """Return the first six parts of the full set."""
        return FullActions().controls((*action, 0))


class ListedActions:
    """One choice among useful combinations, as a `Discrete` space."""

    combinations = (
        Controls(acceleration=1.0),
        Controls(acceleration=1.0, steer=-1.0),
        Controls(acceleration=1.0, steer=1.0),
        Controls(acceleration=1.0, steer=-1.0, drift=True),
        Controls(acceleration=1.0, steer=1.0, drift=True),
        Controls(acceleration=1.0, nitro=True),
        Controls(acceleration=1.0, fire=True),
        Controls(steer=-1.0),
        Controls(steer=1.0),
        Controls(brake=True),
        Controls(),
    )

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.Discrete(len(self.combinations))

    def controls(self, action: Any) -> Controls:
        """Return the combination of that number."""
        return self.combinations[int(action)]


class ContinuousActions:
    """Steer and throttle as two numbers from -1 to 1; a throttle below 0 brakes."""

    def __init__(self) -> None:
        self.space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def controls(self, action: Any) -> Controls:
        """Return steer, and throttle or brake."""
        steer, throttle = np.clip(np.asarray(action, np.float32), -1.0, 1.0).tolist()
        return Controls(steer=steer, acceleration=max(throttle, 0.0), brake=throttle < 0)


ACTION_SETS: dict[str, type[ActionSet]] = {
    "full": FullActions,
    "reduced": ReducedActions,
    "drive": DriveActions,
    "race": RaceActions,
    "fine": FineActions,
    "discrete": ListedActions,
    "continuous": ContinuousActions,
}
"""All action sets by the name that `RaceConfig.action_set` takes."""


def check_action(space: spaces.Space[Any], action: Any) -> None:
    """Refuse what is no member of a space, nor becomes one by `np.asarray`, as a JAX array does.

    Numbers beyond a box's limits are clipped later.

    Raises:
        ValueError: names the action and the space.
    """
    try:
        numbers = np.asarray(action)
        if isinstance(space, spaces.Box):
            fits = numbers.shape == space.shape and bool(np.isfinite(numbers.astype(float)).all())
        else:
            fits = bool(space.contains(numbers))
    except (TypeError, ValueError):  # what NumPy makes no array of
        fits = False
    if not fits:  # only then: naming a space takes longer than all the rest of a check
        check(False, "action", action, f"a member of {space}")


def check_actions(space: spaces.Space[Any], actions: NDArray[Any], first: int) -> None:
    """Refuse actions `[N, ...]` of which one is no member of a space, as `check_action` does.

    Raises:
        ValueError: names the environment, of which the first has the number `first`.
    """
    if isinstance(space, spaces.MultiDiscrete):
        fit = (space.start <= actions) & (actions < space.start + space.nvec)
    elif isinstance(space, spaces.Discrete):
        fit = (space.start <= actions) & (actions < space.start + space.n)
    else:
        fit = np.isfinite(actions)
    if not fit.all():
        place = int(np.argwhere(~fit)[0, 0])
        action = actions[place].tolist()
        check(False, f"action of environment {first + place}", action, f"a member of {space}")


def closest_actions(action_set: str, controls: NDArray[np.floating]) -> NDArray[Any]:
    """Return the members of a set that come closest to what a kart did: what to imitate.

    Args:
        action_set: a name of `ACTION_SETS`.
        controls: `[N, 7]`, in the order of `Controls`.

    Returns:
        `[N, ...]` actions of the space's type.
    """
    controls = np.asarray(controls, np.float32)
    if isinstance(ACTION_SETS[action_set]().space, spaces.Box):
        steer, acceleration, brake = controls[:, :3].T
        return np.stack([steer, np.where(brake > 0, -1.0, acceleration)], -1).astype(np.float32)
    members, meanings = _members(action_set)
    squared = np.square(controls[:, None] - meanings).sum(-1)
    return members[squared.argmin(1)]


@cache
def _members(action_set: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """All members of a set of choices, `[M]` or `[M, parts]`, and their controls, `[M, 7]`."""
    actions = ACTION_SETS[action_set]()
    space = actions.space
    if isinstance(space, spaces.Discrete):
        members = np.arange(space.n)
    else:
        assert isinstance(space, spaces.MultiDiscrete)
        members = np.array(list(np.ndindex(*space.nvec)))
    meanings = np.array([actions.controls(member) for member in members], np.float32)
    return members.astype(space.dtype), meanings
