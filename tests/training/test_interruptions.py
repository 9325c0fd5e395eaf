"""Training runs that are stopped or killed, and go on."""

import contextlib
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from kart_jax.cli.command import UNFINISHED
from kart_jax.run_folder import checkpoints
from tests.helpers.faults import shared_memory
from tests.helpers.tiny_run import (
    SAVE_OFTEN,
    SERIAL,
    STEPS_PER_UPDATE,
    UPDATES,
    arguments,
    assert_same_run,
    finish,
    metrics,
    random_moments,
    resume,
    start,
    wait_for_updates,
    workers,
)

pytestmark = pytest.mark.timeout(900)  # many processes, on a machine that may be busy


@pytest.mark.parametrize(
    ("number", "stopped_workers"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGTERM, True)],
    ids=["SIGTERM", "SIGINT", "SIGTERM while a worker hangs"],
)
def test_a_run_that_was_asked_to_stop_goes_on_as_if_nothing_had_happened(
    undisturbed, tmp_path, number, stopped_workers
):
    run_dir, shared = tmp_path / "run", shared_memory()
    process = start(arguments(run_dir, UPDATES, *SAVE_OFTEN))
    wait_for_updates(process, run_dir, int(random_moments().integers(1, UPDATES // 2)))
    if stopped_workers:
        workers(process)[0].suspend()
        time.sleep(0.5)
    process.send_signal(number)
    output = finish(process)
    # Had it not left in time, it would have ended itself with another status.
    assert process.returncode == UNFINISHED == 75, output
    assert shared_memory() <= shared
    done = len(metrics(run_dir))
    assert checkpoints.latest(run_dir / "checkpoints").name == str(done * STEPS_PER_UPDATE)
    resume(run_dir)
    assert_same_run(run_dir, undisturbed)


STUCK = """
import sys, time
from kart_jax import train
from kart_jax.run_folder.checkpoints import Checkpoints
seconds = float(sys.argv.pop(1))
Checkpoints._save = lambda *_: time.sleep(seconds)
if __name__ == "__main__":
    sys.exit(train.main(sys.argv[1:]))
"""
"""Trains with a disk that takes so many seconds for a checkpoint."""


@pytest.mark.parametrize(
    ("grace", "save", "status"), [("0.5", "600", 128 + signal.SIGTERM), ("60", "10", UNFINISHED)]
)
def test_a_stop_waits_as_long_as_it_is_told(tmp_path, grace, save, status):
    """The last save may take longer than the 9 s of the default."""
    run_dir, program = tmp_path / "run", tmp_path / "stuck.py"
    program.write_text(STUCK)
    args = arguments(run_dir, 100_000, "--grace", grace, *SERIAL)
    process = start(args, program=(str(program), save))
    wait_for_updates(process, run_dir, 1)
    process.send_signal(signal.SIGTERM)
    output = finish(process)
    assert process.returncode == status, output


def test_a_run_that_was_killed_twice_loses_only_time(undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    random = random_moments()
    process = start(arguments(run_dir, UPDATES, *SAVE_OFTEN))
    for updates in (int(random.integers(1, 10)), int(random.integers(12, 20))):
        wait_for_updates(process, run_dir, updates)
        time.sleep(float(random.uniform(0, 0.05)))
        process.kill()
        finish(process)
        process = start(["--resume", "--run-dir", str(run_dir)])
    output = finish(process)
    assert process.returncode == 0, output
    assert_same_run(run_dir, undisturbed)


def test_a_run_that_was_killed_during_a_save_goes_on_from_the_one_before(undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    often = ("--checkpoint-steps", str(STEPS_PER_UPDATE))
    process = start(arguments(run_dir, UPDATES, *often, *SERIAL))
    wait_for_updates(process, run_dir, 3)
    while not (unfinished := list(run_dir.glob("checkpoints/*.orbax-checkpoint-tmp"))):
        assert process.poll() is None
    process.kill()
    finish(process)
    assert any(path.exists() for path in unfinished)
    resume(run_dir)
    assert not any(path.exists() for path in unfinished)
    assert_same_run(run_dir, undisturbed)


def test_workers_that_keep_dying_end_the_run_with_a_checkpoint(undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    process = start(arguments(run_dir, UPDATES, "--max-losses", "1", "--checkpoint-steps", "9999"))
    wait_for_updates(process, run_dir, 3)
    process.send_signal(signal.SIGSTOP)
    done = len(metrics(run_dir))
    while process.poll() is None:  # whatever takes the place of a worker is killed as well
        for worker in workers(process):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                worker.kill()
        process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    output = finish(process)
    assert process.returncode == 1
    assert "ended by SIGKILL" in output
    assert "max_losses = 1" in output
    saved = checkpoints.latest(run_dir / "checkpoints")
    assert int(saved.name) >= done * STEPS_PER_UPDATE


def test_a_lost_terminal_saves_what_was_learnt(tmp_path):
    """The terminal is gone for whoever writes to it, too."""
    run_dir = tmp_path / "run"
    args = [a for a in arguments(run_dir, 100_000) if a != "--quiet"]
    ours, theirs = pty.openpty()
    command = shlex.join([sys.executable, "-m", "kart_jax.train", *args])
    terminal = os.ttyname(theirs)  # that of the session which opens it first
    line = f"exec {command} <{terminal} >{terminal} 2>&1"
    process = subprocess.Popen(["sh", "-c", line], start_new_session=True, text=True)
    time.sleep(1)
    os.close(theirs)
    reader = threading.Thread(target=read_all, args=(ours, gone := threading.Event()))
    reader.start()
    try:
        wait_for_updates(process, run_dir, 3)
        gone.set()
        reader.join()  # closes the terminal
        assert process.wait(timeout=60) == UNFINISHED
    finally:
        gone.set()
        process.kill()
    [step] = checkpoints.steps(run_dir / "checkpoints")
    assert step == metrics(run_dir)[-1]["step"]


def read_all(terminal: int, gone: threading.Event) -> None:
    os.set_blocking(terminal, False)
    while not gone.wait(0.02):
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 2**16)
    os.close(terminal)
