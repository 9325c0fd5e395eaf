"""Whole training runs on the fake game: what they learn from, log, save and say."""

import json
import re
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from kart_jax import train
from kart_jax.cli.options import parse
from kart_jax.run_folder import checkpoints
from kart_jax.training.learner import Learner, Update
from tests.helpers.faults import make_paid, make_short, make_unlearnable
from tests.helpers.tiny_run import (
    SAVE_OFTEN,
    SERIAL,
    STEPS_PER_UPDATE,
    UPDATES,
    arguments,
    metrics,
    run,
)

pytestmark = pytest.mark.timeout(900)  # many processes, on a machine that may be busy


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


def test_a_thread_can_train(tmp_path):
    config = parse(arguments(tmp_path / "run", 2))
    ended = []
    thread = threading.Thread(target=lambda: ended.append(train.run(config)))
    thread.start()
    thread.join()
    assert ended == [0]
    assert len(metrics(tmp_path / "run")) == 2


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
