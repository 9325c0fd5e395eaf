"""Work spread over devices gives what one device gives; eight virtual ones stand in for more."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest

from kart_jax.config import TrainConfig
from kart_jax.game.config import RaceConfig
from kart_jax.training.devices import YNN_ON_ONE_CORE, Devices, prepare_jax
from kart_jax.workers.config import WorkerConfig

ROOT = Path(__file__).parents[2]


def spread(devices: int, out: Path) -> subprocess.Popen[bytes]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "tests.helpers.spread", str(out)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"XLA_FLAGS": flags})


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> dict[int, dict[str, np.ndarray]]:
    """What `tests.helpers.spread` found on one and on eight devices."""
    folder = tmp_path_factory.mktemp("spread")
    outs = {count: folder / f"{count}.npz" for count in (1, 8)}
    for process in [spread(count, out) for count, out in outs.items()]:
        assert process.wait(250) == 0
    found = {count: dict(np.load(out)) for count, out in outs.items()}
    assert {count: int(x["devices"]) for count, x in found.items()} == {1: 1, 8: 8}
    return found


def test_eight_devices_give_the_gradients_of_one(learnt):
    one, eight = learnt[1]["gradients"], learnt[8]["gradients"]
    assert np.abs(eight - one).max() <= 1e-5 * np.abs(one).max()


@pytest.mark.parametrize("update", range(3))
def test_eight_devices_act_and_learn_as_one_does(learnt, update):
    """Parameters, norm statistics and reward scale; Adam magnifies rounding, hence 1e-4."""
    one, eight = learnt[1], learnt[8]
    np.testing.assert_array_equal(eight[f"actions_{update}"], one[f"actions_{update}"])
    for name in ("state", "metrics"):
        ours, theirs = eight[f"{name}_{update}"], one[f"{name}_{update}"]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    if update:
        assert np.abs(one[f"state_{update}"] - one[f"state_{update - 1}"]).max() > 1e-3


@pytest.mark.parametrize("devices", [1, 8])
def test_nothing_is_compiled_after_the_first_update(learnt, devices):
    first, *later = (int(learnt[devices][f"compilations_{update}"]) for update in range(3))
    assert first > 0
    assert set(later) == {first}


def test_compiled_programs_are_kept_unless_jax_was_told_where(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # and is given back as it was
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: jax.config.values[name] for name in names}
    try:
        for told, kept in ((None, "kart_jax/xla"), ("/tmp/elsewhere", "/tmp/elsewhere")):
            jax.config.update(names[0], told)
            prepare_jax()
            assert jax.config.values[names[0]].endswith(kept)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


CONVOLVE = """
import jax, jax.numpy as jnp
from kart_jax.training.devices import prepare_jax
prepare_jax()
convolve = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
)
arrays = jnp.ones((8, 24, 32, 96)), jnp.ones((3, 3, 96, 32))
print("ynn" in jax.jit(convolve).lower(*arrays).compile().as_text())
"""


@pytest.mark.parametrize("flags", ["", "--xla_cpu_experimental_ynn_fusion_type=-reduce"])
def test_convolutions_use_all_cores_unless_xla_flags_say_otherwise(flags):
    if jaxlib.__version__ not in YNN_ON_ONE_CORE:
        pytest.skip("measured for other versions of jaxlib")
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", CONVOLVE]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(bool(flags))


@pytest.fixture
def four_devices(monkeypatch) -> Devices:
    """Counts as four; for checks of numbers alone."""
    monkeypatch.setattr(Devices, "count", 4)
    return Devices()


def test_environments_that_cannot_be_split_are_refused_with_the_numbers_to_change(four_devices):
    config = TrainConfig(
        race=RaceConfig(simulator="fake"), workers=WorkerConfig(num_envs=12, groups=2)
    )
    with pytest.raises(ValueError, match="num_envs = 12 cannot be split") as error:
        four_devices.check_divides(config)
    for part in ("4 devices x 2 groups", "--num-envs 16", "--groups 1"):
        assert part in str(error.value)
    four_devices.check_divides(replace(config, workers=WorkerConfig(num_envs=16)))


def test_what_was_sharded_does_not_change_with_the_hosts_array():
    devices = Devices()
    host = np.arange(4 * 4096, dtype=np.uint8).reshape(4, -1)
    expected = host.copy()
    placed = [
        devices.shard(host),
        devices.shard(host, axis=1),
        devices.replicate(host),
        devices.place(host[None]),
    ]
    host[:] = 255
    for array in placed:
        np.testing.assert_array_equal(np.asarray(array).reshape(4, -1), expected)


def test_what_was_brought_back_does_not_change_with_the_devices_array():
    devices = Devices()
    array = devices.replicate(np.arange(8.0, dtype=np.float32))
    first = devices.first(array)
    devices.map(lambda x: x + 1, donate=(0,))(array)
    np.testing.assert_array_equal(first, np.arange(8.0))
    first += 1  # it is the host's own


def test_gather_is_the_inverse_of_shard():
    devices = Devices()
    host = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    np.testing.assert_array_equal(devices.gather(devices.shard(host)), host)
    tree = {"a": host, "b": np.arange(8)}
    back = devices.shards(devices.place(jax.tree.map(lambda x: x[None], tree)))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[0], y), back, tree)
