"""Faults of real worker processes: each is named, survived and counted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from kart_jax.game import RaceConfig
from kart_jax.game.fake import FakeKartEnv
from kart_jax.workers.batch import StepBatch
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.errors import WorkerLostError, WorkersLostError
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.process import WorkerProcess
from kart_jax.workers.protocol import MemoryLayout
from tests.helpers.faults import make_broken, make_misbehaving, shared_memory

TRACKS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""More than environments, which so draw their tracks, and have spares."""
RACE = RaceConfig(simulator="fake", track=TRACKS, action_set="drive", stack=1)
SEED = 5
CAUSES = {
    "SIGKILL": "ended by SIGKILL",
    "SIGSEGV": "ended by SIGSEGV",
    "SIGSTOP": "no answer for",
    "raise": "exit status 1",
}


class StillBorn(subprocess.Popen[bytes]):
    """A process that has ended before anything is said to it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.wait()


def test_a_worker_that_dies_before_it_is_told_anything_is_lost_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subprocess, "Popen", StillBorn)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    layout, memory = MemoryLayout(1, (8, 8, 1), (2,), "<i8"), os.memfd_create("test")
    worker = WorkerProcess(make_broken, RACE, layout, memory, 0)
    with pytest.raises(WorkerLostError) as loss:
        worker.answer(10.0)
    assert "exit status 1" in str(loss.value)
    os.close(memory)


class Mirror:
    """The same races in this process: what every transition must be."""

    def __init__(self, envs: WorkerGroups) -> None:
        self.envs = envs
        self.races = [FakeKartEnv(RACE) for _ in range(envs.num_envs)]
        self.incarnations = [0] * envs.num_envs
        self.rng = np.random.default_rng(0)
        self.lost = self.steps = 0
        self.last = np.stack([self._begin(index) for index in range(envs.num_envs)])
        frames = np.concatenate([batch.frames for batch in envs.start()])
        np.testing.assert_array_equal(frames, self.last)

    def _begin(self, index: int) -> Any:
        seed = derive_seed(SEED, index, self.incarnations[index])
        return self.races[index].reset(seed=seed)[0][-1]

    def step(self) -> list[StepBatch]:
        """Step both, and compare everything."""
        batches = []
        for group in range(len(self.envs.groups)):
            actions = self.send(group)
            batches.append(self.receive(group, actions))
        return batches

    def send(self, group: int) -> Any:
        size = len(self.envs.groups[group])
        actions = np.stack([np.ones(size, int), self.rng.integers(3, size=size)], axis=1)
        self.envs.send(group, actions)
        return actions

    def receive(self, group: int, actions: Any) -> StepBatch:
        batch = self.envs.receive(group)
        for place, index in enumerate(self.envs.groups[group]):
            self._compare(batch, place, index, actions[place])
        return batch

    def _compare(self, batch: StepBatch, place: int, index: int, action: Any) -> None:
        flags = (bool(batch.terminated[place]), bool(batch.truncated[place]))
        if batch.lost[place]:
            self.lost += 1
            self.incarnations[index] += 1
            assert flags == (False, True)
            assert batch.first[place]
            assert batch.rewards[place] == 0
            np.testing.assert_array_equal(batch.final_frames[place], self.last[index])
            frame = self._begin(index)
        else:
            self.steps += 1
            frames, reward, terminated, truncated, _ = self.races[index].step(action)
            frame = frames[-1]
            assert batch.rewards[place] == np.float32(reward)
            assert flags == (terminated, truncated)
            assert batch.first[place] == (terminated or truncated)
            if terminated or truncated:
                np.testing.assert_array_equal(batch.final_frames[place], frame)
                frame = self.races[index].reset()[0][-1]
        np.testing.assert_array_equal(batch.frames[place], frame)
        self.last[index] = frame


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAULTS", str(tmp_path))
    monkeypatch.setenv("TRAINER", str(os.getpid()))
    return tmp_path


def pids(envs: WorkerGroups) -> list[int]:
    return [process.pid for process in envs._pool._processes]  # type: ignore[attr-defined]


def spare_pids(envs: WorkerGroups) -> list[int]:
    return [process.pid for process in envs._pool._spares]  # type: ignore[attr-defined]


def test_every_fault_in_step_and_reset(faults: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One worker is lost to each; the other's transitions go on as if nothing happened."""
    workers = WorkerConfig(num_envs=2, step_timeout=2.0, spares=0)
    with WorkerGroups(RACE, workers, SEED, make_misbehaving) as envs:
        mirror = Mirror(envs)
        for number, (command, fault) in enumerate(
            (command, fault) for command in ("step", "reset") for fault in CAUSES
        ):
            caplog.clear()
            (faults / f"{command}-{fault}").touch()
            for _ in range(1000):  # a reset comes at the end of an episode
                mirror.step()
                if mirror.lost > number:
                    break
            assert mirror.lost == envs.losses == number + 1
            (said,) = (record.getMessage() for record in caplog.records)
            assert "was lost in step" in said  # resets happen within steps
            assert any(f" on {track}" in said for track in TRACKS)
            assert CAUSES[fault] in said
            assert (f"ConnectionError: trouble in {command}" in said) == (fault == "raise")
            assert len(said) < 2500
        for _ in range(5):
            mirror.step()


@pytest.mark.parametrize("command", ["make", "reset"])
def test_every_fault_at_start(faults: Path, caplog: pytest.LogCaptureFixture, command: str) -> None:
    for fault in CAUSES:
        (faults / f"{command}-{fault}").touch()
    workers = WorkerConfig(num_envs=2, start_timeout=8.0, spares=0, max_losses=4)
    with WorkerGroups(RACE, workers, SEED, make_misbehaving) as envs:
        (batch, other) = envs.start()
        assert batch.first.all()
        assert other.first.all()
        assert envs.losses == 4
        said = [record.getMessage() for record in caplog.records]
        assert all("in reset at start-up" in line for line in said)
        assert all(any(cause in line for line in said) for cause in CAUSES.values())
        for group in range(2):
            envs.send(group, np.ones((1, 2), int))
            assert not envs.receive(group).lost.any()


def test_all_workers_at_once_while_idle_and_while_stepping() -> None:
    with WorkerGroups(RACE, WorkerConfig(num_envs=3, groups=1), SEED) as envs:
        mirror = Mirror(envs)
        mirror.step()
        for pid in pids(envs):
            os.kill(pid, signal.SIGKILL)
        assert all(batch.lost.all() for batch in mirror.step())
        assert not any(batch.lost.any() for batch in mirror.step())
        for pid in pids(envs):
            os.kill(pid, signal.SIGSTOP)
        actions = mirror.send(0)
        for pid in pids(envs):
            os.kill(pid, signal.SIGKILL)
        assert mirror.receive(0, actions).lost.all()
        assert not any(batch.lost.any() for batch in mirror.step())


def test_spares_take_over_and_are_themselves_replaced() -> None:
    """Losses in turn, two at once of which one finds a spare, and a spare that has died."""
    with WorkerGroups(RACE, WorkerConfig(num_envs=3, groups=1), SEED) as envs:
        mirror = Mirror(envs)
        for victims in ([0], [0], [1, 2]):
            spare = spare_pids(envs)
            for victim in victims:
                os.kill(pids(envs)[victim], signal.SIGKILL)
            (batch,) = mirror.step()
            assert np.flatnonzero(batch.lost).tolist() == victims
            assert [pids(envs)[victims[0]]] == spare
            assert len(spare_pids(envs)) == 1
        (dead,) = spare_pids(envs)
        os.kill(dead, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(dead)], timeout=10)
        os.kill(pids(envs)[2], signal.SIGKILL)
        (batch,) = mirror.step()
        assert batch.lost.sum() == 1
        assert dead not in pids(envs)
        mirror.step()
        assert mirror.lost == envs.losses == 5


def test_a_worker_lost_while_states_are_saved() -> None:
    with WorkerGroups(RACE, WorkerConfig(num_envs=2), SEED) as envs:
        mirror = Mirror(envs)
        os.kill(pids(envs)[1], signal.SIGKILL)
        states = envs.get_states()
        assert states[0] is not None
        assert states[1] is None
        assert [bool(batch.lost[0]) for batch in mirror.step()] == [False, True]
        envs.set_states(states)


@pytest.mark.timeout(600)  # two hundred processes start
def test_two_hundred_kills_lose_and_repeat_no_transition() -> None:
    """At random moments, also in the middle of a step and of a start."""
    workers = WorkerConfig(num_envs=8, groups=2)
    with WorkerGroups(RACE, workers, SEED) as envs:
        mirror = Mirror(envs)
        rng = np.random.default_rng(1)
        kills = 0
        while kills < 200:
            for _ in range(rng.integers(1, 6)):
                mirror.step()
            group = int(rng.integers(2))
            actions = mirror.send(group)
            time.sleep(rng.uniform(0, 0.0005))
            chosen = rng.choice(envs.groups[group], size=min(4, 200 - kills), replace=False)
            for index in chosen:
                os.kill(pids(envs)[index], signal.SIGKILL)
                kills += 1
            mirror.receive(group, actions)
        mirror.step()
        assert mirror.lost == envs.losses == 200
        assert mirror.steps > 1000


def test_hopeless_workers_stop_the_run(faults: Path) -> None:
    before = children()
    envs = WorkerGroups(RACE, WorkerConfig(num_envs=2, max_losses=2), SEED, make_broken)
    with envs, pytest.raises(WorkersLostError, match="max_losses = 2") as raised:
        envs.start()
    assert "RuntimeError: this machine is cursed" in str(raised.value)
    assert [loss.cause for loss in raised.value.losses] == ["exit status 1"] * 3
    assert children() <= before


def test_closing_ends_workers_that_hang_and_ignore_sigterm(faults: Path) -> None:
    workers = WorkerConfig(num_envs=3, groups=1, spares=0)
    envs = WorkerGroups(RACE, workers, SEED, make_misbehaving)
    envs.start()
    processes = [psutil.Process(pid) for pid in pids(envs)]
    for number in range(3):
        (faults / f"step-deaf-{number}").touch()
    envs.send(0, np.ones((3, 2), int))
    deadline = time.monotonic() + 10
    while list(faults.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    for process in processes:
        process.terminate()
    assert not psutil.wait_procs(processes, timeout=0.5)[0]
    closing = time.monotonic()
    envs.close()
    assert time.monotonic() - closing < 5
    assert not any(process.is_running() for process in processes)


TRAINER = """
import os, signal, sys, time, numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # the background ignores it
from kart_jax.game import RaceConfig
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.groups import WorkerGroups
from tests.helpers.faults import make_misbehaving
os.environ["TRAINER"] = str(os.getpid())
race = RaceConfig(simulator="fake", action_set="drive")
envs = WorkerGroups(race, WorkerConfig(num_envs=3, groups=1), 0, make_misbehaving)
envs.start()
open(os.path.join(os.environ["FAULTS"], "step-sleep"), "w").close()
print(*(process.pid for process in envs._pool._processes), flush=True)
envs.send(0, np.ones((3, 2), int))
envs.receive(0)
"""


@pytest.mark.parametrize("fatal", [signal.SIGKILL, signal.SIGABRT, signal.SIGINT])
def test_nothing_outlives_the_trainer(faults: Path, fatal: signal.Signals) -> None:
    """Not even a worker that hangs in a step, nor one that is stopped."""
    before = shared_memory()
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with trainer:
        assert trainer.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in trainer.stdout.readline().split()]
        assert len(workers) == 3
        time.sleep(0.5)
        workers[0].suspend()
        trainer.send_signal(fatal)
        trainer.wait(20)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    assert shared_memory() <= before


def test_a_full_shared_memory_folder_does_not_matter(faults: Path) -> None:
    """A container's /dev/shm can be tiny: the frames do not lie there."""
    tiny = "mount -t tmpfs -o size=4k none /dev/shm && head -c 4096 /dev/zero > /dev/shm/full"
    isolate = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*isolate, tiny], capture_output=True).returncode != 0:
        pytest.skip("this machine does not let a test mount a small /dev/shm")
    program = TRAINER.replace("step-sleep", "none")
    command = f'{tiny} && exec "$0" -c "$1"'
    subprocess.run([*isolate, command, sys.executable, program], check=True, timeout=60)


@pytest.mark.real_game
def test_the_real_game_is_replaced() -> None:
    before = children()
    race = RaceConfig(action_set="drive", stack=2)
    workers = WorkerConfig(num_envs=2, step_timeout=20.0)
    with WorkerGroups(race, workers, SEED) as envs:
        envs.start()
        for fatal in (signal.SIGSEGV, None):
            if fatal is not None:
                os.kill(pids(envs)[0], fatal)
            for group, expected in enumerate([fatal is not None, False]):
                envs.send(group, np.ones((1, 2), int))
                batch = envs.receive(group)
                assert batch.lost[0] == batch.first[0] == batch.truncated[0] == expected
                assert batch.frames.std() > 5
        assert envs.losses == 1
    assert children() <= before


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
