"""Action distributions against sums counted out by hand, and their description."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from kart_jax.policy.distributions import LOG_STD_RANGE, ActionSpec

SPACES = [
    spaces.Discrete(4),
    spaces.MultiDiscrete([2, 2, 3, 2, 2, 2, 2]),
    spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 4.0], np.float32)),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_spec_survives_json_and_fits_its_space(space):
    spec = ActionSpec.from_space(space)
    assert ActionSpec(**json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.shape == space.shape
    logits = jax.random.normal(jax.random.key(0), (32, spec.outputs))
    distribution = spec.distribution
    for actions in (distribution.sample(jax.random.key(1), logits), distribution.mode(logits)):
        assert actions.shape == (32, *spec.shape)
        assert actions.dtype == spec.dtype
        for action in np.asarray(spec.clip(actions)).astype(space.dtype):
            assert space.contains(action)


def test_outputs():
    assert [ActionSpec.from_space(space).outputs for space in SPACES] == [4, 15, 4]


def test_multi_discrete_sums_its_components():
    """Probabilities of all actions, counted out, are products, add up to 1 and give the entropy."""
    spec = ActionSpec("multi_discrete", nvec=(2, 3))
    row = jnp.array([0.3, -1.0, 2.0, 0.0, -0.5])
    every = jnp.array([[a, b] for a in range(2) for b in range(3)], jnp.int32)
    logits = jnp.tile(row, (6, 1))
    log_prob = np.asarray(spec.distribution.log_prob(logits, every))
    first = np.exp(row[:2]) / np.exp(row[:2]).sum()
    second = np.exp(row[2:]) / np.exp(row[2:]).sum()
    np.testing.assert_allclose(np.exp(log_prob), np.outer(first, second).ravel(), rtol=1e-5)
    np.testing.assert_allclose(
        spec.distribution.entropy(logits)[0], -(np.exp(log_prob) * log_prob).sum(), rtol=1e-5
    )
    assert spec.distribution.mode(logits)[0].tolist() == [0, 0]


def test_discrete_samples_follow_their_probabilities():
    spec = ActionSpec("discrete", nvec=(3,))
    logits = jnp.tile(jnp.log(jnp.array([0.2, 0.5, 0.3])), (20_000, 1))
    actions = np.asarray(spec.distribution.sample(jax.random.key(0), logits))
    np.testing.assert_allclose(np.bincount(actions) / actions.size, [0.2, 0.5, 0.3], atol=0.02)
    log_prob = spec.distribution.log_prob(logits[:3], jnp.arange(3))
    np.testing.assert_allclose(np.exp(log_prob), [0.2, 0.5, 0.3], rtol=1e-5)


def test_gaussian_density_and_entropy():
    """In a box [0, 4] a mean of 0.5 lies at 3 and a log-std of 0 is 2 wide."""
    spec = ActionSpec("continuous", low=(0.0,), high=(4.0,))
    logits = jnp.array([[0.5, 0.0]])
    assert spec.distribution.mode(logits).tolist() == [[3.0]]
    density = math.exp(-0.5) / (2 * math.sqrt(2 * math.pi))
    log_prob = spec.distribution.log_prob(logits, jnp.array([[5.0]]))
    np.testing.assert_allclose(np.exp(log_prob), [density], rtol=1e-5)
    entropy = 0.5 * math.log(2 * math.pi * math.e * 4)
    np.testing.assert_allclose(spec.distribution.entropy(logits), [entropy], rtol=1e-5)
    samples = spec.distribution.sample(jax.random.key(0), jnp.tile(logits, (20_000, 1)))
    np.testing.assert_allclose([samples.mean(), samples.std()], [3.0, 2.0], atol=0.05)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_the_divergence_is_the_mean_difference_of_log_probabilities(space):
    spec = ActionSpec.from_space(space)
    distribution = spec.distribution
    p, q = (jax.random.normal(jax.random.key(n), (1, spec.outputs)) for n in (0, 1))
    many = [jnp.tile(logits, (200_000, 1)) for logits in (p, q)]
    actions = distribution.sample(jax.random.key(2), many[0])
    differences = distribution.log_prob(many[0], actions) - distribution.log_prob(many[1], actions)
    error = float(differences.std()) / math.sqrt(differences.size)
    mean = float(differences.mean())
    assert float(distribution.kl(p, q)[0]) == pytest.approx(mean, abs=4 * error)
    assert float(distribution.kl(p, p)[0]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_a_distribution_around_actions_has_them_as_its_mode(space):
    spec = ActionSpec.from_space(space)
    space.seed(0)
    actions = jnp.array([space.sample() for _ in range(20)])
    logits = spec.distribution.around(actions, 0.02)
    assert logits.shape == (20, spec.outputs)
    np.testing.assert_allclose(spec.distribution.mode(logits), actions, atol=1e-5)


def test_the_spread_around_an_action_is_a_share_of_random_choices_or_a_deviation():
    discrete = ActionSpec("discrete", nvec=(4,)).distribution.around(jnp.array([2]), 0.2)
    np.testing.assert_allclose(jnp.exp(discrete), [[0.05, 0.05, 0.85, 0.05]], rtol=1e-5)
    box = ActionSpec("continuous", low=(0.0,), high=(4.0,)).distribution
    samples = box.sample(
        jax.random.key(0), jnp.tile(box.around(jnp.array([[3.0]]), 0.1), (9999, 1))
    )
    np.testing.assert_allclose([samples.mean(), samples.std()], [3.0, 0.2], atol=0.01)


def test_gaussian_width_is_bounded():
    spec = ActionSpec("continuous", low=(-1.0,), high=(1.0,))
    widest, narrowest = (spec.distribution.entropy(jnp.array([[0.0, x]])) for x in (1e3, -1e3))
    assert float(widest[0] - narrowest[0]) == pytest.approx(LOG_STD_RANGE[1] - LOG_STD_RANGE[0])


def test_low_precision_logits_are_computed_in_float32():
    spec = ActionSpec("multi_discrete", nvec=(2, 3))
    logits = jax.random.normal(jax.random.key(0), (8, 5)).astype(jnp.bfloat16)
    actions = spec.distribution.mode(logits)
    for value, exact in (
        (spec.distribution.entropy(logits), spec.distribution.entropy(logits.astype(jnp.float32))),
        (
            spec.distribution.log_prob(logits, actions),
            spec.distribution.log_prob(logits.astype(jnp.float32), actions),
        ),
    ):
        assert value.dtype == jnp.float32
        np.testing.assert_array_equal(value, exact)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3, start=1), "starting at 0"),
        (spaces.Box(-np.inf, 1, (2,)), "finite"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "not supported"),
    ],
)
def test_other_spaces_are_refused(space, message):
    with pytest.raises(ValueError, match=message):
        ActionSpec.from_space(space)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "squishy"}, "kind"),
        ({"kind": "discrete", "nvec": (2, 3)}, "nvec"),
        ({"kind": "multi_discrete", "nvec": ()}, "nvec"),
        ({"kind": "discrete", "nvec": (2,), "low": (0.0,)}, "low"),
        ({"kind": "continuous", "low": (0.0,), "high": (0.0,)}, "high"),
        ({"kind": "continuous", "low": (0.0,), "high": (1.0, 2.0)}, "high"),
    ],
)
def test_impossible_descriptions_are_refused(values, field):
    with pytest.raises(ValueError, match=field):
        ActionSpec(**values)
