"""What training refuses before anything is started."""

import fcntl

import pytest

from tests.helpers.tiny_run import (
    STEPS_PER_UPDATE,
    UPDATES,
    arguments,
    run,
)

pytestmark = pytest.mark.timeout(900)  # many processes, on a machine that may be busy


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
