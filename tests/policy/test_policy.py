"""A policy as an object: batches of any size, and copies in other processes."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.policy.quantised import quantise
from tests.helpers.tiny import ACTIONS, NETWORK

SPEC = PolicySpec(NETWORK, ACTIONS, (3, 12, 16, 1))
FRAMES = np.random.default_rng(0).integers(0, 256, (5, *SPEC.observation_shape), np.uint8)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(SPEC, SPEC.init(jax.random.key(0)), {"track": ["bends"]})


@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
@pytest.mark.parametrize("kind", [lambda policy: policy, lambda policy: quantise(policy, FRAMES)])
def test_a_copy_acts_as_the_policy(
    policy: Policy, kind: Callable[[Policy], Policy], duplicate: Callable[[Any], Any]
) -> None:
    original = kind(policy)
    same = duplicate(original)
    assert (type(same), same.spec, same.race) == (type(original), SPEC, original.race)
    assert same.race == {"track": ["bends"], "observation": "frames"}
    for ours, theirs in zip(
        original.logits_and_values(FRAMES), same.logits_and_values(FRAMES), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_batch_may_be_empty(policy: Policy) -> None:
    assert policy.act(FRAMES[:0]).shape == (0, 2)
    assert policy.act(FRAMES[:0], jax.random.key(0)).shape == (0, 2)
    assert policy.value(FRAMES[:0]).shape == (0,)
    with pytest.raises(ValueError, match="this policy takes uint8"):
        policy.act(FRAMES[:0, :, :-1])
