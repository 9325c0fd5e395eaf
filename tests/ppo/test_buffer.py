"""What is learnt from is what was acted upon, frame by frame."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.ppo import buffer
from tests.helpers.scripted import FRAME, STACK, Script, collect, create_state, make_ppo

LENGTH = 8


def fill(script: Script, rollouts: int, stack: int = STACK):
    """Yield, for each rollout: the buffer, and the stacks that were acted upon."""
    rollout = buffer.create(jnp.arange(script.envs), LENGTH, (stack, *FRAME), 0, (2,), jnp.int32)
    step = jax.jit(see)
    for start in range(0, rollouts * LENGTH, LENGTH):
        acted = []
        for t in range(start, start + LENGTH):
            rollout, stacks = step(rollout, script.frames[t], script.first[t])
            acted.append(np.asarray(stacks))
        yield rollout, np.stack(acted)
        rollout = buffer.rewind(rollout)


def see(rollout, frames, first):
    age = buffer.next_age(rollout, first)
    seen = {"frames": frames}
    stacks = buffer.newest_observation(rollout, seen, age)["frames"]
    zeros = jnp.zeros(len(first))
    actions = jnp.zeros((len(first), 2), jnp.int32)
    return buffer.record(rollout, seen, age, actions, zeros, zeros), stacks


def learnt(rollout) -> np.ndarray:
    times, envs = np.divmod(np.arange(rollout.length * len(rollout.env)), len(rollout.env))
    stacks = buffer.observations_at(rollout, times, envs)["frames"]
    return np.asarray(stacks).reshape(rollout.length, len(rollout.env), *stacks.shape[1:])


@pytest.mark.parametrize("end_rate", [0.0, 0.1, 0.3, 1.0])
def test_stacks_acted_upon_and_learnt_from_are_those_of_a_plain_window(end_rate):
    script = Script(steps=4 * LENGTH, envs=5, end_rate=end_rate)
    expected = script.stacks()
    for number, (rollout, acted) in enumerate(fill(script, rollouts=4)):
        part = slice(number * LENGTH, (number + 1) * LENGTH)
        np.testing.assert_array_equal(acted, expected[part])
        np.testing.assert_array_equal(learnt(rollout), expected[part])


def test_one_frame_needs_no_stacking():
    script = Script(steps=2 * LENGTH, envs=3)
    for number, (rollout, acted) in enumerate(fill(script, rollouts=2, stack=1)):
        frames = script.frames[number * LENGTH : (number + 1) * LENGTH, :, None]
        np.testing.assert_array_equal(acted, frames)
        np.testing.assert_array_equal(learnt(rollout), frames)


def test_no_frame_from_before_a_reset():
    """Every frame of episode e has the brightness e: none is mixed into another's stack."""
    script = Script(steps=6 * LENGTH, envs=4, end_rate=0.4)
    episode = np.cumsum(script.first, axis=0)
    script.frames = np.broadcast_to(episode[..., None, None, None], script.frames.shape)
    script.frames = script.frames.astype(np.uint8)
    for number, (rollout, _) in enumerate(fill(script, rollouts=6)):
        own = episode[number * LENGTH : (number + 1) * LENGTH]
        stacks = learnt(rollout)
        assert (stacks == own[..., None, None, None, None]).all()


def test_a_head_carries_the_stacks_into_another_process():
    script = Script(steps=2 * LENGTH, envs=4, end_rate=0.2)
    (first, _), (second, _) = fill(script, rollouts=2)
    carried = jax.tree.map(np.array, buffer.head(buffer.rewind(first)))
    empty = buffer.create(jnp.arange(4), LENGTH, (STACK, *FRAME), 0, (2,), jnp.int32)
    rollout = buffer.with_head(empty, carried)
    for t in range(LENGTH, 2 * LENGTH):
        rollout, _ = see(rollout, script.frames[t], script.first[t])
    np.testing.assert_array_equal(learnt(rollout), learnt(second))


def test_merged_groups_lie_side_by_side():
    script = Script(steps=LENGTH, envs=6)
    ((whole, _),) = fill(script, rollouts=1)
    halves = []
    for part in (slice(0, 2), slice(2, 6)):
        half = Script(steps=LENGTH, envs=part.stop - part.start)
        half.frames, half.first = script.frames[:, part], script.first[:, part]
        ((rollout, _),) = fill(half, rollouts=1)
        halves.append(replace(rollout, env=jnp.arange(part.start, part.stop)))
    jax.tree.map(np.testing.assert_array_equal, buffer.merge(halves), whole)


@pytest.mark.parametrize("by", [(0, 0), (1, 0), (-1, 2), (3, -4)])
def test_a_shift_moves_and_repeats_the_edges(by):
    frame = np.arange(20, dtype=np.uint8).reshape(FRAME)
    padded = np.pad(frame, ((4, 4), (4, 4), (0, 0)), mode="edge")
    expected = padded[4 - by[0] : 8 - by[0], 4 - by[1] : 9 - by[1]]
    shifted = buffer.shift_frames(jnp.array(frame)[None], jnp.array([by]))
    np.testing.assert_array_equal(shifted[0], expected)


def test_one_shift_an_episode_in_acting_and_learning():
    ppo = make_ppo(random_shift=2, rollout_length=LENGTH)
    script = Script(steps=LENGTH, envs=6, end_rate=0.2, seed=3)
    ramp = np.arange(20, dtype=np.uint8).reshape(FRAME)
    script.frames = np.broadcast_to(ramp, script.frames.shape).copy()
    rollout = collect(ppo, create_state(ppo), script)
    stored = np.asarray(rollout.frames[STACK - 1 :])
    changed = (stored[1:] != stored[:-1]).any(axis=(2, 3, 4))
    assert not changed[~script.first[1:-1]].any()  # within an episode all frames move alike
    assert changed[script.first[1:-1]].any()  # a new one draws anew
    assert (stored != ramp).any()
    state = create_state(ppo)
    frames = learnt(rollout).reshape(-1, STACK, *FRAME)
    logits, values = ppo.agent.apply(state.variables, {"frames": frames})
    actions = rollout.actions.reshape(-1, 2)
    log_probs = ppo.agent.actions.distribution.log_prob(logits, actions)
    np.testing.assert_allclose(rollout.log_probs.reshape(-1), log_probs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(rollout.values.reshape(-1), values, rtol=1e-5, atol=1e-5)


def test_states_lie_beside_the_frames_or_alone():
    """The state acted upon is the one learnt from; without frames an observation has no stack."""
    script = Script(steps=LENGTH, envs=3)
    states = np.random.default_rng(0).normal(size=(LENGTH, 3, 2)).astype(np.float32)
    times, envs = np.divmod(np.arange(LENGTH * 3), 3)
    for shape in (None, (STACK, *FRAME)):
        rollout = buffer.create(jnp.arange(3), LENGTH, shape, 2, (2,), jnp.int32)
        for t in range(LENGTH):
            seen = {"state": states[t]} if shape is None else {**script.seen(t), "state": states[t]}
            age = buffer.next_age(rollout, script.first[t])
            acted = buffer.newest_observation(rollout, seen, age)
            np.testing.assert_array_equal(acted["state"], states[t])
            zeros = jnp.zeros(3)
            rollout = buffer.record(rollout, seen, age, jnp.zeros((3, 2), int), zeros, zeros)
        learnt_from = buffer.observations_at(buffer.merge([rollout]), times, envs)
        assert ("frames" in learnt_from) is (shape is not None)
        np.testing.assert_array_equal(learnt_from["state"], states.reshape(-1, 2))
