"""A policy that sees the state teaches: its distributions, its driving, its critic."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from kart_jax import train
from kart_jax.cli.options import parse
from kart_jax.game.state import SIZE
from kart_jax.imitation import stage
from kart_jax.imitation.cloning import Cloner
from kart_jax.imitation.demonstrations import Episode
from kart_jax.imitation.teachers import CHUNK, Coach
from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.ppo.config import PPOConfig
from kart_jax.run_folder.loading import load_policy
from tests.helpers.tiny import ACTIONS, NETWORK, RACE

ON_STATE = NetworkConfig(actor="state", critic="state", hidden=(8,), norm="none", dtype="float32")
COACH = PolicySpec(ON_STATE, ACTIONS, None, SIZE)
STUDENT = PolicySpec(replace(NETWORK, critic="state", hidden=(8,)), ACTIONS, (3, 12, 16, 1), SIZE)
SCALE = {"count": 5.0, "mean": 0.25, "variance": 4.0}

COMMON = ["--simulator", "fake", "--track", "bends", "--action-set", "drive", "--hidden", "16"]
COMMON += ["--num-envs", "4", "--spares", "0", "--random-start", "0", "--eval-steps", "0"]
COMMON += ["--rollout-length", "16", "--minibatches", "2", "--imitation-batch", "32", "--quiet"]
SMALL = ["--height", "12", "--width", "16", "--stack", "3", "--channels", "4", "--blocks", "0"]
SMALL += ["0", "--stem-stride", "1", "2", "2", "--middle-stride", "1", "1", "1", "--colour", "grey"]


def coach(seed: int = 0, spec: PolicySpec = COACH) -> Policy:
    return Policy(spec, spec.init(jax.random.key(seed)), {"action_set": "drive"}, SCALE)


def episode(length: int) -> Episode:
    seen = {
        "frames": np.zeros((length, 12, 16, 1), np.uint8),
        "state": np.random.default_rng(0).normal(size=(length, SIZE)).astype(np.float32),
    }
    return Episode(seen, np.zeros(length, np.float32), {"summary": {"finished": True}})


@pytest.mark.parametrize("length", [1, CHUNK, CHUNK + 3])
def test_every_state_gets_the_coachs_own_distribution(length: int) -> None:
    policy, driven = coach(), episode(length)
    shown = Coach(replace(STUDENT, network=NETWORK), policy, 0).label(driven, first=True)
    logits, _ = policy.logits_and_values(driven.seen["state"])
    np.testing.assert_allclose(shown.targets, logits, rtol=1e-5, atol=1e-6)
    assert list(shown.seen) == ["frames"]  # no more than the student sees
    assert shown.guided


def test_it_needs_the_state_beside_the_frames() -> None:
    teacher = Coach(STUDENT, coach(), 0)
    assert teacher.race(RACE).observation == "both"
    assert teacher.race(replace(RACE, observation="state")).observation == "state"


def test_its_critic_is_handed_over_with_its_scale() -> None:
    policy, cloner = coach(seed=7), Cloner(STUDENT, PPOConfig(), 1e-2, 1, seed=0)
    cloner.take_critic(policy)
    assert cloner.reward_scale == SCALE
    own, its = (one.variables["params"]["critic"] for one in (cloner, policy))
    jax.tree.map(np.testing.assert_array_equal, own, its)


def test_a_critic_of_other_layers_is_left_alone() -> None:
    wider = replace(COACH, network=replace(ON_STATE, hidden=(9,)))
    cloner = Cloner(STUDENT, PPOConfig(), 1e-2, 1, seed=0)
    before = cloner.variables
    cloner.take_critic(coach(spec=wider))
    assert cloner.variables is before
    assert cloner.reward_scale != SCALE


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A coach that imitated the guide on the state, and a student of it that PPO then trained."""
    folder = tmp_path_factory.mktemp("taught")
    flags = [*COMMON, "--preset", "coach", "--imitation-steps", "4000", "--imitation-rounds", "4"]
    flags += ["--total-steps", "64", "--critic-steps", "64"]
    assert train.main([*flags, "--run-dir", str(folder / "coach")]) == 0
    flags = [*COMMON, *SMALL, "--teacher", str(folder / "coach"), "--critic", "state"]
    flags += ["--observation", "both", "--imitation-steps", "2000", "--imitation-rounds", "4"]
    flags += ["--kickstart-coefficient", "1.0", "--total-steps", "192", "--preset", "cpu"]
    assert train.main([*flags, "--run-dir", str(folder / "student")]) == 0
    return folder / "coach", folder / "student"


def test_a_student_of_frames_is_near_its_coach(taught: tuple[Path, Path]) -> None:
    lines = (taught[1] / stage.LOG).read_text().splitlines()
    first, last = (json.loads(lines[n]) for n in (0, -1))
    assert first["guided"] == 1.0
    assert first["finish_rate"] == 1.0
    assert last["kl"] < first["kl"]
    assert last["same"] > 0.8


def test_ppo_logs_how_far_the_policy_is_from_its_teacher(taught: tuple[Path, Path]) -> None:
    lines = (taught[1] / "metrics.jsonl").read_text().splitlines()
    logged = [line for line in map(json.loads, lines) if "ppo/teacher_kl" in line]
    assert len(logged) == 3
    assert all(0 < line["ppo/teacher_kl"] < 1.5 for line in logged)
    weights = [line["ppo/kickstart_coefficient"] for line in logged]
    assert weights == pytest.approx([1.0, 2 / 3, 1 / 3])


def test_the_student_acts_on_frames_alone(taught: tuple[Path, Path]) -> None:
    policy = load_policy(taught[1])
    frames = np.zeros((3, 12, 16, 1), np.uint8)
    assert policy.act(frames).shape == (2,)
    assert policy.spec.network.actor == "frames"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--teacher", "nobody"], "nobody does not exist"),
        (["--teacher", "lighthouse"], "not frames"),
        (["--teacher", "coach"], "action_set = 'drive' is not allowed: it must be fine"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_starts(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    steps = ["--imitation-steps", "2000", "--total-steps", "64", "--run-dir", str(run_dir)]
    assert train.main([*COMMON, *SMALL, *flags, *steps]) == 1
    assert message in capsys.readouterr().err
    assert not run_dir.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--teacher", "guide"], "teacher = 'guide'"), (["--critic", "frames"], "critic = 'frames'")],
)
def test_kickstarting_needs_a_policy_and_the_state(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([*COMMON, *SMALL, "--kickstart-coefficient", "0.5", *flags])
    assert message in capsys.readouterr().err
