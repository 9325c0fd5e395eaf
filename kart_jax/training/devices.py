"""Split work over devices; no other module does.

Arrays of one device become arrays with a leading axis of devices; functions of one
device's arrays become functions of those by `jax.pmap`. Environments are split evenly:
device d has the d-th part of each group of workers. Where a run has several processes,
each of them holds the arrays of its own devices, and sees no others.

JAX only maintains `pmap` and develops `jax.shard_map`. With that one, `_map` would be
`jax.jit(jax.shard_map(body, mesh=..., in_specs=P(AXIS), out_specs=P(AXIS)))`, on a mesh of this
process's devices or of all, and `body` would take the leading axis, of length 1 there, off its
arguments and put it back on its results. Between processes `jit` takes global arrays, so `shard`,
`replicate` and `place` would make them of what each process has
(`jax.make_array_from_process_local_data`). Nothing outside this module would change.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jaxlib
import numpy as np
import platformdirs
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kart_jax.config import TrainConfig
from kart_jax.policy.platform import check_platform
from kart_jax.validation import UserError

AXIS = "devices"
"""The axis to average over inside mapped functions."""

YNN_ON_ONE_CORE = ("0.10.2",)
"""Versions of jaxlib whose YNN convolutions use one core; Eigen's use all. Listed one by one,
because XLA ends the process over a flag that it does not know."""
YNN_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
CACHE_FLAG = "jax_compilation_cache_dir"


def prepare_jax() -> None:
    """Set, before the first use of a device, how programs are compiled and cached.

    Programs go to the user's cache folder, so that a second start is quick. JAX's own variables
    take precedence: `JAX_COMPILATION_CACHE_DIR` moves the cache, `JAX_ENABLE_COMPILATION_CACHE=0`
    turns it off, and what `XLA_FLAGS` sets already is not changed.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__ in YNN_ON_ONE_CORE and YNN_FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {YNN_FLAG}=-individual_convolution".strip()
    if getattr(jax.config, CACHE_FLAG) is None:
        folder = platformdirs.user_cache_path("kart_jax") / "xla"
        jax.config.update(CACHE_FLAG, str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


class Devices:
    """The accelerators of this process, and the axis over those of all processes."""

    def __init__(self) -> None:
        check_platform()
        self.local: Sequence[jax.Device] = jax.local_devices()
        mesh = Mesh(np.array(self.local), (AXIS,))
        self._sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        # Virtual CPU devices share one pool of threads; with several programs in flight, one
        # that waits for the others in a reduction can hold the thread that another needs.
        self._one_at_a_time = jax.device_count() > 1 and self.local[0].platform == "cpu"
        self._all_reduce_max = self.map_together(lambda x: jax.lax.pmax(x, AXIS))

    @property
    def count(self) -> int:
        """Devices of this process."""
        return len(self.local)

    @property
    def processes(self) -> int:
        """Processes of this run, each with as many devices."""
        return jax.process_count()

    @property
    def kind(self) -> str:
        """The name of the devices, such as `cpu` or `NVIDIA H100 80GB HBM3`."""
        return self.local[0].device_kind

    def check_divides(self, config: TrainConfig) -> None:
        """Refuse environments that cannot be split evenly.

        Raises:
            ValueError: names the numbers and what to change them to.
        """
        num_envs, groups = config.workers.num_envs, config.workers.group_count(self.count)
        parts = self.count * groups
        if num_envs % parts:
            fitting = -(-num_envs // parts) * parts
            raise UserError(
                f"num_envs = {num_envs} cannot be split over {self.count} devices x {groups} "
                f"group{'s' * (groups > 1)} of workers: use a multiple of {parts}, such as "
                f"--num-envs {fitting}"
                + (", or --groups 1" if groups > 1 and num_envs % self.count == 0 else "")
            )

    def map(self, function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        """Run `function` on every device of this process; arguments `donate` are consumed.

        Other processes need not do the same: `AXIS` has the devices of this one alone.
        """
        return self._map(function, donate, self.local)

    def map_together(
        self, function: Callable[..., Any], donate: tuple[int, ...] = ()
    ) -> Callable[..., Any]:
        """Map as `map` does, over all devices of all processes: every process must call it."""
        return self._map(function, donate, None)

    def _map(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        devices: Sequence[jax.Device] | None,
    ) -> Callable[..., Any]:
        mapped = jax.pmap(function, axis_name=AXIS, donate_argnums=donate, devices=devices)
        if not self._one_at_a_time:
            return mapped
        return lambda *arguments: jax.block_until_ready(mapped(*arguments))

    def replicate(self, tree: Any) -> Any:
        """Put a copy of host arrays on every device: `[...]` becomes `[D, ...]`."""
        return jax.device_put(
            jax.tree.map(lambda x: np.stack([np.asarray(x)] * self.count), tree), self._sharding
        )

    def shard(self, tree: Any, axis: int = 0) -> Any:
        """Split host arrays `[..., B, ...]` at `axis` over the devices: `[D, ..., B/D, ...]`.

        The arrays are copied: on the CPU a device array may otherwise be a view of the
        host's, which its owner is free to overwrite.
        """

        def split(x: np.ndarray) -> np.ndarray:
            parts = np.split(x, self.count, axis)
            return np.stack(parts)

        return jax.device_put(jax.tree.map(split, tree), self._sharding)

    def gather(self, array: jax.Array) -> np.ndarray:
        """Bring `[D, B/D, ...]` back to the host as `[B, ...]`: the inverse of `shard`."""
        return np.concatenate([jax.device_get(s.data)[0] for s in array.addressable_shards])

    def first(self, tree: Any) -> Any:
        """Return the first device's copy of replicated arrays, as host arrays of their own."""
        return jax.tree.map(
            lambda x: np.array(jax.device_get(x.addressable_shards[0].data)[0]), tree
        )

    def shards(self, tree: Any) -> Any:
        """Return all of this process's arrays `[D, ...]` on the host."""
        return jax.tree.map(
            lambda x: np.concatenate([jax.device_get(s.data) for s in x.addressable_shards]), tree
        )

    def place(self, tree: Any) -> Any:
        """Put host arrays `[D, ...]` onto the devices: the inverse of `shards`."""
        return jax.device_put(jax.tree.map(np.array, tree), self._sharding)

    def all_reduce_max(self, value: int) -> int:
        """Return the largest `value` (32 bits) of all processes; waits for them."""
        if self.processes == 1:
            return value
        return int(self.first(self._all_reduce_max(self.replicate(np.int32(value)))))

    def broadcast(self, tree: Any) -> Any:
        """Return the first process's host arrays in all processes, given arrays of equal shapes."""
        with jax.transfer_guard("allow"):
            return multihost_utils.broadcast_one_to_all(tree)

    def shards_of_all(self, tree: Any) -> Any:
        """Return the arrays `[D, ...]` of all P processes on each host, `[P, D, ...]`."""
        with jax.transfer_guard("allow"):
            return multihost_utils.process_allgather(self.shards(tree))
