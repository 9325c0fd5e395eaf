"""Samples, returns and learning: against values by hand, and against what they are for."""

import tracemalloc
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.imitation.cloning import Cloner, Samples, discounted_returns
from kart_jax.imitation.demonstrations import Demonstration
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.ppo.config import PPOConfig
from tests.helpers.tiny import ACTIONS, NETWORK

SPEC = PolicySpec(NETWORK, ACTIONS, (3, 12, 16, 1))
PLAIN = PPOConfig(discount=0.5)


def shown(frames: Any, actions: Any, rewards: Any, finished: bool = True) -> Demonstration:
    return Demonstration(
        seen={"frames": np.asarray(frames, np.uint8)},
        targets=np.asarray(SPEC.actions.distribution.around(jnp.asarray(actions), 0.02)),
        rewards=np.asarray(rewards, np.float32),
        summary={"finished": finished},
        guided=False,
    )


def numbered(first: int, length: int, finished: bool = True) -> Demonstration:
    """An episode whose frames, all alike within, count up from `first`."""
    frames = np.arange(first, first + length)[:, None, None, None] * np.ones((12, 16, 1))
    return shown(frames, np.tile([1, 1], (length, 1)), np.ones(length), finished)


def test_stacks_begin_anew_with_each_episode() -> None:
    samples = Samples(stack=3)
    samples.extend([numbered(10, 2), numbered(20, 3)])
    samples.extend([numbered(30, 1)])
    stacks = samples.observations(np.arange(6))["frames"][:, :, 0, 0, 0]
    expected = [[10, 10, 10], [10, 10, 11], [20, 20, 20], [20, 20, 21], [20, 21, 22], [30] * 3]
    assert stacks.tolist() == expected
    assert samples.ended.tolist() == [False, True, False, False, True, True]
    assert len(samples) == 6


def test_frames_are_held_once() -> None:
    """However many rounds: neither joined nor copied."""
    samples, size, rounds = Samples(stack=3), 200 * 12 * 16, []
    numbered(0, 100)  # compiles what makes targets
    tracemalloc.start()
    for number in range(4):
        samples.extend([numbered(0, 100), numbered(0, 100)])
        samples.observations(np.arange(64))
        rounds.append((tracemalloc.get_traced_memory(), (number + 1) * size))
        tracemalloc.reset_peak()
    tracemalloc.stop()
    for (held, peak), frames in rounds:
        assert held < 1.4 * frames + 8_000  # what else an episode has
        # A round's are made of float64 by this test, and a batch is three frames a step.
        assert peak < frames + 12 * size


def test_returns_are_discounted_to_the_episodes_end() -> None:
    samples = Samples(stack=3)
    samples.extend([numbered(0, 3), numbered(0, 2)])
    assert np.asarray(discounted_returns(samples, PLAIN)[0]).tolist() == [1.75, 1.5, 1, 1.5, 1]


def test_returns_are_scaled_as_ppo_scales_rewards() -> None:
    samples = Samples(stack=3)
    samples.extend([numbered(0, 3), numbered(0, 2)])
    running = np.array([1, 1.5, 1.75, 1, 1.5])
    scaled, scale = discounted_returns(samples, PPOConfig(discount=0.5, normalise_rewards=True))
    expected = np.array([1.75, 1.5, 1, 1.5, 1]) / running.std()
    np.testing.assert_allclose(scaled, expected, rtol=1e-3)
    assert float(scale.variance) ** 0.5 == pytest.approx(running.std(), rel=1e-3)


def bright_left_or_right(count: int, seed: int) -> Demonstration:
    """Frames with a bright half, towards which the guide steers; the left is worth more."""
    rng = np.random.default_rng(seed)
    right = rng.integers(2, size=count)
    frames = rng.integers(60, size=(count, 12, 16, 1))
    frames[:, :, :8][right == 0] += 150
    frames[:, :, 8:][right == 1] += 150
    return shown(frames, np.stack([np.ones(count, int), 2 * right], -1), 1.0 - right)


@pytest.fixture(scope="module")
def taught() -> tuple[Cloner, dict[str, float], dict[str, float]]:
    samples = Samples(stack=3)
    samples.extend([bright_left_or_right(40, seed) for seed in range(10)])
    cloner = Cloner(SPEC, PPOConfig(discount=0.0), rate=1e-2, gradient_steps=200, seed=0)
    first = cloner.learn(samples, batch=32, steps=20, check=lambda: None)
    last = cloner.learn(samples, batch=32, steps=180, check=lambda: None)
    return cloner, first, last


def test_it_learns_what_the_guide_does_and_what_it_is_worth(taught: Any) -> None:
    cloner, first, last = taught
    assert last["kl"] < first["kl"]
    assert last["value_error"] < first["value_error"]
    unseen = bright_left_or_right(50, seed=99)
    policy = Policy(SPEC, jax.device_get(cloner.variables), {})
    samples = Samples(stack=3)
    samples.extend([unseen])
    seen = samples.observations(np.arange(50))
    actions = np.asarray(SPEC.actions.distribution.mode(jnp.asarray(unseen.targets)))
    assert (policy.act(seen) == actions).all(-1).mean() > 0.9
    values = policy.value(seen)
    assert values[unseen.rewards == 1].mean() > values[unseen.rewards == 0].mean() + 0.4


def test_every_choice_stays_possible(taught: Any) -> None:
    cloner, _, _ = taught
    samples = Samples(stack=3)
    samples.extend([bright_left_or_right(50, seed=98)])
    policy = Policy(SPEC, jax.device_get(cloner.variables), {})
    logits, _ = policy.logits_and_values(samples.observations(np.arange(50)))
    no_throttle = np.asarray(jax.nn.softmax(logits[:, :2]))[:, 0].mean()
    assert 0.004 < no_throttle < 0.02  # the guide never lets go; half of `shown`'s spread


def test_a_policy_that_equals_its_teacher_has_nothing_to_learn() -> None:
    samples = Samples(stack=3)
    samples.extend([numbered(0, 64)])
    cloner = Cloner(SPEC, PLAIN, 0.0, 1, seed=0)
    policy = Policy(SPEC, jax.device_get(cloner.variables), {})
    logits, _ = policy.logits_and_values(samples.observations(np.arange(64)))
    samples.targets = np.asarray(logits)
    figures = cloner.learn(samples, batch=64, steps=1, check=lambda: None)
    assert figures["same"] == 1.0
    assert figures["kl"] == pytest.approx(0.0, abs=1e-6)


def test_a_teachers_distribution_is_learnt_not_its_most_probable_action() -> None:
    """Where it is undecided, so is the policy."""
    samples = Samples(stack=3)
    samples.extend([numbered(0, 64)])
    odds = np.log(np.array([0.3, 0.7, 0.6, 0.3, 0.1], np.float32))
    samples.targets = np.tile(odds, (64, 1))
    cloner = Cloner(SPEC, PLAIN, rate=1e-2, gradient_steps=150, seed=0)
    cloner.learn(samples, batch=32, steps=150, check=lambda: None)
    policy = Policy(SPEC, jax.device_get(cloner.variables), {})
    logits, _ = policy.logits_and_values(samples.observations(np.arange(64)))
    np.testing.assert_allclose(jax.nn.softmax(logits[:, 2:]).mean(0), [0.6, 0.3, 0.1], atol=0.05)


def test_only_episodes_that_finished_tell_what_driving_is_worth() -> None:
    samples = Samples(stack=3)
    samples.extend([numbered(0, 40, finished=False)])
    cloner = Cloner(SPEC, PLAIN, rate=1e-3, gradient_steps=2, seed=0)
    assert cloner.learn(samples, batch=8, steps=2, check=lambda: None)["value_error"] == 0.0


def test_learning_in_parts_is_the_same_learning() -> None:
    """Also where only some of the episodes, and of the parts, finished."""
    samples = Samples(stack=3)
    samples.extend([bright_left_or_right(20, seed) for seed in range(2)])
    samples.extend([replace(bright_left_or_right(24, 2), summary={"finished": False})])
    learnt = []
    for microbatch in (None, 4):
        ppo = replace(PLAIN, microbatch=microbatch)
        cloner = Cloner(SPEC, ppo, rate=1e-2, gradient_steps=5, seed=0)
        figures = cloner.learn(samples, batch=16, steps=5, check=lambda: None)
        learnt.append((jax.device_get(cloner.variables), figures))
    (whole, figures), (parts, the_same) = learnt
    assert figures == pytest.approx(the_same, rel=1e-4)
    assert figures["value_error"] > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, parts)


def test_what_was_learnt_is_gone_on_from(taught: Any) -> None:
    """Another cloner goes on as the first one would have."""
    samples = Samples(stack=3)
    samples.extend([bright_left_or_right(40, seed) for seed in range(3)])
    cloners = [Cloner(SPEC, PLAIN, rate=1e-2, gradient_steps=20, seed=seed) for seed in (0, 1)]
    cloners[0].learn(samples, batch=16, steps=5, check=lambda: None)
    cloners[1].restore(cloners[0].snapshot())
    one, other = (c.learn(samples, batch=16, steps=5, check=lambda: None) for c in cloners)
    assert one == pytest.approx(other)
    jax.tree.map(np.testing.assert_array_equal, cloners[0].variables, cloners[1].variables)
    wider = replace(SPEC, network=replace(NETWORK, channels=2 * NETWORK.channels))
    with pytest.raises(ValueError, match="another policy"):
        Cloner(wider, PLAIN, rate=1e-2, gradient_steps=20, seed=0).restore(cloners[0].snapshot())


def test_norm_statistics_are_learnt_too() -> None:
    spec = replace(SPEC, network=replace(NETWORK, norm="batch"))
    samples = Samples(stack=3)
    samples.extend([bright_left_or_right(64, 0)])
    cloner = Cloner(spec, PLAIN, rate=1e-3, gradient_steps=4, seed=0)
    before = jax.device_get(cloner.variables["batch_stats"])
    cloner.learn(samples, batch=16, steps=4, check=lambda: None)
    changed = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()),
        before,
        jax.device_get(cloner.variables)["batch_stats"],
    )
    assert max(jax.tree.leaves(changed)) > 0.0
