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
import psutil
import pytest
from jax._src import distributed

from kart_jax.cli.command import UNFINISHED
from kart_jax.cli.options import parse_all
from kart_jax.config import ClusterConfig, TrainConfig
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.loading import load_policy
from kart_jax.training import processes
from kart_jax.training.processes import (
    DONE,
    FAILED,
    STOPPED,
    PeerFailedError,
    Processes,
    join,
)
from kart_jax.training.signals import Interrupted
from tests.helpers.tiny_run import arguments, finish, metrics, start, wait_for_updates

pytestmark = pytest.mark.timeout(600)

UPDATES = 5
STEPS = 2 * 16
"""Policy steps of an update of both processes."""
HEARTBEAT = 6
NORM = ("--norm", "batch", "--target-kl", "1e9")

Pair = list[subprocess.Popen[str]]


def devices(count: int) -> dict[str, str]:
    """Environment of a process that has so many virtual devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def start_two(args: list[str]) -> Pair:
    """Two processes of two devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = ["--distributed", "--coordinator", address, "--num-processes", "2"]
    flags += ["--heartbeat", str(HEARTBEAT)]
    return [start([*args, *flags, "--process-id", str(i)], **devices(2)) for i in range(2)]


def finish_two(processes: Pair) -> list[str]:
    """What both have printed, but for what gloo tells of its connections."""
    outputs = [finish(process) for process in processes]
    # Of several threads, whose lines and their ends may come in any order.
    return [re.sub(r"\[Gloo\].*\n+", "", output) for output in outputs]


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


def test_the_first_process_imitates_and_both_go_on_with_its_policy(tmp_path):
    run_dir = tmp_path / "run"
    flags = ["--imitation-steps", "64", "--imitation-rounds", "2", "--imitation-batch", "16"]
    pair = start_two(arguments(run_dir, 2, *flags, "--learning-rate", "1e-9"))
    outputs = finish_two(pair)
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert len((run_dir / "imitation.jsonl").read_text().splitlines()) == 2
    paths = (run_dir / "imitated", run_dir)
    imitated, trained = (load_policy(path).variables["params"] for path in paths)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), imitated, trained)


def test_both_processes_end_whatever_happens_to_one_and_the_run_goes_on(tmp_path):
    """One is asked to stop, then the first is killed, then the other; each time all resume."""
    run_dir = tmp_path / "run"
    resume = ["--resume", "--run-dir", str(run_dir)]
    pair = start_two(arguments(run_dir, 100_000, "--checkpoint-steps", "999999"))
    wait_for_updates(pair[0], run_dir, 2)
    pair[1].send_signal(signal.SIGTERM)
    outputs = finish_two(pair)
    assert [process.returncode for process in pair] == [UNFINISHED, UNFINISHED], outputs
    assert newest(run_dir) == last_logged(run_dir) >= 2 * STEPS

    for lost in (0, 1):
        before = newest(run_dir)
        pair = start_two([*resume, "--checkpoint-steps", str(STEPS)])
        wait_for_updates(pair[0], run_dir, before // STEPS + 3)
        assert_no_named_memory([psutil.Process(p.pid) for p in pair])
        pair[lost].kill()
        killed = time.monotonic()
        outputs = finish_two(pair)  # which also sees that no worker is left
        assert time.monotonic() - killed < 60
        assert pair[1 - lost].returncode == -signal.SIGABRT
        assert re.search("another task died|leader task", outputs[1 - lost])
        assert newest(run_dir) >= before + STEPS

    before = newest(run_dir)
    pair = start_two([*resume, "--total-steps", str(before + 2 * STEPS)])
    outputs = finish_two(pair)
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert newest(run_dir) == before + 2 * STEPS
    assert [line["step"] for line in metrics(run_dir)] == list(
        range(STEPS, before + 2 * STEPS + 1, STEPS)
    )


def test_a_stop_is_passed_on_by_a_process_that_waits_for_the_first(tmp_path):
    """The first one imitates for long, so the other must not sit in a device's collective."""
    run_dir = tmp_path / "run"
    flags = ["--imitation-steps", "1000000", "--imitation-rounds", "2"]
    pair = start_two(arguments(run_dir, 2, *flags))
    deadline = time.monotonic() + 240
    while not (run_dir / "imitation.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pair[1].send_signal(signal.SIGTERM)
    outputs = finish_two(pair)
    assert [process.returncode for process in pair] == [UNFINISHED, UNFINISHED], outputs


def newest(run_dir: Path) -> int:
    """Steps of the newest checkpoint."""
    return int(checkpoints.latest(run_dir / "checkpoints").name)


def last_logged(run_dir: Path) -> int:
    return int(metrics(run_dir)[-1]["step"])


def assert_no_named_memory(processes: list[psutil.Process]) -> None:
    """Nothing that these and their workers share has a name that could be left behind."""
    for process in [p for parent in processes for p in (parent, *parent.children())]:
        maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        named = [line for line in maps if "/dev/shm" in line and not line.endswith("(deleted)")]
        assert named == []


class Peers:
    """Stands in for `Devices`: what the others report is given beforehand."""

    processes, count = 2, 2

    def __init__(self, *others: int) -> None:
        self.others = list(others)

    def all_reduce_max(self, value: int) -> int:
        return max(value, self.others.pop(0))


def fail() -> None:
    raise OSError("broken")


def stop() -> None:
    raise Interrupted


@pytest.mark.parametrize(
    ("work", "other", "raised"),
    [
        (fail, DONE, OSError),
        (fail, FAILED, OSError),
        (stop, DONE, Interrupted),
        (stop, FAILED, PeerFailedError),
        (list, STOPPED, Interrupted),
        (list, FAILED, PeerFailedError),
    ],
)
def test_what_ends_one_process_ends_all(work, other, raised):
    peers = Peers(other)
    with pytest.raises(raised):
        Processes(peers).together(work)
    assert peers.others == []  # it did not leave before the others knew


class Store:
    """Stands in for the processes' key-value store."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.waited = 0

    def key_value_set(self, key: str, value: str) -> None:
        self.keys.append(key)

    def blocking_key_value_get(self, key: str, milliseconds: int) -> str:
        self.waited += 1
        if self.waited < 3:
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: not yet")
        if key not in self.keys:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE: the first is gone")
        return ""


def member(index: int, store: Store, *others: int) -> Processes:
    processes = Processes(Peers(*others))
    processes.index, processes._client = index, store
    return processes


def test_others_wait_for_the_first_before_they_enter_a_collective():
    store = Store()
    first, other = member(0, store, DONE, FAILED), member(1, store, DONE, FAILED)
    assert first.in_first(lambda: 7) == 7
    assert other.in_first(fail) is None
    assert store.waited == 3
    with pytest.raises(OSError, match="broken"):
        first.in_first(fail)
    with pytest.raises(PeerFailedError):
        other.in_first(list)
    assert len(store.keys) == 2
    with pytest.raises(jax.errors.JaxRuntimeError, match="gone"):
        member(1, Store(), FAILED).in_first(list)


def test_work_that_was_done_everywhere_is_done():
    assert Processes(Peers(DONE)).together(lambda: 7) == 7
    assert Processes(Peers(1)).any(False)
    assert not Processes(Peers(0)).any(False)


def test_processes_with_different_options_are_refused():
    config = TrainConfig()
    code = -(2**31) + 1  # less than any
    Processes(Peers(code, code, code, code)).check_same(config)
    with pytest.raises(ValueError, match="different options"):
        Processes(Peers(2**31 - 1, code)).check_same(config)
    with pytest.raises(ValueError, match="different numbers of devices"):
        Processes(Peers(code, code, 4, code)).check_same(config)


def test_a_process_listens_where_it_reaches_the_coordinator(monkeypatch):
    """Whatever its machine's name resolves to, if to anything."""
    joined = {}
    monkeypatch.setattr(jax.config, "update", joined.__setitem__)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **options: joined.update(options))
    monkeypatch.setattr(distributed.global_state, "coordinator_address", "127.0.0.1:12355")
    monkeypatch.setattr(processes._jax, "make_gloo_tcp_collectives", lambda **options: options)
    join(ClusterConfig(heartbeat=7))
    assert joined["heartbeat_timeout_seconds"] == 7
    assert processes._jax.make_gloo_tcp_collectives() == {"hostname": "127.0.0.1"}


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
