"""The trainer's side of one worker process."""

import contextlib
import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import time
from typing import Any

from kart_jax.game.child import start_child
from kart_jax.game.config import RaceConfig
from kart_jax.workers.errors import WorkerLoss, WorkerLostError
from kart_jax.workers.protocol import OBJECT, STEP, MemoryLayout, receive_object, send_object
from kart_jax.workers.worker import MakeEnv

LAST_WORDS = 2000
"""Bytes of a lost worker's output that its loss reports."""
DEATH_TIME = 5.0
"""Seconds that the kernel may take to end a worker that has closed its socket."""
FILES_OF_EACH, FILES_BESIDE = 2, 64
"""Open files for each worker, and for logs, checkpoints and what else a run needs."""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Has glibc ask for huge pages: where nothing is drawn, a step takes less time for 5 MB more."""


def check_open_files(workers: int) -> None:
    """Raise the limit of open files to what `workers` need here, as far as the system allows.

    Raises:
        ValueError: it does not allow as many; says what to do.
    """
    needed = len(os.listdir("/proc/self/fd")) + FILES_OF_EACH * workers + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ValueError(
            f"{workers} workers need {needed} open files, and this system allows {hard} of a "
            f"process: raise the limit (ulimit -n {needed}), or use fewer workers (--num-envs)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class WorkerProcess:
    """One spawned process that runs one environment.

    A process of its own executable, not `multiprocessing`: that would import the
    trainer's main module, and with it JAX, into each worker. The thread that makes
    workers must outlive them: the kernel ends them with it.
    """

    def __init__(
        self,
        make: MakeEnv,
        race: RaceConfig,
        layout: MemoryLayout,
        memory: int,
        index: int | None,
    ) -> None:
        """Start the process; it makes its environment and waits for commands.

        A spare (`index` None) loads the game too; `index` is then set when it takes over.
        """
        self.index = index
        self.started = False
        self.loss: WorkerLoss | None = None
        self._command, self._since, self._timeout = "start", time.monotonic(), 0.0
        descriptor = os.memfd_create("kart_jax-log")
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
        self._log = open(descriptor, "rb", buffering=0)  # noqa: SIM115
        self._link, theirs = socket.socketpair()
        environment = dict.fromkeys(ONE_THREAD, "1")
        if not race.draws and "GLIBC_TUNABLES" not in os.environ:
            environment |= HUGE_PAGES
        with theirs:
            self._process = start_child(
                "kart_jax.workers.worker",
                [theirs.fileno(), os.getpid()],
                output=self._log,
                pass_fds=[theirs.fileno()],
                environment=environment,
            )
        with contextlib.suppress(ConnectionError):  # it died: `answer` reports it
            send_object(self._link, (make, race, layout, index is None), (memory,))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def step(self) -> None:
        """Ask for a step with the actions in memory."""
        self._command = "step"
        self._since = time.monotonic()
        with contextlib.suppress(OSError):  # as above
            self._link.send(STEP)

    def call(self, command: str, *arguments: Any) -> None:
        """Ask for a method of `EnvRunner`."""
        self._command = command
        self._since = time.monotonic()
        with contextlib.suppress(OSError):  # as above
            send_object(self._link, (command, *arguments))

    def answer(self, timeout: float) -> Any:
        """Return what the command returned.

        Raises:
            WorkerLostError: it is gone, or did not answer for `timeout` seconds; by
                then it has been ended.
        """
        if self.loss is not None:
            raise WorkerLostError(self.loss, hung=False)
        if timeout != self._timeout:
            self._set_timeout(timeout)
        try:
            mark = self._link.recv(1)
            answer = receive_object(self._link) if mark == OBJECT else None
        except BlockingIOError:
            raise self._lost(hung=True) from None
        except (EOFError, ConnectionError):
            raise self._lost(hung=False) from None
        if not mark:
            raise self._lost(hung=False)
        self.started = True
        return answer

    def hang_up(self) -> None:
        """Tell it to leave."""
        self._link.close()

    def end(self, timeout: float) -> None:
        """Kill it unless it leaves within `timeout` seconds."""
        self._stop(timeout)
        self._log.close()

    def _stop(self, timeout: float) -> int:
        self.hang_up()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._process.wait()

    def _set_timeout(self, timeout: float) -> None:
        """Have the kernel time it: one system call less per answer than `settimeout`."""
        self._timeout = timeout
        interval = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._link.setsockopt(socket.SOL_SOCKET, direction, interval)

    def _lost(self, hung: bool) -> WorkerLostError:
        """End it, and say what happened."""
        waited = time.monotonic() - self._since
        status = self._stop(0.0 if hung else DEATH_TIME)
        if hung:
            cause = f"no answer for {waited:.1f} s"
        elif status < 0:
            cause = f"ended by {signal.Signals(-status).name}"
        else:
            cause = f"exit status {status}"
        command = self._command if self.started else f"{self._command} at start-up"
        assert self.index is not None  # spares are not asked for answers
        self.loss = WorkerLoss(self.index, "", command, cause, self._last_words())
        self._log.close()
        return WorkerLostError(self.loss, hung)

    def _last_words(self) -> str:
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - LAST_WORDS))
        return self._log.read().decode(errors="replace").strip()
