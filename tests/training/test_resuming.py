"""Training runs that go on from another: damaged, longer, resumed, or begun with its policy."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from kart_jax import train
from kart_jax.run_folder.loading import load_policy
from tests.helpers.tiny_run import (
    SERIAL,
    STEPS_PER_UPDATE,
    UPDATES,
    arguments,
    assert_same_run,
    metrics,
    run,
)

pytestmark = pytest.mark.timeout(900)  # many processes, on a machine that may be busy


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
