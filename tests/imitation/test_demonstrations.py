"""What the guide tells belongs to the frames it is told for, whoever drives."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kart_jax.game import make_env
from kart_jax.game.actions import ACTION_SETS, closest_actions
from kart_jax.game.fake import FakeKartEnv
from kart_jax.imitation.demonstrations import Demonstrator, Episode, GuidedEnv
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.groups import WorkerGroups
from tests.helpers.tiny import RACE

SHORT = replace(RACE, time_limit=3.0)
WORKERS = WorkerConfig(num_envs=4, workers="serial")


def straight_on(seen: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    stacks = seen["frames"]
    assert stacks.shape[1:] == (3, 12, 16, 1)
    return np.tile([1, 1], (len(stacks), 1))


def drive(guided_steps: int, steps: int) -> list[Episode]:
    make = partial(GuidedEnv, make_env, guided_steps, False)
    with WorkerGroups(SHORT, WORKERS, 0, make) as envs:
        return Demonstrator(envs, SHORT.stack).drive(straight_on, steps)


def drive_by_hand(seed: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Frames `[T, H, W, C]` and actions `[T, ...]` of an episode that the guide drives."""
    env = FakeKartEnv(SHORT)
    stack, _ = env.reset(seed=seed)
    frames, actions, over = [], [], False
    while not over:
        frames.append(stack[-1])
        guided = np.array([env.guide()], np.float32)
        actions.append(closest_actions(SHORT.action_set, guided)[0])
        stack, _, terminated, truncated, _ = env.step(actions[-1])
        over = terminated or truncated
    return np.stack(frames), np.array(actions)


def test_frames_actions_and_rewards_are_of_the_same_steps() -> None:
    for shown in drive(guided_steps=0, steps=200):
        assert not shown.info["guided"]
        assert len(shown.seen["frames"]) == len(shown.info["guide"]) == len(shown.rewards)
        assert len(shown.rewards) == shown.info["summary"]["length"]
        total = shown.info["summary"]["return"]
        np.testing.assert_allclose(shown.rewards.sum(), total, rtol=1e-4)


def test_the_guides_actions_are_those_for_each_frame() -> None:
    [shown, *_] = drive(guided_steps=1000, steps=10)
    # A frame shows only roughly where an episode begins: the seed is the one whose frames match.
    same_frames = [
        actions
        for frames, actions in map(drive_by_hand, range(300))
        if np.array_equal(frames, shown.seen["frames"])
    ]
    assert any(np.array_equal(actions, shown.info["guide"]) for actions in same_frames)
    controls = ACTION_SETS[SHORT.action_set]().controls
    assert all(controls(action).acceleration == 1.0 for action in shown.info["guide"])


def test_the_guide_drives_until_its_steps_are_used_up() -> None:
    length = round(SHORT.time_limit / SHORT.action_seconds)
    shown = drive(guided_steps=length + 1, steps=12 * length)
    guided = [one.info["guided"] for one in shown]
    assert guided[:8] == [True] * 8  # two episodes in each of four
    assert not any(guided[8:])
    progress = np.array([one.info["summary"]["progress_m"] for one in shown])
    assert progress[guided].mean() > progress[np.logical_not(guided)].mean() + 5.0
