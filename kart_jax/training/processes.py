"""One run in several processes: how they find each other, and what they decide together.

Each process races and acts at its own pace, and learns in step with the others: a gradient
step waits for all of them. So none may leave, continue or fail alone. Work that could end a
run is done by `Processes.together`, after which each process knows how it went in all.
"""

import os
import socket
import threading
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeVar

import jax
from jax._src import distributed  # the processes' key-value store has no public name
from jax._src.lib import _jax  # nor the address that gloo listens at

from kart_jax.config import ClusterConfig, TrainConfig
from kart_jax.training.devices import Devices
from kart_jax.training.signals import PASSED_ON, Interrupted, StopRequest
from kart_jax.validation import UserError

T = TypeVar("T")

DONE, STOPPED, FAILED = 0, 1, 2
"""How work ended, best first."""
STOP_KEY = "kart_jax/stop"
DONE_KEY = "kart_jax/done"
WAIT_MILLISECONDS = 500
"""Longest time until a waiting process handles a signal."""
LISTEN_SECONDS = 0.5
"""Time between two checks for a stop request in another process."""


class PeerFailedError(RuntimeError):
    """Another process of the run failed, so that this one cannot continue."""

    def __init__(self) -> None:
        super().__init__(
            "another process of this run failed, and its own output says why; start all of them "
            "again with --resume to continue from the last checkpoint"
        )


def join(config: ClusterConfig) -> None:
    """Join the other processes; call it before JAX is used for anything else.

    A process that sends nothing for `heartbeat` seconds is lost: JAX then ends the others
    with a message and SIGABRT, and the kernel ends their workers.

    Raises:
        ValueError: neither the flags nor the environment name the processes.
        RuntimeError: the others cannot be reached.
    """
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is `StopRequest`'s
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.num_processes,
            config.process_id,
            heartbeat_timeout_seconds=config.heartbeat,
            shutdown_timeout_seconds=config.heartbeat,
        )
    except ValueError as error:
        raise UserError(
            f"no cluster was found here ({error}): add --coordinator, --num-processes and "
            "--process-id"
        ) from None
    # Gloo, which sums gradients on CPUs, would look up this machine's own name: many containers
    # have none that resolves, and Debian's resolves to a loopback address.
    address = own_address(str(distributed.global_state.coordinator_address))
    make: Any = partial(_jax.make_gloo_tcp_collectives, hostname=address)
    _jax.make_gloo_tcp_collectives = make


def own_address(coordinator: str) -> str:
    """Return this machine's address on the way to the coordinator, `HOST:PORT`."""
    host, _, port = coordinator.rpartition(":")
    [(family, kind, *_, address), *_] = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_DGRAM
    )
    with socket.socket(family, kind) as way:
        way.connect(address)  # which sends nothing
        return str(way.getsockname()[0])


def leave() -> None:
    """Leave the other processes, after all of them have ended their work."""
    if jax.process_count() > 1:
        jax.distributed.shutdown()


class Processes:
    """The processes of one run; a single process decides alone and at once."""

    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self.count = devices.processes
        self.index = jax.process_index()
        self._client: Any = distributed.global_state.client
        self._works = 0
        """Times that the first process has worked alone."""

    @property
    def is_first(self) -> bool:
        """Whether this process logs, evaluates and saves for all."""
        return self.index == 0

    def all_reduce_max(self, value: int) -> int:
        """Return the largest `value`, at least 0, of all processes; waits for them."""
        high, low = divmod(value, 2**30)
        high = self.devices.all_reduce_max(high)
        return high * 2**30 + self.devices.all_reduce_max(low if value >= high * 2**30 else 0)

    def any(self, holds: bool) -> bool:
        """Return whether it holds in any process; waits for all of them."""
        return bool(self.devices.all_reduce_max(int(holds)))

    def together(self, work: Callable[[], T]) -> T:
        """Do `work`, as all processes do, and return its result only if all of them succeed.

        Raises:
            Interrupted: a stop was requested, here or elsewhere.
            PeerFailedError: it failed elsewhere; a failure here is raised as it is.
        """
        if self.count == 1:
            return work()
        how, failure = DONE, None
        try:
            result = work()
        except Interrupted:
            how = STOPPED
        except Exception as error:
            how, failure = FAILED, error
        worst = self.devices.all_reduce_max(how)
        if failure is not None:
            raise failure
        if worst == FAILED:
            raise PeerFailedError
        if worst == STOPPED:
            raise Interrupted
        return result

    def in_first(self, work: Callable[[], T]) -> T | None:
        """Do `work`, however long it takes, in the first process alone, then meet in `together`.

        The others wait without their devices: a collective would end the run after some minutes,
        and let no signal through until then.

        Returns:
            The result of `work` in the first process, and None in the others.
        """

        def work_or_wait() -> T | None:
            if not self.is_first:
                self._wait_for_first()
                return None
            try:
                return work()
            finally:
                if self.count > 1:
                    self._client.key_value_set(f"{DONE_KEY}/{self._works}", "")

        self._works += 1
        return self.together(work_or_wait)

    def _wait_for_first(self) -> None:
        """Return once the first process has done, or failed in, its work.

        A request to stop does not end this: `StopRelay` passes it on to where the work is.
        """
        while True:
            try:
                self._client.blocking_key_value_get(f"{DONE_KEY}/{self._works}", WAIT_MILLISECONDS)
                return
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def check_same(self, config: TrainConfig) -> None:
        """Refuse to train where the processes differ in options or in their number of devices.

        Raises:
            ValueError: they do.
        """
        for what, value in (
            ("options", zlib.crc32(repr(config).encode()) >> 1),
            ("numbers of devices", self.devices.count),
        ):
            if self.devices.all_reduce_max(value) != -self.devices.all_reduce_max(-value):
                raise UserError(
                    f"the processes of this run have different {what}: start all of them alike"
                )


class StopRelay:
    """Passes requests to stop on to all processes while used as a context manager.

    A machine may be taken away alone; the others then cut their rollout short as well, so
    that all leave in time.
    """

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop
        self._client: Any = distributed.global_state.client
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        """Start to listen, if there are other processes."""
        if self._client is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._ended.set()
        if self._client is not None:
            self._thread.join()

    def _listen(self) -> None:
        while not self._ended.wait(LISTEN_SECONDS):
            try:
                if self._stop.name is not None:
                    self._client.key_value_set(STOP_KEY, self._stop.name, allow_overwrite=True)
                    return
                self._client.key_value_try_get(STOP_KEY)
            except jax.errors.JaxRuntimeError:  # no request yet, or JAX is ending this process
                continue
            os.kill(os.getpid(), PASSED_ON)
            return
