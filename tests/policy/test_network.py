"""The network: its shapes, precision, norms, memory option and other platforms."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kart_jax.policy.config import CPU, GPU, REFERENCE, NetworkConfig, output_shapes
from kart_jax.policy.network import ActorCritic, GroupNorm

PLATFORMS = ("cuda", "tpu")
SMALL = NetworkConfig(channels=8, blocks=(2, 0), actor_channels=4, dtype="float32", remat=False)
FRAMES = np.random.default_rng(0).integers(0, 256, (4, 5, 16, 22, 1), dtype=np.uint8)


def settled(config, frames=FRAMES):
    """A network of 15 outputs and its variables, with the norm statistics of `frames`."""
    network = ActorCritic(config, 15, momentum=0.0)
    variables = jax.jit(network.init)(jax.random.key(0), frames)
    if config.norm == "batch":
        _, stats = jax.jit(lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"]))(
            variables, frames
        )
        variables = {"params": variables["params"], **stats}
    return network, variables


def test_seed_is_the_reference():
    network = ActorCritic(REFERENCE, 15)
    frames = jax.ShapeDtypeStruct((1, 5, 400, 600, 3), jnp.uint8)
    variables = jax.eval_shape(network.init, jax.random.key(0), frames)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 37_748_246
    assert output_shapes(REFERENCE, 5, 400, 600) == ((3, 200, 300), (1, 66, 100))
    logits, value = jax.eval_shape(network.apply, variables, frames)
    assert (logits.shape, logits.dtype) == ((1, 15), jnp.float32)
    assert (value.shape, value.dtype) == ((1,), jnp.float32)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("norm", "bounds"),
    [("batch", (0.06, 0.02)), ("group", (0.06, 0.08)), ("none", (0.008, 0.02))],
)
def test_bfloat16_stays_close_to_float32(norm, bounds):
    """Norms of the error over norms of the output, of logits and values.

    bfloat16 keeps 8 bits, 0.4% a rounding; the bounds are about half as much again as measured.
    """
    config = dataclasses.replace(SMALL, norm=norm)
    network, variables = settled(config)
    exact = jax.jit(network.apply)(variables, FRAMES)
    half = ActorCritic(dataclasses.replace(config, dtype="bfloat16"), 15)
    outputs = jax.jit(half.apply)(variables, FRAMES)
    for ours, theirs, bound in zip(outputs, exact, bounds, strict=True):
        assert ours.dtype == jnp.float32
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert 0 < error < bound


def test_rematerialisation_changes_nothing_but_memory():
    network, variables = settled(SMALL)
    again = ActorCritic(dataclasses.replace(SMALL, remat=True), 15)

    def gradient(network):
        def loss(params):
            logits, value = network.apply({**variables, "params": params}, FRAMES)
            return jnp.sum(logits**2) + jnp.sum(value**2)

        return jax.jit(jax.grad(loss))(variables["params"])

    expected = gradient(network)
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected))
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(
            ours, theirs, rtol=1e-3, atol=1e-6 * largest
        ),
        gradient(again),
        expected,
    )


def test_only_training_mode_moves_the_statistics():
    """Running statistics are used in acting; training mode keeps 0.9 of them."""
    network = ActorCritic(SMALL, 15)
    variables = jax.jit(network.init)(jax.random.key(0), FRAMES)
    apply = jax.jit(
        lambda v, x, train: network.apply(v, x, train=train, mutable=["batch_stats"]),
        static_argnums=2,
    )
    _, same = apply(variables, FRAMES, False)
    jax.tree.map(np.testing.assert_array_equal, same["batch_stats"], variables["batch_stats"])
    _, moved = apply(variables, FRAMES, True)
    _, replaced = settled(SMALL)
    mean, full = (x["batch_stats"]["stem"]["norm"]["mean"] for x in (moved, replaced))
    assert float(jnp.abs(full).max()) > 0.01
    np.testing.assert_allclose(mean, 0.1 * full, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_other_norms_have_no_statistics(norm):
    variables = settled(dataclasses.replace(SMALL, norm=norm))[1]
    assert list(variables) == ["params"]


@pytest.mark.parametrize(
    ("channels", "dtype"), [(32, "float32"), (12, "float32"), (16, "bfloat16")]
)
def test_group_norm_is_flax_group_norm(channels, dtype):
    """Outputs, gradients and parameters, on values away from zero and on a constant channel."""
    x = np.random.default_rng(0).normal(1.0, 2.0, (3, 2, 4, 5, channels)).astype(np.float32)
    x[..., 0] = 3.0
    x = jnp.asarray(x, dtype)
    ours = GroupNorm(dtype)
    theirs = nn.GroupNorm(math.gcd(8, channels), epsilon=1e-5, dtype=dtype)
    scale, bias = (jax.random.normal(jax.random.key(i), (channels,)) for i in range(2))
    inner = {"scale": scale, "bias": bias}
    fresh = ours.init(jax.random.key(0), x)["params"]["norm"]
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, inner)

    def both(norm, params):
        def loss(params, x):
            y = norm.apply({"params": params}, x)
            assert y.dtype == dtype
            return jnp.sum(jnp.cos(jnp.arange(y.size)).reshape(y.shape) * y), y

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)

    (gradients, x_gradient), y = both(ours, {"norm": inner})
    (expected, x_expected), y_expected = both(theirs, inner)
    loose = 2e-2 if dtype == "bfloat16" else 1e-4
    for a, b in zip(
        (y, x_gradient, *jax.tree.leaves(gradients)),
        (y_expected, x_expected, *jax.tree.leaves(expected)),
        strict=True,
    ):
        a, b = jnp.float32(a), jnp.float32(b)
        np.testing.assert_allclose(a, b, rtol=loose, atol=loose * float(jnp.abs(b).max()))


def test_batch_statistics_are_shared_over_devices():
    """Two halves of a batch with one axis name give the whole batch's output and statistics."""
    network, variables = settled(SMALL)
    train = jax.jit(lambda x: network.apply(variables, x, train=True, mutable=["batch_stats"]))
    whole, stats = train(FRAMES)
    shared = ActorCritic(SMALL, 15, axis_name="devices", momentum=0.0)
    mapped = jax.vmap(
        lambda x: shared.apply(variables, x, train=True, mutable=["batch_stats"]),
        axis_name="devices",
    )
    halves, half_stats = jax.jit(mapped)(FRAMES.reshape(2, 2, *FRAMES.shape[1:]))
    np.testing.assert_allclose(halves[0].reshape(4, -1), whole[0], rtol=1e-3, atol=1e-5)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours[0], theirs, rtol=1e-3, atol=1e-5),
        half_stats,
        stats,
    )


def test_a_new_policy_is_near_uniform_and_biases_are_zero():
    network, variables = settled(CPU, np.repeat(FRAMES, 3, axis=2)[:, :, :48])
    logits, _ = jax.jit(network.apply)(variables, np.repeat(FRAMES, 3, axis=2)[:, :, :48])
    assert np.abs(logits).max() < 0.3
    kernel = variables["params"]["stem"]["conv"]["kernel"].reshape(-1, CPU.channels)
    assert kernel.shape[0] < CPU.channels
    rows = np.asarray(kernel @ kernel.T)
    np.testing.assert_allclose(rows, 2 * np.eye(len(rows)), atol=1e-4)
    assert not any(
        np.any(x)
        for path, x in jax.tree_util.tree_leaves_with_path(variables["params"])
        if path[-1].key == "bias"
    )


@pytest.mark.parametrize(
    ("config", "shape"),
    [(CPU, (5, 48, 64, 1)), (GPU, (5, 96, 128, 3)), (REFERENCE, (5, 400, 600, 3))],
    ids=["cpu", "gpu", "reference"],
)
def test_presets_lower_for_accelerators(config, shape):
    """Forward and backward, from this machine; nothing of the CPU's formulation is in it."""
    network = ActorCritic(config, 15)
    frames = jax.ShapeDtypeStruct((2, *shape), jnp.uint8)
    variables = jax.eval_shape(network.init, jax.random.key(0), frames)

    def loss(params, rest, frames):
        logits, value = network.apply({**rest, "params": params}, frames)
        return logits.sum() + value.sum()

    rest = {k: v for k, v in variables.items() if k != "params"}
    exported = jax.export.export(jax.jit(jax.grad(loss)), platforms=PLATFORMS)(
        variables["params"], rest, frames
    )
    assert exported.platforms == PLATFORMS
    assert "[b, 0, 1, 2, f]" in exported.mlir_module()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 48, 64), "stack = 4 .* at least 5"),
        ((5, 4, 64), "height = 4 .* at least 5"),
        ((5, 48, 2), "width = 2 .* at least 5"),
    ],
)
def test_too_small_an_observation_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        output_shapes(REFERENCE, *sizes)
    smallest = tuple(max(size, 5) for size in sizes)
    assert min(output_shapes(REFERENCE, *smallest)[1]) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"channels": 0}, "channels"),
        ({"blocks": (-1, 2)}, "blocks"),
        ({"stem_stride": (0, 1, 1)}, "stem_stride"),
        ({"norm": "layer"}, "norm"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_impossible_configurations_are_refused(changes, field):
    with pytest.raises(ValueError, match=field):
        NetworkConfig(**changes)
