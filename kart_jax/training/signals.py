"""Stopping on request: SIGINT or SIGTERM asks, a second one does not ask."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM)
PASSED_ON = signal.SIGUSR1
"""Asks as well, for another process of the run: no second signal after one of those."""
NO_CLEAN_END = b"error: no clean end within %g s (--grace); what was saved before stands\n"


class Interrupted(BaseException):
    """Work was cut short by a request to stop; what it had begun is to be dropped.

    It can be raised in the middle of a library, whose `except Exception` must not swallow it:
    so, like `KeyboardInterrupt`, it is none.
    """


class StopRequest:
    """Listens for SIGINT and SIGTERM while used as a context manager in the main thread.

    Python's own handlers wait for the main thread, which may be compiling for minutes. So
    a thread of its own hears every signal: a second one, or `grace` seconds, end the process.
    """

    def __init__(self, grace: float) -> None:
        """`grace`: seconds from a request until the process is ended as it is."""
        self._grace = grace
        self.name: str | None = None
        """The signal that asked, or None."""
        self._may_raise = False
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raise `Interrupted` if a stop was asked for."""
        if self.name is not None:
            raise Interrupted

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """A body that waits for others: a request raises `Interrupted` out of its middle."""
        self._may_raise = True
        try:
            self.check()
            yield
        finally:
            self._may_raise = False

    def __enter__(self) -> Self:
        """Begin to listen."""
        heard, self._teller = socket.socketpair()
        self._teller.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._teller.fileno())
        self._listener = threading.Thread(target=_listen, args=(heard, self._grace), daemon=True)
        self._listener.start()
        for number in (*STOPPING, PASSED_ON):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._teller.close()
        self._listener.join()

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        if self._may_raise:
            raise Interrupted


def _listen(heard: socket.socket, grace: float) -> None:
    """End the process by the second signal, or `grace` seconds after the first."""
    with heard:
        first = _next_request(heard)
        if first is None:
            return
        heard.settimeout(grace)
        try:
            if _next_request(heard) is None:
                return
        except TimeoutError:
            os.write(2, NO_CLEAN_END % grace)
        os._exit(128 + first)


def _next_request(heard: socket.socket) -> int | None:
    """The next SIGINT or SIGTERM; None once nobody listens any more."""
    while number := heard.recv(1):
        if number[0] in STOPPING:  # Python tells of all signals that have a handler
            return number[0]
    return None
