"""The stage before PPO on the fake game: what it makes, logs, refuses, and hands on."""

import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from kart_jax import imitate, train
from kart_jax.cli.command import UNFINISHED
from kart_jax.cli.options import parse
from kart_jax.evaluation.trials import make_trial, run_trials
from kart_jax.game import RaceConfig
from kart_jax.imitation import stage
from kart_jax.imitation.cloning import Cloner
from kart_jax.imitation.demonstrations import Demonstration
from kart_jax.imitation.rounds import Rounds
from kart_jax.run_folder.checkpoints import CheckpointError
from kart_jax.run_folder.folder import IMITATED
from kart_jax.run_folder.loading import find_folder, load_policy
from kart_jax.run_folder.source import policy_spec

FLAGS = [
    *("--simulator", "fake", "--track", "bends", "--height", "12", "--width", "16"),
    *("--stack", "3", "--channels", "8", "--blocks", "0", "0", "--stem-stride", "1", "2", "2"),
    *("--middle-stride", "1", "1", "1", "--actor-channels", "4", "--head-channels", "2"),
    *("--num-envs", "4", "--workers", "serial", "--random-start", "0", "--imitation-steps", "2000"),
    *("--imitation-rounds", "4", "--imitation-batch", "32", "--microbatch", "32"),
    *("--imitation-rate", "3e-3", "--imitation-passes", "8", "--teacher", "guide"),
    *("--critic-steps", "0", "--action-set", "race"),
    *("--observation", "frames", "--critic", "frames", "--colour", "grey"),
]


@pytest.fixture(scope="module")
def imitated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("imitated") / "run"
    assert imitate.main([*FLAGS, "--run-dir", str(run_dir), "--quiet"]) == 0
    return run_dir


def test_it_finishes_races_that_straight_on_does_not(imitated: Path) -> None:
    policy = load_policy(imitated / IMITATED)
    race = RaceConfig(**policy.race)
    finished = {}
    for driver in ("policy", "straight"):
        trials = [make_trial(driver, "bends", seed, 2, 1) for seed in range(6)]
        results = run_trials(race, trials, policy.act, 1)
        finished[driver] = np.mean([result.episode["finished"] for result in results])
    assert finished["policy"] >= 0.8
    assert finished["straight"] == 0.0


def test_every_round_is_logged(imitated: Path) -> None:
    lines = [json.loads(x) for x in (imitated / stage.LOG).read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["guided"] == 1.0
    assert lines[0]["finish_rate"] == 1.0
    assert lines[-1]["guided"] == 0.0
    assert lines[-1]["same"] > 0.85
    assert [line["steps"] for line in lines] == sorted({line["steps"] for line in lines})
    assert lines[-1]["steps"] >= 2000


def test_a_run_that_was_stopped_goes_on_after_its_last_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in its third round, by a signal to the process itself."""
    run_dir, learn, rounds = tmp_path / "run", Cloner.learn, []

    def learn_until_stopped(cloner: Cloner, *arguments: Any) -> dict[str, float]:
        rounds.append(len(arguments[0]))
        if len(rounds) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(cloner, *arguments)

    monkeypatch.setattr(Cloner, "learn", learn_until_stopped)
    assert imitate.main([*FLAGS, "--run-dir", str(run_dir)]) == UNFINISHED
    said = capsys.readouterr().out
    assert f"imitate --resume --run-dir {run_dir}" in said
    assert "imitation 2/4" in said
    assert "imitation 3/4: the policy drove" not in said  # it had not ended
    assert not (run_dir / IMITATED).exists()
    with pytest.raises(CheckpointError, match=f"continue it: .*--resume --run-dir {run_dir}"):
        load_policy(run_dir)
    monkeypatch.setattr(Cloner, "learn", learn)
    assert imitate.main(["--resume", "--run-dir", str(run_dir)]) == 0
    said = capsys.readouterr().out
    assert "imitation 2/4" not in said
    assert "imitation 3/4: the policy drove" in said
    lines = [json.loads(x) for x in (run_dir / stage.LOG).read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 4]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert lines[2]["steps"] > lines[1]["steps"] + 450
    assert lines[3]["same"] > 0.8
    assert load_policy(run_dir / IMITATED)
    assert find_folder(run_dir) == run_dir / IMITATED  # before PPO has saved a checkpoint
    card = (run_dir / IMITATED / "README.md").read_text()
    assert "by imitation of the guide for 2,000 steps alone." in card
    assert not (run_dir / stage.ROUNDS).exists()
    assert imitate.main(["--resume", "--run-dir", str(run_dir)]) == 0  # There is nothing to do.
    assert "imitation 4/4" not in capsys.readouterr().out


def test_training_begins_with_it_and_goes_on_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [*FLAGS, "--imitation-steps", "512", "--imitation-rounds", "2"]
    alone, run_dir = tmp_path / "alone", tmp_path / "run"
    assert imitate.main([*few, "--run-dir", str(alone), "--quiet"]) == 0
    ppo = ["--rollout-length", "8", "--minibatches", "2", "--learning-rate", "1e-9"]
    ppo += ["--total-steps", "32"]
    assert train.main([*few, *ppo, "--run-dir", str(run_dir)]) == 0
    assert "No PPO" not in capsys.readouterr().out
    paths = (alone / IMITATED, run_dir / IMITATED, run_dir)
    policies = [load_policy(path) for path in paths]
    frames = np.random.default_rng(0).integers(256, size=(5, 3, 12, 16, 1), dtype=np.uint8)
    same, own, trained = (np.asarray(p.logits_and_values(frames)[0]) for p in policies)
    np.testing.assert_allclose(own, same, rtol=1e-4, atol=1e-4)  # of the same seed
    np.testing.assert_allclose(trained, own, rtol=1e-4, atol=1e-4)  # PPO hardly moved it


def test_a_run_whose_time_was_up_before_ppo_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ["--imitation-steps", "128", "--rollout-length", "8", "--minutes", "0.001"]
    flags = [*FLAGS, *steps, "--eval-steps", "0", "--run-dir", str(tmp_path / "run")]
    assert train.main(flags) == 0
    said = capsys.readouterr().out
    assert "not cut short by --minutes 0.001" in said
    assert "No PPO: the time, or the steps, were up" in said


def test_a_resumed_run_imitates_as_it_began(
    imitated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--resume", "--run-dir", str(imitated), "--imitation-rounds", "8"]
    assert imitate.main(flags) == 1
    assert "imitation_rounds (4 -> 8)" in capsys.readouterr().err


def test_a_policy_to_begin_with_drives_from_the_first_round_on(
    imitated: Path, tmp_path: Path
) -> None:
    few = ["--imitation-steps", "512", "--imitation-rounds", "2", "--imitation-rate", "1e-6"]
    flags = [*FLAGS, *few, "--run-dir", str(tmp_path / "run"), "--init-from", str(imitated)]
    assert imitate.main([*flags, "--quiet"]) == 0
    lines = [json.loads(x) for x in (tmp_path / "run" / stage.LOG).read_text().splitlines()]
    assert [line["guided"] for line in lines] == [0.0, 0.0]
    assert lines[0]["finish_rate"] >= 0.8
    before, after = (load_policy(folder).variables for folder in (imitated, tmp_path / "run"))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-3), before, after)
    card = (tmp_path / "run" / IMITATED / "README.md").read_text()
    assert "for 512 steps alone, from another policy on." in card


def test_a_policy_of_another_shape_is_refused(
    imitated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--run-dir", str(tmp_path / "run"), "--init-from", str(imitated)]
    assert imitate.main([*flags, "--channels", "4"]) == 1
    assert "another shape" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_rounds_of_another_version_are_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = parse(FLAGS)
    spec = policy_spec(config)
    other = replace(spec, network=replace(spec.network, channels=16))
    learnt = Cloner(other, config.ppo, 1e-3, 1, seed=0).snapshot()
    seen = {"frames": np.zeros((2, 12, 16, 1), np.uint8)}
    shown = Demonstration(
        seen, np.zeros((2, 5), np.float32), np.zeros(2, np.float32), {}, guided=True
    )
    Rounds(tmp_path / stage.ROUNDS).save(1, [shown], learnt)
    imitation = stage._Imitation(config, spec, tmp_path)
    assert imitation.rounds_left == range(1, 5)
    assert "imitation begins again" in caplog.text


def test_without_steps_there_is_nothing_to_imitate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FLAGS, "--imitation-steps", "0", "--run-dir", str(tmp_path / "run")]
    assert imitate.main(flags) == 1
    assert "imitation_steps = 0 is not allowed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_too_few_steps_for_the_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        imitate.main([*FLAGS, "--imitation-steps", "10"])
    said = " ".join(capsys.readouterr().err.split())
    assert "at least imitation_rounds x imitation_batch = 128" in said
