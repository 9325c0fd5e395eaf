"""Training in two processes, as on two machines: the same run, and the same ends for both."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from kart_jax import checkpoints
from kart_jax.config import parse_all
from kart_jax.policy.policy import load_policy
from tests.tiny_run import arguments, finish, metrics, start, wait_for_updates

pytestmark = pytest.mark.timeout(600)

UPDATES = 5
STEPS = 2 * 16
"""Policy steps of an update of both processes."""
HEARTBEAT = 8
NORM = ("--norm", "batch", "--target-kl", "1e9")

Processes = list[subprocess.Popen[str]]


def devices(count: int) -> dict[str, str]:
    """Environment of a process that has so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def start_two(args: list[str], *different: list[str]) -> Processes:
    """Two processes of two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = ["--distributed", "--coordinator", address, "--num-processes", "2"]
    flags += ["--heartbeat", str(HEARTBEAT)]
    more = different or ([], [])
    return [
        start([*args, *flags, "--process-id", str(i), *more[i]], **devices(2)) for i in range(2)
    ]


def finish_two(processes: Processes) -> list[str]:
    """What both have printed, but for what gloo tells of its connections."""
    outputs = [finish(process) for process in processes]
    return [re.sub(r"\[Gloo\].*\n", "", output) for output in outputs]


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> tuple[Path, Path]:
    """The folders of a run of one process with four devices, and of two with two each."""
    folder = tmp_path_factory.mktemp("spread")
    one, two = folder / "one", folder / "two"
    # Twice the races in the same number of steps: half as many updates, by --total-steps.
    process = start(arguments(one, 2 * UPDATES, *NORM, "--num-envs", "8"), **devices(4))
    assert finish(process) == ""
    pair = start_two(arguments(two, 2 * UPDATES, *NORM))
    assert finish_two(pair) == ["", ""]
    assert [process.returncode for process in pair] == [0, 0]
    return one, two


def test_two_processes_learn_what_one_does(spread):
    """Parameters and norm statistics to rounding, which Adam magnifies."""
    ours, theirs = (load_policy(run_dir).variables for run_dir in spread)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)
    assert "batch_stats" in ours


def test_two_processes_log_what_one_does(spread):
    one, two = (metrics(run_dir) for run_dir in spread)
    assert [line["step"] for line in two] == [STEPS * (n + 1) for n in range(UPDATES)]
    for ours, theirs in zip(one, two, strict=True):
        names = [name for name in ours if name.startswith("ppo/")]
        assert [ours[n] for n in names] == pytest.approx(
            [theirs[n] for n in names], rel=1e-3, abs=1e-4
        )


def test_a_stop_asked_of_one_process_is_heard_by_both(tmp_path):
    run_dir = tmp_path / "run"
    pair = start_two(arguments(run_dir, 100_000, "--checkpoint-steps", "999999"))
    wait_for_updates(pair[0], run_dir, 2)
    pair[1].send_signal(signal.SIGTERM)
    asked = time.monotonic()
    outputs = finish_two(pair)
    assert time.monotonic() - asked < 30
    assert [process.returncode for process in pair] == [0, 0], outputs
    saved = checkpoints.latest(run_dir / "checkpoints")
    assert saved.name == str(metrics(run_dir)[-1]["step"])


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_the_run_goes_on_later(tmp_path, lost):
    run_dir, shared = tmp_path / "run", set(os.listdir("/dev/shm"))
    args = arguments(run_dir, 100_000, "--checkpoint-steps", str(STEPS))
    pair = start_two(args)
    wait_for_updates(pair[0], run_dir, 3)
    pair[lost].kill()
    killed = time.monotonic()
    outputs = finish_two(pair)  # which also sees that no worker is left
    assert time.monotonic() - killed < 60
    assert pair[1 - lost].returncode == -signal.SIGABRT
    assert "another task died" in outputs[1 - lost]
    assert set(os.listdir("/dev/shm")) <= shared
    saved = int(checkpoints.latest(run_dir / "checkpoints").name)
    assert saved >= 2 * STEPS
    total = ["--total-steps", str(saved + 2 * STEPS)]
    pair = start_two(["--resume", "--run-dir", str(run_dir), *total])
    assert [process.returncode for process in pair if finish(process) is not None] == [0, 0]
    assert [line["step"] for line in metrics(run_dir)][-2:] == [saved + STEPS, saved + 2 * STEPS]


def test_workers_that_keep_dying_in_one_process_end_both_with_a_checkpoint(tmp_path):
    run_dir = tmp_path / "run"
    args = arguments(run_dir, 100_000, "--checkpoint-steps", "999999")
    pair = start_two(args, [], ["--workers", "process"])
    wait_for_updates(pair[0], run_dir, 2)
    kill_workers(pair[1])
    outputs = finish_two(pair)
    assert [process.returncode for process in pair] == [1, 1], outputs
    assert "another process of this run failed" in outputs[0]
    assert "lost 6 workers in a row" in outputs[1]
    assert checkpoints.latest(run_dir / "checkpoints").name == str(metrics(run_dir)[-1]["step"])


def kill_workers(process: subprocess.Popen[str]) -> None:
    """Kill whatever takes the place of a worker, until the process has had enough."""
    from tests.tiny_run import workers

    while process.poll() is None:
        for worker in workers(process):
            worker.kill()
        time.sleep(0.01)


def test_processes_with_different_options_are_refused(tmp_path):
    args = arguments(tmp_path / "run", 1)
    pair = start_two(args, [], ["--epochs", "2"])
    outputs = finish_two(pair)
    assert [process.returncode for process in pair] == [1, 1]
    assert all("have different options" in output for output in outputs)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "0"], "distributed ="),
        (["--distributed"], "run_dir = None"),
        (["--distributed", "--run-dir", "x", "--overlap"], "overlap = True"),
        (["--distributed", "--run-dir", "x", "--coordinator", "a:1"], "coordinator = 'a:1'"),
        (
            ["--distributed", "--coordinator", "a", "--num-processes", "2", "--process-id", "0"],
            "like HOST:12345",
        ),
        (
            ["--distributed", "--coordinator", "a:1", "--num-processes", "2", "--process-id", "2"],
            "process_id = 2",
        ),
    ],
)
def test_flags_that_make_no_cluster_are_refused(capsys, flags, named):
    with pytest.raises(SystemExit):
        parse_all(flags)
    assert named in " ".join(capsys.readouterr().err.replace("│", " ").split())
