"""Advantages and the reward scale against plain loops, and another library's."""

import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.ppo.advantages import RewardScale, generalised_advantages, scale_rewards

DISCOUNT, LAMBDA = 0.97, 0.9


def draw(seed: int, steps: int = 40, envs: int = 5) -> dict[str, np.ndarray]:
    """A rollout with a random mixture of terminations, truncations and neither."""
    rng = np.random.default_rng(seed)
    shape = (steps, envs)
    ended = rng.random(shape) < rng.choice([0.0, 0.1, 0.5, 1.0], size=envs)
    terminated = ended & (rng.random(shape) < 0.5)
    arrays = {name: rng.normal(size=shape) for name in ("rewards", "values", "finals")}
    arrays["last"] = rng.normal(size=envs)
    return arrays | {"terminated": terminated, "truncated": ended & ~terminated}


def ours(x: dict[str, np.ndarray]) -> np.ndarray:
    following = np.concatenate([x["values"][1:], x["last"][None]])
    next_values = np.where(x["truncated"], x["finals"], following)
    ended = x["terminated"] | x["truncated"]
    arrays = (jnp.asarray(a, jnp.float32) for a in (x["rewards"], x["values"], next_values))
    return np.asarray(generalised_advantages(*arrays, x["terminated"], ended, DISCOUNT, LAMBDA))


def plain_loop(x: dict[str, np.ndarray]) -> np.ndarray:
    steps, envs = x["rewards"].shape
    advantages = np.zeros((steps, envs))
    for b in range(envs):
        later = 0.0
        for t in reversed(range(steps)):
            if x["terminated"][t, b]:
                target, later = x["rewards"][t, b], 0.0
            elif x["truncated"][t, b]:
                target, later = x["rewards"][t, b] + DISCOUNT * x["finals"][t, b], 0.0
            else:
                value = x["last"][b] if t == steps - 1 else x["values"][t + 1, b]
                target = x["rewards"][t, b] + DISCOUNT * value
            later = target - x["values"][t, b] + DISCOUNT * LAMBDA * later
            advantages[t, b] = later
    return advantages


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_a_plain_loop(seed):
    x = draw(seed)
    np.testing.assert_allclose(ours(x), plain_loop(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_stable_baselines3(seed):
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    gymnasium = pytest.importorskip("gymnasium")
    torch = pytest.importorskip("torch")
    x = draw(seed)
    steps, envs = x["rewards"].shape
    space = gymnasium.spaces.Box(-1, 1, (1,))
    buffer = buffers.RolloutBuffer(
        steps, space, space, "cpu", gae_lambda=LAMBDA, gamma=DISCOUNT, n_envs=envs
    )
    ended = x["terminated"] | x["truncated"]
    starts = np.ones(envs)
    for t in range(steps):
        # As its PPO.collect_rollouts does: a truncated step's reward includes what follows.
        rewards = x["rewards"][t] + DISCOUNT * x["finals"][t] * x["truncated"][t]
        nothing = np.zeros((envs, 1))
        value = torch.tensor(x["values"][t])
        buffer.add(nothing, nothing, rewards, starts, value, torch.zeros(envs))
        starts = ended[t]
    buffer.compute_returns_and_advantage(torch.tensor(x["last"]), dones=ended[-1])
    np.testing.assert_allclose(ours(x), buffer.advantages, rtol=1e-4, atol=1e-5)


def test_termination_wins_over_truncation():
    """A race that is finished in its last second is over: nothing follows."""
    one = jnp.ones((1, 1))
    true = jnp.ones((1, 1), bool)
    advantage = generalised_advantages(one, 0.5 * one, 100 * one, true, true, DISCOUNT, LAMBDA)
    assert float(advantage[0, 0]) == pytest.approx(0.5)


def test_lambda_1_gives_discounted_returns_and_lambda_0_one_step_errors():
    x = draw(3)
    following = np.concatenate([x["values"][1:], x["last"][None]])
    no = np.zeros(following.shape, bool)
    args = [jnp.asarray(a, jnp.float32) for a in (x["rewards"], x["values"], following)]
    monte_carlo = generalised_advantages(*args, no, no, DISCOUNT, 1.0) + args[1]
    expected = x["last"]
    for reward in x["rewards"][::-1]:
        expected = reward + DISCOUNT * expected
    np.testing.assert_allclose(monte_carlo[0], expected, rtol=1e-4, atol=1e-4)
    one_step = generalised_advantages(*args, no, no, DISCOUNT, 0.0)
    errors = x["rewards"] + DISCOUNT * following - x["values"]
    np.testing.assert_allclose(one_step, errors, rtol=1e-4, atol=1e-5)


def test_reward_scale_agrees_with_a_plain_loop_over_several_rollouts():
    scale, running = RewardScale.create(), jnp.zeros(3)
    totals, sums = np.zeros(3), []
    for seed in range(4):
        x = draw(seed, steps=16, envs=3)
        rewards, ended = 5 * x["rewards"].astype(np.float32), x["terminated"] | x["truncated"]
        scale, running, scaled = scale_rewards(scale, running, rewards, ended, DISCOUNT)
        for t in range(16):
            totals = DISCOUNT * totals + rewards[t]
            sums.append(totals)
            totals = np.where(ended[t], 0.0, totals)
        deviation = np.std(sums)
        np.testing.assert_allclose(scale.variance, deviation**2, rtol=1e-3)
        np.testing.assert_allclose(running, totals, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scaled, np.clip(rewards / deviation, -10, 10), rtol=1e-3)
    assert float(scale.count) == pytest.approx(4 * 16 * 3, rel=1e-4)
