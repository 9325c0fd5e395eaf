"""Stopping on request: SIGINT, SIGTERM or SIGHUP asks; a second one, but SIGHUP, does not ask."""

import errno
import os
import signal
import socket
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP means that the terminal or the connection is gone."""
PASSED_ON = signal.SIGUSR1
"""Another process of the run was asked to stop; it never counts as the second signal."""
NO_CLEAN_END = b"error: no clean end within %g s (--grace); what was saved before stands\n"


class Interrupted(BaseException):
    """Work was cut short by a request to stop; what it had begun is to be dropped.

    It can be raised in the middle of a library, whose `except Exception` must not swallow it:
    so, like `KeyboardInterrupt`, it is none.
    """


class StopRequest:
    """Listens for `STOPPING` while used as a context manager.

    In another thread than the main one, which alone can, it listens to nothing. SIGHUP stays
    ignored where it was, as `nohup` does.

    Python's own handlers wait for the main thread, which may be compiling for minutes. So
    a thread of its own hears every signal: a second one, or `grace` seconds, end the process.
    """

    def __init__(self, grace: float) -> None:
        """Take `grace`, the seconds from a request until this process is ended by force."""
        self._grace = grace
        self.name: str | None = None
        """The signal that asked, or None."""
        self._may_raise = False
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raise `Interrupted` if a stop was requested."""
        if self.name is not None:
            raise Interrupted

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a request raise `Interrupted` amid a body that waits for others."""
        self._may_raise = True
        try:
            self.check()
            yield
        finally:
            self._may_raise = False

    def __enter__(self) -> Self:
        """Start to listen."""
        if threading.current_thread() is not threading.main_thread():
            return self
        heard, self._wakeup_socket = socket.socketpair()
        self._wakeup_socket.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._wakeup_socket.fileno())
        self._listener = threading.Thread(target=_listen, args=(heard, self._grace), daemon=True)
        self._listener.start()
        for number in (*STOPPING, PASSED_ON):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the earlier signal handlers."""
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._wakeup_socket.close()
        self._listener.join()

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        if number == signal.SIGHUP:
            _leave_dead_terminal()
        if self._may_raise:
            raise Interrupted


def _leave_dead_terminal() -> None:
    """Put the null device in place of a terminal that is gone, where every write would fail."""
    for descriptor in (0, 1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, descriptor)
                os.close(null)


def _listen(heard: socket.socket, grace: float) -> None:
    """End the process by the second signal, or `grace` seconds after the first."""
    with heard:
        first = _next_request(heard, STOPPING)
        if first is None:
            return
        heard.settimeout(grace)
        try:
            # A closed terminal sends it twice: from the kernel and from the shell.
            if _next_request(heard, (signal.SIGINT, signal.SIGTERM)) is None:
                return
        except TimeoutError:
            with suppress(OSError):
                os.write(2, NO_CLEAN_END % grace)
        os._exit(128 + first)


def _next_request(heard: socket.socket, numbers: Sequence[int]) -> int | None:
    """Return the next signal of those in `numbers`; None once the listener is closed."""
    while number := heard.recv(1):
        if number[0] in numbers:  # Python reports every signal that has a handler
            return number[0]
    return None
