"""Frames that are normalised by their running statistics."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.config import TrainConfig
from kart_jax.policy.exported import write_policy
from kart_jax.policy.network import ActorCritic
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.run_folder.loading import load_policy
from tests.helpers.tiny import ACTIONS, NETWORK

CONFIG = replace(NETWORK, normalise_frames=True)
SPEC = PolicySpec(CONFIG, ACTIONS, (3, 12, 16, 2))
FRAMES = np.random.default_rng(0).integers(0, 256, (4, *SPEC.observation_shape), np.uint8)
FRAMES[..., 1] //= 8  # a darker channel


@pytest.fixture(scope="module")
def variables() -> dict[str, jax.Array]:
    return dict(SPEC.module().init(jax.random.key(0), FRAMES))


def test_statistics_are_of_each_channel(variables) -> None:
    network = SPEC.module().clone(momentum=0.0)
    _, seen = network.apply(variables, FRAMES, train=True, mutable=["batch_stats"])
    axes = (0, 1, 2, 3)
    statistics = seen["batch_stats"]["frames"]
    np.testing.assert_allclose(statistics["mean"], (FRAMES / 255).mean(axes), rtol=1e-5)
    np.testing.assert_allclose(statistics["var"], (FRAMES / 255).var(axes), rtol=1e-5)


def test_the_network_sees_normalised_frames(variables) -> None:
    statistics = {"mean": jnp.array([0.4, 0.1]), "var": jnp.array([0.04, 0.01])}
    ours = SPEC.module().apply({**variables, "batch_stats": {"frames": statistics}}, FRAMES)
    scaled = (FRAMES / 255 - [0.4, 0.1]) / np.sqrt(np.array([0.04, 0.01]) + 1e-5)
    plain = ActorCritic(NETWORK, SPEC.actions.outputs)
    theirs = plain.apply({"params": variables["params"]}, jnp.float32(255 * scaled))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, theirs)


def test_an_exported_policy_keeps_the_statistics(variables, tmp_path: Path) -> None:
    statistics = {"mean": jnp.array([0.4, 0.1]), "var": jnp.array([0.04, 0.01])}
    variables = {**variables, "batch_stats": {"frames": statistics}}
    write_policy(tmp_path, SPEC, variables, TrainConfig().to_dict(), step=0)
    expected = Policy(SPEC, variables, {}).logits_and_values(FRAMES)
    found = load_policy(tmp_path).logits_and_values(FRAMES)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
