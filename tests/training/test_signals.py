"""Requests to stop, on real processes."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from kart_jax.training.signals import STOPPING, Interrupted, StopRequest

GRACE = 60.0
DEAF = """
import sys, time
from kart_jax.training.signals import StopRequest
with StopRequest(float(sys.argv[1])):
    print("ready", flush=True)
    while True:
        time.sleep(60)
"""
"""A trainer that does not come round to looking whether it was asked to stop."""


def start_deaf(grace: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_signal_leaves_at_once():
    process = start_deaf(grace=300)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT


def test_patience_ends():
    process = start_deaf(grace=0.2)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert "no clean end within 0.2 s (--grace); what was saved before stands" in err


def test_a_request_is_heard_at_the_next_check():
    with StopRequest(GRACE) as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            stop.check()
        assert stop.name == "SIGTERM"


def test_a_request_is_not_swallowed_by_a_library():
    """Raised in the middle of one that survives whatever goes wrong in it."""

    def library():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except Exception as error:
            pytest.fail(f"swallowed {error!r}")

    with StopRequest(GRACE) as stop, pytest.raises(Interrupted), stop.interrupting():
        library()


def test_a_request_ends_waiting_for_others():
    with StopRequest(GRACE) as stop:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        started = time.monotonic()
        with pytest.raises(Interrupted), stop.interrupting():
            time.sleep(60)
        assert time.monotonic() - started < 30
        signal.signal(signal.SIGALRM, before)
        with pytest.raises(Interrupted), stop.interrupting():
            raise AssertionError("must not begin to wait after the request")


def test_signals_are_left_as_they_were():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest(GRACE):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_terminal_that_goes_is_a_request_however_often_it_is_told():
    """The kernel tells of it, and the shell once more, which must not count as a second signal."""
    process = start_deaf(grace=300)
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGHUP


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(GRACE) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            stop.check()
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_listens_to_nothing():
    before = [signal.getsignal(number) for number in STOPPING]

    def listen() -> None:
        with StopRequest(GRACE) as stop:
            stop.check()
            heard.append([signal.getsignal(number) for number in STOPPING])

    heard: list[list[object]] = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert heard == [before]
