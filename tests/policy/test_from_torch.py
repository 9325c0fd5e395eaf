"""The reference network in PyTorch and ours agree, weights taken over."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.from_torch import variables_from_torch
from kart_jax.policy.network import ActorCritic

torch = pytest.importorskip("torch", reason="PyTorch is an optional peer: pip install -e .[peers]")

from benchmarks.torch_network import TorchActorCritic  # noqa: E402

SHAPE = (5, 16, 22, 3)
CONFIG = NetworkConfig(channels=8, blocks=(2, 1), actor_channels=4, dtype="float32", remat=False)
FRAMES = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def reference():
    """The network in PyTorch, its norms away from their initial state."""
    torch.manual_seed(0)
    network = TorchActorCritic(CONFIG, 15, SHAPE)
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):
            torch.nn.init.normal_(norm.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias, 0.0, 0.3)
    return network


@pytest.mark.parametrize("train", [False, True])
def test_outputs_agree(reference, train):
    variables = variables_from_torch(reference.state_dict(), CONFIG)
    reference.train(train)
    with torch.no_grad():
        expected = [y.numpy() for y in reference(torch.from_numpy(FRAMES))]
    network = ActorCritic(CONFIG, 15)
    outputs = network.apply(variables, jnp.asarray(FRAMES), train=train, mutable=["batch_stats"])[0]
    for ours, theirs in zip(outputs, expected, strict=True):
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_variables_have_the_networks_structure(reference):

    ours = jax.eval_shape(ActorCritic(CONFIG, 15).init, jax.random.key(0), FRAMES)
    theirs = variables_from_torch(reference.state_dict(), CONFIG)
    assert jax.tree.map(jnp.shape, dict(ours)) == jax.tree.map(jnp.shape, theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": (3, 1)}, "needs .13, 13, 2"),
        ({"blocks": (1, 1)}, "needs .9, 9, 2"),
        ({"channels": 16}, "8 channels"),
        ({"norm": "group"}, "norm = 'group'"),
    ],
)
def test_another_network_is_refused(reference, changes, message):

    with pytest.raises(ValueError, match=message):
        variables_from_torch(reference.state_dict(), dataclasses.replace(CONFIG, **changes))


def test_the_peer_with_group_norm_is_our_network(reference):
    """The benchmarks' twin of what the `cpu` preset trains."""
    config = dataclasses.replace(CONFIG, norm="group")
    twin = TorchActorCritic(config, 15, SHAPE)
    tensors = {k: v for k, v in reference.state_dict().items() if k in twin.state_dict()}
    twin.load_state_dict(tensors)
    paths = flatten_dict(variables_from_torch(reference.state_dict(), CONFIG)["params"])
    params = unflatten_dict(
        {
            (*path[:-1], "norm", path[-1]) if "norm" in path[-2] else path: value
            for path, value in paths.items()
        }
    )
    with torch.no_grad():
        expected = [y.numpy() for y in twin(torch.from_numpy(FRAMES))]
    outputs = ActorCritic(config, 15).apply({"params": params}, jnp.asarray(FRAMES))
    for ours, theirs in zip(outputs, expected, strict=True):
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
