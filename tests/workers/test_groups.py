"""Groups of workers: the batches that they return, and the order of calls."""

from typing import Any

import numpy as np
import pytest
from gymnasium.error import (
    AlreadyPendingCallError,
    ClosedEnvironmentError,
    NoAsyncCallError,
    ResetNeeded,
)

from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.vector_env import KartVectorEnv
from tests.helpers.four_races import IDS, MODES, RACE, actions


@pytest.fixture(scope="module", params=MODES, ids=IDS)
def envs(request: pytest.FixtureRequest) -> Any:
    with WorkerGroups(RACE, request.param, seed=3) as envs:
        yield envs


def step(envs: WorkerGroups, action: Any) -> list[Any]:
    """Step everywhere: rewards, terminated and truncated `[3, N]`."""
    for group, members in enumerate(envs.groups):
        envs.send(group, action[members.start : members.stop])
    batches = [envs.receive(group) for group in range(len(envs.groups))]
    return [
        np.concatenate([getattr(batch, name) for batch in batches])
        for name in ("rewards", "terminated", "truncated")
    ]


def test_groups_and_steps_see_the_same(envs: WorkerGroups) -> None:
    """A batch has the newest frames of the vector environment's stacks."""
    rng = np.random.default_rng(0)
    taken = [actions(rng) for _ in range(70)]
    with KartVectorEnv(RACE, MODES[2], seed=1) as whole:
        stacks = [whole.reset()[0], *(whole.step(action)[0] for action in taken)]
    envs.start(seed=1)
    size = 4 // len(envs.groups)
    for action, stack in zip(taken, stacks[1:], strict=True):
        for group, members in enumerate(envs.groups):
            envs.send(group, action[members.start : members.stop])
        for group, members in enumerate(envs.groups):
            batch = envs.receive(group)
            assert batch.frames.shape == (size, 48, 64, 1)
            np.testing.assert_array_equal(batch.frames, stack[members.start : members.stop, -1])
            np.testing.assert_array_equal(batch.first, batch.terminated | batch.truncated)
            assert len(batch.final_infos) == batch.first.sum()
            assert not batch.lost.any()


def test_start_is_all_first_frames(envs: WorkerGroups) -> None:
    batches = envs.start()
    assert len(batches) == len(envs.groups)
    for batch in batches:
        assert batch.first.all()
        assert not (batch.terminated | batch.truncated | batch.lost).any()
        assert batch.final_infos == {}


def test_a_batch_is_never_overwritten(envs: WorkerGroups) -> None:
    kept = envs.start()
    before = [batch.frames.copy() for batch in kept]
    for _ in range(5):
        for group, members in enumerate(envs.groups):
            envs.send(group, np.ones((len(members), 2), int))
            envs.receive(group)
    envs._pool.slots.frames[:] = 99
    envs._pool.slots.rewards[:] = 99
    for batch, frames in zip(kept, before, strict=True):
        np.testing.assert_array_equal(batch.frames, frames)
        assert batch.rewards.max() == 0
        with pytest.raises(ValueError, match="read-only"):
            batch.frames[:] = 0


@pytest.mark.parametrize("mode", MODES, ids=IDS)
def test_calls_out_of_order(mode: WorkerConfig) -> None:
    envs = WorkerGroups(RACE, mode, seed=0)
    size = 4 // len(envs.groups)
    action = np.ones((size, 2), int)
    with pytest.raises(ResetNeeded, match="first step"):
        envs.send(0, action)
    with pytest.raises(NoAsyncCallError, match="group 0"):
        envs.receive(0)
    envs.start()
    with pytest.raises(ValueError, match=r"shape \(3, 2\).*takes"):
        envs.send(0, np.ones((3, 2), int))
    with pytest.raises(TypeError, match="Cannot cast"):
        envs.send(0, action * 0.5)
    envs.send(0, action)
    for call in (lambda: envs.send(0, action), envs.start, envs.get_states):
        with pytest.raises(AlreadyPendingCallError):
            call()
    envs.receive(0)
    envs.close()
    envs.close()  # twice does no harm
    for call in (envs.start, lambda: envs.send(0, action), lambda: envs.receive(0)):
        with pytest.raises(ClosedEnvironmentError):
            call()


def test_states_resume_exactly(envs: WorkerGroups) -> None:
    rng = np.random.default_rng(2)
    envs.start()
    for _ in range(40):
        step(envs, actions(rng))
    states, later = envs.get_states(), [actions(rng) for _ in range(70)]
    first = [step(envs, action) for action in later]
    envs.set_states(states)
    again = [step(envs, action) for action in later]
    np.testing.assert_array_equal(first, again)
    assert np.array(first)[:, 1:].any()  # episodes ended, so the draws of resets came back too
