"""Whole training runs on the fake game: interrupted, damaged, refused, and gone on with."""

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest

from kart_jax import train
from kart_jax.cli.command import UNFINISHED
from kart_jax.cli.options import parse
from kart_jax.run_folder import checkpoints
from kart_jax.run_folder.loading import load_policy
from kart_jax.training.learner import Learner, Update
from tests.helpers.faults import make_paid, make_short, make_unlearnable, shared_memory
from tests.helpers.tiny_run import (
    STEPS_PER_UPDATE,
    arguments,
    assert_same_run,
    finish,
    metrics,
    random_moments,
    start,
    wait_for_updates,
    workers,
)

pytestmark = pytest.mark.timeout(900)  # many processes, on a machine that may be busy

UPDATES = 24
SERIAL = ("--workers", "serial")
SAVE_OFTEN = ("--checkpoint-steps", str(4 * STEPS_PER_UPDATE))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The folder of a run that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(arguments(run_dir, UPDATES, *SAVE_OFTEN))
    assert finish(process) == ""
    assert process.returncode == 0
    return run_dir


def resume(run_dir: Path) -> None:
    """Go on in this process, which knows nothing of the one that was stopped."""
    assert train.main(["--resume", "--run-dir", str(run_dir), *SERIAL]) == 0


def test_the_log_has_every_update_once(undisturbed):
    lines = metrics(undisturbed)
    assert [line["step"] for line in lines] == [STEPS_PER_UPDATE * (n + 1) for n in range(UPDATES)]
    rates = [line["ppo/learning_rate"] for line in lines]
    np.testing.assert_allclose(rates, 1e-3 * (1 - np.arange(UPDATES) / UPDATES), rtol=1e-5)
    named = {name.partition("/")[0] for name in lines[-1]}
    assert {"ppo", "episode", "workers", "step"} <= named
    wanted = ("policy_loss", "value_loss", "loss", "entropy", "kl", "kl_k1", "clip_fraction")
    wanted += ("explained_variance", "grad_norm")
    assert all(np.isfinite(lines[-1][f"ppo/{name}"]) for name in wanted)
    # A frame and whether it is a first one, for each step and once more at the end; 6 of outcomes.
    assert lines[0]["data/bytes_per_step"] == (8 * 10 + 1) * 5 / 4 + 6


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


# What follows runs in this process: it needs no signals.


def run(capsys, *args: str) -> tuple[int, str]:
    """Train in this process; the exit status and what was written to stderr, unwrapped."""
    try:
        status = train.main([*args])
    except SystemExit as leave:  # the command line itself was wrong
        status = 1 if leave.code else 0
    return status, " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_damaged_checkpoints_are_passed_over(undisturbed, tmp_path, capsys, caplog):
    run_dir = shutil.copytree(undisturbed, tmp_path / "run")
    newest, second, third = sorted((run_dir / "checkpoints").iterdir(), key=_step, reverse=True)
    victim = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    shutil.rmtree(second / "policy")
    assert run(capsys, "--resume", "--run-dir", str(run_dir), *SERIAL) == (0, "")
    skipped = [r.message for r in caplog.records if ": skipped" in r.message]
    assert {newest.name, second.name} == {Path(m.split()[0]).name for m in skipped}
    assert third.exists() or len(list((run_dir / "checkpoints").iterdir())) == 3
    assert_same_run(run_dir, undisturbed)


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(undisturbed, tmp_path / "run")
    for policy in run_dir.glob("checkpoints/*/policy"):
        shutil.rmtree(policy)
    status, err = run(capsys, "--resume", "--run-dir", str(run_dir))
    assert status == 1
    assert "holds no whole checkpoint" in err
    assert metrics(run_dir) == metrics(undisturbed)


def _step(path: Path) -> int:
    return int(path.name) if path.name.isdecimal() else -1


def test_a_longer_run_goes_on_from_the_end(undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(undisturbed, tmp_path / "run")
    total = str((UPDATES + 2) * STEPS_PER_UPDATE - 1)  # rounded up to whole rollouts
    more = ("--total-steps", total, *SERIAL)
    assert run(capsys, "--resume", "--run-dir", str(run_dir), *more) == (0, "")
    steps = [line["step"] for line in metrics(run_dir)]
    assert steps == [STEPS_PER_UPDATE * (n + 1) for n in range(UPDATES + 2)]


def test_another_number_of_environments_may_go_on(undisturbed, tmp_path, capsys):
    run_dir = shutil.copytree(undisturbed, tmp_path / "run")
    more = ("--num-envs", "2", "--total-steps", str(UPDATES * STEPS_PER_UPDATE + 16), *SERIAL)
    assert run(capsys, "--resume", "--run-dir", str(run_dir), *more) == (0, "")
    expected = [UPDATES * STEPS_PER_UPDATE + 8 * n for n in (1, 2)]
    assert [line["step"] for line in metrics(run_dir)][-2:] == expected


def assert_same_params(run_dir: Path, other: Path) -> None:
    """All but norm statistics, which a learning rate of nearly 0 does not hold."""
    ours, theirs = (load_policy(folder).variables["params"] for folder in (run_dir, other))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), ours, theirs)


def test_init_from_takes_the_policy_and_nothing_else(undisturbed, tmp_path, capsys):
    args = arguments(tmp_path / "run", 1, "--init-from", str(undisturbed))
    args += ["--learning-rate", "1e-12", *SERIAL]
    assert run(capsys, *args) == (0, "")
    assert_same_params(tmp_path / "run", undisturbed)
    assert [line["step"] for line in metrics(tmp_path / "run")] == [STEPS_PER_UPDATE]


def test_init_from_keeps_what_the_norms_have_learnt(tmp_path, capsys):
    """An update moves them by a tenth towards those of its own frames."""
    norm = ("--norm", "batch", "--normalise-frames", *SERIAL)
    assert run(capsys, *arguments(tmp_path / "one", 4, *norm)) == (0, "")
    slow = ("--learning-rate", "1e-12", "--init-from", str(tmp_path / "one"))
    assert run(capsys, *arguments(tmp_path / "two", 1, *norm, *slow)) == (0, "")
    before, after = (
        {
            jax.tree_util.keystr(path): x
            for path, x in jax.tree.leaves_with_path(load_policy(tmp_path / name).variables)
            if path[-1].key == "var"
        }
        for name in ("one", "two")
    )
    assert before.keys() == after.keys() != set()
    assert any((before[name] != after[name]).any() for name in before)
    for name in before:  # no variance is negative, so that nine tenths are left at least
        assert (after[name] >= 0.9 * before[name] - 1e-6).all(), name


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "stopped before its first save"])
def test_a_run_begun_with_a_policy_goes_on(undisturbed, tmp_path, capsys, saved):
    run_dir, slow = tmp_path / "run", ("--learning-rate", "1e-12", *SERIAL)
    args = arguments(run_dir, 1, "--init-from", str(undisturbed), *slow)
    assert run(capsys, *args) == (0, "")
    if not saved:
        shutil.rmtree(run_dir / "checkpoints")
    more = ("--total-steps", str(2 * STEPS_PER_UPDATE))
    assert run(capsys, "--resume", "--run-dir", str(run_dir), *more) == (0, "")
    assert_same_params(run_dir, undisturbed)
    assert [line["step"] for line in metrics(run_dir)] == [16, 32]


def test_overlap_learns_one_update_behind(tmp_path, capsys, monkeypatch):
    """The second rollout is by the policy that collected the first: its update is under way."""
    acted, learnt = [], []
    actor, finish = Learner.actor, Update.finish

    def fingerprint(learner):
        params = learner.save_state()[0]["params"]
        return np.concatenate([x.ravel() for x in jax.tree.leaves(params)]).tobytes()

    def watch_actor(self, *arguments, **named):
        made = actor(self, *arguments, **named)
        acted.append((fingerprint(self), np.array(jax.device_get(made.key)).tobytes()))
        return made

    def watch_finish(self, check):
        figures = finish(self, check)
        learnt.append(fingerprint(self._learner))
        return figures

    monkeypatch.setattr(Learner, "actor", watch_actor)
    monkeypatch.setattr(Update, "finish", watch_finish)
    args = arguments(tmp_path / "run", 6, "--overlap", *SERIAL)
    assert run(capsys, *args) == (0, "")
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [STEPS_PER_UPDATE * (n + 1) for n in range(6)]
    assert {line["ppo/policy_lag"] for line in lines} == {1.0}
    assert {line["ppo/gradient_steps"] for line in lines} == {2.0}
    assert lines[0]["ppo/kl"] < 1e-5  # the first rollout is learnt by the policy that acted
    policies, keys = zip(*acted, strict=True)
    assert len(set(learnt)) == len(set(keys)) == 6
    assert policies == (policies[0], policies[0], *learnt[:4])


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--observation", "state", "--actor", "state", "--critic", "state"), {"actor", "critic"}),
        (("--observation", "both", "--critic", "state"), {"stem", "logits", "critic"}),
    ],
    ids=["the state alone", "a privileged critic"],
)
def test_a_run_on_the_state_resumes_exactly_and_drives(flags, parts, tmp_path, capsys):
    plain = [flag for flag in arguments(tmp_path / "run", 4) if flag != "--normalise-frames"]
    shift = plain.index("--random-shift")
    args = [*plain[:shift], *plain[shift + 2 :], *flags, "--hidden", "8", *SERIAL]
    assert run(capsys, *args) == (0, "")
    half = [str(tmp_path / "half") if arg == str(tmp_path / "run") else arg for arg in args]
    half[half.index("--total-steps") + 1] = str(2 * STEPS_PER_UPDATE)
    whole = ("--total-steps", str(4 * STEPS_PER_UPDATE))
    assert run(capsys, *half, "--learning-rate-schedule", "constant") == (0, "")
    assert run(capsys, "--resume", "--run-dir", str(tmp_path / "half"), *whole) == (0, "")
    policy = load_policy(tmp_path / "run")
    assert parts <= policy.variables["params"].keys()
    seen = policy.spec.example()[policy.spec.network.actor]
    assert policy.act(seen).shape == (1, 2)
    assert policy.act(seen[0]).shape == (2,)
    if policy.has_value:
        assert policy.value(seen).shape == (1,)
    else:
        with pytest.raises(ValueError, match="the critic of this policy sees the state"):
            policy.value(seen)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, capsys):
    run_dir = tmp_path / "run"
    args = arguments(run_dir, 9, "--learning-rate", "1e38", *SERIAL)
    status, err = run(capsys, *args)
    assert status == 1
    assert "is not finite" in err
    statistics = json.loads((run_dir / "non_finite_batch.json").read_text())
    assert set(statistics["batch"]) >= {"advantages", "returns", "values", "log_probs"}
    assert statistics["batch"]["advantages"]["not_finite"] == 0
    assert not checkpoints.steps(run_dir / "checkpoints")  # none with the spoilt parameters


def test_a_save_that_fails_is_tried_again(tmp_path, capsys, caplog, monkeypatch):
    write, failed = checkpoints.Checkpoints._write, []

    def full_once(self, checkpoint, target):
        if not failed:
            failed.append(checkpoint.step)
            raise OSError(28, "No space left on device")
        write(self, checkpoint, target)

    monkeypatch.setattr(checkpoints.Checkpoints, "_write", full_once)
    args = arguments(tmp_path / "run", 12, *SAVE_OFTEN, *SERIAL)
    assert run(capsys, *args) == (0, "")
    assert failed == [4 * STEPS_PER_UPDATE]
    assert "No space left on device" in caplog.text
    assert checkpoints.steps(tmp_path / "run" / "checkpoints") == [128, 192]


@pytest.fixture
def no_process(monkeypatch):
    """Fails a test that starts a process."""

    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", refuse)


@pytest.mark.usefixtures("no_process")
class TestRefusals:
    """Each is told before anything is started or written."""

    def test_a_folder_that_exists(self, undisturbed, capsys):
        status, err = run(capsys, *arguments(undisturbed, 1))
        assert status == 1
        assert "exists already" in err
        assert "--resume" in err

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (("--channels", "3"), "channels (2 -> 3)"),
            (("--norm", "group"), "norm (none -> group)"),
            (("--height", "9"), "height (8 -> 9)"),
            (("--depth",), "depth (False -> True)"),
            (("--action-set", "full"), "action_set (drive -> full)"),
            (("--seed", "5"), "seed (0 -> 5)"),
            (("--track", "two"), "track (('lighthouse',) -> ('two',))"),
            (("--reward", "original"), "reward (progress -> original)"),
            (("--reward-weights", "time", "-1"), "reward_weights (() -> (('time', -1.0),))"),
            (("--discount", "0.9"), "discount (0.99 -> 0.9)"),
            (("--no-normalise-rewards",), "normalise_rewards (True -> False)"),
            (("--init-from", "elsewhere"), "init_from (None -> elsewhere)"),
        ],
    )
    def test_a_resume_that_changes_what_parameters_mean(self, undisturbed, capsys, change, named):
        status, err = run(capsys, "--resume", "--run-dir", str(undisturbed), *change)
        assert status == 1
        assert named in err

    def test_a_policy_of_another_shape(self, undisturbed, tmp_path, capsys):
        args = arguments(tmp_path / "run", 1, "--init-from", str(undisturbed), "--channels", "3")
        status, err = run(capsys, *args)
        assert status == 1
        assert "another shape" in err
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("values", "named"),
        [
            (("--minibatches", "3"), "minibatches = 3"),
            (("--microbatch", "0"), "microbatch = 0"),
            (("--num-envs", "3", "--groups", "2"), "groups = 2"),
            (("--clip-range", "0"), "clip_range = 0.0"),
            (("--learning-rate", "nan"), "learning_rate = nan"),
            (("--total-steps", "0"), "total_steps = 0"),
            (("--init-from", "/nowhere"), "does not exist"),
            (("--resume",), "does not exist"),
            (("--layout", "hwc"), "layout = 'hwc'"),
            (("--observation", "state"), "observation = 'state'"),
            (("--observation", "state", "--actor", "state"), "critic = 'frames'"),
        ],
    )
    def test_values_that_cannot_be(self, tmp_path, capsys, values, named):
        status, err = run(capsys, *arguments(tmp_path / "run", 1), *values)
        assert status == 1
        assert named in err
        assert not (tmp_path / "run").exists()

    def test_a_run_that_is_being_written(self, undisturbed, capsys):
        with (undisturbed / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            more = ("--total-steps", str((UPDATES + 1) * STEPS_PER_UPDATE))
            status, err = run(capsys, "--resume", "--run-dir", str(undisturbed), *more)
        assert status == 1
        assert "being written by another process" in err


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


def test_a_thread_can_train(tmp_path):
    config = parse(arguments(tmp_path / "run", 2))
    ended = []
    thread = threading.Thread(target=lambda: ended.append(train.run(config)))
    thread.start()
    thread.join()
    assert ended == [0]
    assert len(metrics(tmp_path / "run")) == 2


def test_a_run_with_no_steps_left_says_so_and_starts_nothing(
    undisturbed, tmp_path, capsys, monkeypatch
):
    run_dir = shutil.copytree(undisturbed, tmp_path / "a run")
    monkeypatch.setattr("subprocess.Popen", None)
    assert train.main(["--resume", "--run-dir", str(run_dir)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Nothing is left to do: ")
    assert f"--run-dir '{run_dir}' --total-steps {2 * UPDATES * STEPS_PER_UPDATE}" in out
    assert metrics(run_dir) == metrics(undisturbed)


def test_the_end_shows_a_race_and_what_to_type(undisturbed, tmp_path, capsys):
    """In this process: an accelerator may have no memory for another."""
    args = [a for a in arguments(tmp_path / "my run", 1, *SERIAL) if a != "--quiet"]
    assert train.main(args) == 0
    out = capsys.readouterr().out
    assert re.search(r"One greedy episode .*:\nlighthouse: \d+ m \(\d+%\), ", out)
    assert re.search(r"set up +(?!0\.0 )\d+\.\d s", out)
    assert f"-m kart_jax.play '{tmp_path}/my run' --episodes 10\n      races on" in out
    assert f"-m kart_jax.report '{tmp_path}/my run'\n" in out


def train_on(make, run_dir: Path, updates: int, *more: str) -> int:
    return train.run(parse(arguments(run_dir, updates, *SERIAL, *more)), make)


def test_returns_are_those_that_the_trainer_gets(tmp_path):
    """With a wrapper that pays ten for each step."""
    assert train_on(make_paid, tmp_path / "run", 24, "--time-limit", "1") == 0
    last = metrics(tmp_path / "run")[-1]
    assert last["episode/return"] == pytest.approx(10 * last["episode/length"])
    assert last["episode/length"] == 10
    assert last["episode/progress_m"] > 0


def test_episodes_that_a_wrapper_ends_are_logged(tmp_path):
    assert train_on(make_short, tmp_path / "run", 6) == 0
    last = metrics(tmp_path / "run")[-1]
    assert last["episode/length"] == 5
    assert "episode/progress_m" not in last


def test_a_reward_that_is_no_number_is_named_and_what_was_learnt_is_saved(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"environment 0 returned the reward nan: its reward, or"
    ):
        train_on(make_unlearnable, tmp_path / "run", 24)
    assert checkpoints.steps(tmp_path / "run" / "checkpoints") == [5 * STEPS_PER_UPDATE]
    assert len(metrics(tmp_path / "run")) == 5
