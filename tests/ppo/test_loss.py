"""The clipped objective against small cases worked out by hand."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.ppo.loss import LossWeights, normalise, ppo_loss

PLAIN = LossWeights(clip_range=0.2, entropy_coefficient=0.0, value_coefficient=0.0)


def loss_of(ratios, advantages, weights=PLAIN, **others):
    """Loss and parts where the old probabilities were 1 and values fit, unless said."""
    n = len(ratios)
    zeros = jnp.zeros(n)
    arrays = {"values": zeros, "entropies": zeros, "old_values": zeros, "returns": zeros}
    arrays |= {name: jnp.array(value, jnp.float32) for name, value in others.items()}
    return ppo_loss(
        log_probs=jnp.log(jnp.array(ratios, jnp.float32)),
        old_log_probs=zeros,
        advantages=jnp.array(advantages, jnp.float32),
        weights=weights,
        **arrays,
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective"),
    [
        (1.0, 2.0, 2.0),
        (1.1, 2.0, 2.2),
        (1.5, 2.0, 2.4),  # gains end at 1 + 0.2
        (0.5, 2.0, 1.0),  # losses do not
        (0.5, -2.0, -1.6),  # and at 1 - 0.2
        (1.5, -2.0, -3.0),
    ],
)
def test_the_policy_loss_of_one_sample(ratio, advantage, objective):
    loss, parts = loss_of([ratio], [advantage])
    assert float(loss) == pytest.approx(-objective, rel=1e-5)
    assert float(parts["policy_loss"]) == pytest.approx(-objective, rel=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "passes"),
    [(1.1, 2.0, True), (1.5, 2.0, False), (0.5, 2.0, True), (0.5, -2.0, False), (1.5, -2.0, True)],
)
def test_the_gradient_ends_where_the_ratio_is_clipped(ratio, advantage, passes):
    def policy_loss(log_prob):
        zeros = [jnp.zeros(1)] * 4
        return ppo_loss(log_prob, *zeros, jnp.array([advantage]), jnp.zeros(1), PLAIN)[0]

    gradient = jax.grad(policy_loss)(jnp.log(jnp.array([ratio])))
    # d(-ratio * A) / d(log prob) = -ratio * A
    assert float(gradient[0]) == pytest.approx(-ratio * advantage if passes else 0.0, rel=1e-5)


def test_the_parts_are_put_together_with_their_signs():
    weights = LossWeights(0.2, entropy_coefficient=0.1, value_coefficient=0.5)
    loss, parts = loss_of(
        [1.0, 1.0], [1.0, 2.0], weights, values=[1, 2], returns=[4, 2], entropies=[0.5, 1.5]
    )
    assert float(parts["value_loss"]) == pytest.approx(9 / 2 / 2)
    assert float(parts["entropy"]) == pytest.approx(1.0)
    assert float(loss) == pytest.approx(-1.5 + 0.5 * 2.25 - 0.1 * 1.0)


def test_a_clipped_value_cannot_gain_by_moving_far():
    weights = LossWeights(0.2, 0.0, value_coefficient=1.0, value_clip=0.5)
    values, old, returns = [2.0, 0.3, -2.0], [0.0, 0.0, 0.0], [2.0, 1.0, 2.0]
    _, parts = loss_of(
        [1.0] * 3, [0.0] * 3, weights, values=values, old_values=old, returns=returns
    )
    # max(0, 1.5^2), max(0.7^2, 0.7^2), max(4^2, 2.5^2)
    assert float(parts["value_loss"]) == pytest.approx((2.25 + 0.49 + 16) / 3 / 2, rel=1e-5)


def test_diagnostics_of_known_ratios():
    ratios = np.array([1.0, 1.1, 1.3, 0.7])
    _, parts = loss_of(ratios, [1.0] * 4)
    assert float(parts["clip_fraction"]) == pytest.approx(0.5)
    assert float(parts["kl_k1"]) == pytest.approx(-np.log(ratios).mean(), rel=1e-4)
    assert float(parts["kl"]) == pytest.approx((ratios - 1 - np.log(ratios)).mean(), rel=1e-4)


def test_normalised_advantages_have_mean_0_and_deviation_1():
    x = normalise(jnp.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(x, (np.arange(1, 5) - 2.5) / math.sqrt(1.25), rtol=1e-5)


@pytest.mark.parametrize("advantages", [[7.0], [7.0, 7.0, 7.0]])
def test_advantages_without_spread_become_0(advantages):
    x = jnp.array(advantages)
    np.testing.assert_array_equal(normalise(x), np.zeros(len(advantages)))


def test_kickstarting_adds_the_weighted_distance_from_the_teacher():
    weights = replace(PLAIN, kickstart_coefficient=0.5)
    loss, parts = loss_of([1.0, 1.0], [2.0, 4.0], weights, teacher_kl=[0.2, 0.6])
    assert float(parts["teacher_kl"]) == pytest.approx(0.4)
    assert float(loss) == pytest.approx(-3.0 + 0.5 * 0.4)
