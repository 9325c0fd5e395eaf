"""Exported policies: the same actions from the package, from a run and from JAX alone."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import kart_jax
from kart_jax import export
from kart_jax.config import RunConfig, TrainConfig
from kart_jax.imitation.config import ImitationConfig
from kart_jax.policy.exported import describe_training
from kart_jax.policy.policy import Policy, PolicySpec
from kart_jax.run_folder import loading
from kart_jax.run_folder.checkpoints import Checkpoint, CheckpointError, Checkpoints
from kart_jax.run_folder.loading import SHIPPED, shipped_policies
from tests.helpers.tiny import ACTIONS, NETWORK, RACE, write_tiny_policy

SCALE = {"mean": 1.5, "variance": 4.0, "count": 10.0}

ALONE = """
import sys
{program}
assert not any(name.split(".")[0] in ("kart_jax", "flax") for name in sys.modules)
np.savez("answer.npz", actions=actions, values=values)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with two checkpoints, of which the first raced best."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_checkpoints(folder, {10: {"eval/finish_rate": 0.5}, 20: None})
    return folder


def write_checkpoints(
    folder: Path,
    steps: dict[int, dict[str, float] | None],
    imitated: int = 0,
    init_from: str | None = None,
) -> None:
    """Checkpoints at some steps, each with what it raced best by."""
    begun = RunConfig(init_from=Path(init_from) if init_from else None)
    imitation = ImitationConfig(imitation_steps=imitated)
    config = TrainConfig(run=begun, race=RACE, network=NETWORK, imitation=imitation)
    spec = PolicySpec(NETWORK, ACTIONS, config.observation_shape)
    saver = Checkpoints(folder, keep=1)
    for step, best in steps.items():
        frames = np.zeros((1, *config.observation_shape), np.uint8)
        variables = jax.tree.map(np.asarray, spec.module().init(jax.random.key(step), frames))
        progress = {"policy": spec.to_dict(), "config": config.to_dict(), "step": step}
        progress["reward_scale"] = SCALE
        saver.save(Checkpoint(step, variables, {"unused": np.zeros(1)}, progress), best)
    assert saver.close()


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    folder = run.parent / "exported"
    assert export.main([str(run), str(folder)]) == 0
    return folder


def test_the_scale_of_the_values_is_exported_too(run: Path, exported: Path) -> None:
    """A run that begins with the policy, or learns from it, needs it."""
    assert loading.load_policy(run).reward_scale == SCALE
    assert loading.load_policy(exported).reward_scale == SCALE
    assert loading.load_policy("coach").reward_scale is not None


@pytest.mark.parametrize(
    ("imitated", "step", "training"),
    [
        (0, 20, "by PPO for 20 steps"),
        (5000, 0, "by imitation of the guide for 5,000 steps alone"),
        (5000, 20, "by imitation of the guide for 5,000 steps, then by PPO for 20"),
    ],
)
def test_the_readme_tells_of_imitation(
    imitated: int, step: int, training: str, tmp_path: Path
) -> None:
    write_checkpoints(tmp_path / "run", {step: None}, imitated)
    export.export(str(tmp_path / "run"), tmp_path / "exported")
    readme = (tmp_path / "exported/README.md").read_text()
    assert f"Trained by kart_jax on bends, {training}.\n" in readme


@pytest.mark.parametrize("name", shipped_policies())
def test_a_shipped_policys_card_tells_what_it_learnt_from(name: str) -> None:
    """As the generator of cards would, of steps that its text and its configuration agree with."""
    readme = " ".join((SHIPPED / name / "README.md").read_text().split())
    card = json.loads((SHIPPED / name / "policy.json").read_text())
    teacher = card["config"]["imitation"].get("teacher", "guide")
    # A policy that PPO trained and nobody imitated for began with another one; others may have.
    begun = [True] if not card["imitated"] else [False, True]
    tracks = ", ".join(card["config"]["race"]["track"])
    assert any(
        f"Trained by kart_jax on {tracks}, "
        f"{describe_training(card['step'], card['imitated'], one, teacher)}." in readme
        for one in begun
    )
    assert ("No PPO" in readme) == (card["step"] == 0)
    if card["imitated"]:
        assert card["imitated"] == card["config"]["imitation"]["imitation_steps"]


def test_a_policy_that_began_with_another_was_not_imitated(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "run", {20: None}, 5000, init_from="lighthouse")
    export.export(str(tmp_path / "run"), tmp_path / "exported")
    readme = (tmp_path / "exported/README.md").read_text()
    assert "by PPO for 20 steps, from another policy on." in readme


def some_frames(batch: int) -> np.ndarray:
    shape = (batch, RACE.stack, RACE.height, RACE.width, RACE.channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def same(a: Policy, b: Policy) -> bool:
    frames = some_frames(4)
    return bool(np.array_equal(a.value(frames), b.value(frames)))


def test_the_best_checkpoint_is_kept_and_preferred(run: Path) -> None:
    best = kart_jax.load_policy(run / "checkpoints/10")
    assert same(kart_jax.load_policy(run), best)
    assert not same(kart_jax.load_policy(run / "checkpoints/20"), best)


def test_an_export_acts_as_its_run(run: Path, exported: Path) -> None:
    policy = kart_jax.load_policy(exported)
    assert same(policy, kart_jax.load_policy(run))
    assert policy.race == kart_jax.load_policy(run).race
    assert policy.act(some_frames(1)[0]).shape == (2,)


def test_the_readmes_program_runs_without_this_package(exported: Path) -> None:
    program = (exported / "README.md").read_text().split("```")[1].removeprefix("python")
    frames = some_frames(3)
    np.save(exported / "frames.npy", frames)
    program = program.replace("np.zeros((1, 3, 12, 16, 1), np.uint8)", "np.load('frames.npy')")
    assert "frames.npy" in program
    command = [sys.executable, "-c", ALONE.format(program=program)]
    subprocess.run(command, cwd=exported, check=True, timeout=120)
    policy = kart_jax.load_policy(exported)
    with np.load(exported / "answer.npz") as answer:
        np.testing.assert_array_equal(answer["actions"], policy.act(frames))
        np.testing.assert_allclose(answer["values"], policy.value(frames), rtol=1e-5, atol=1e-6)


def test_a_shipped_policy_is_loaded_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "SHIPPED", tmp_path)
    written = write_tiny_policy(tmp_path / "lighthouse")
    assert same(kart_jax.load_policy("lighthouse"), kart_jax.load_policy(written))
    with pytest.raises(CheckpointError, match=r"nor is it a shipped policy's name \(lighthouse\)"):
        kart_jax.load_policy("olivermath")


def test_a_shipped_policy_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "SHIPPED", tmp_path)
    written = write_tiny_policy(tmp_path / "lighthouse")
    assert export.main(["lighthouse", str(tmp_path / "copy")]) == 0
    files = [{p.name: p.read_bytes() for p in f.iterdir()} for f in (written, tmp_path / "copy")]
    assert files[0] == files[1]


def test_an_export_tells_nothing_of_the_machine_that_wrote_it(tmp_path: Path) -> None:
    written = write_tiny_policy(tmp_path / "tiny")
    package = str(Path(kart_jax.__file__).parent).encode()
    assert not any(package in path.read_bytes() for path in written.iterdir())


def test_policies_in_the_package_are_whole() -> None:
    for name in loading.shipped_policies():
        policy = kart_jax.load_policy(name)
        assert np.isfinite(policy.value(policy.spec.example())).all()


@pytest.mark.parametrize("fault", ["no weights", "damaged weights", "no field", "other shapes"])
def test_a_damaged_export_is_refused(fault: str, tmp_path: Path) -> None:
    folder = write_tiny_policy(tmp_path / "tiny")
    card = json.loads((folder / "policy.json").read_text())
    if fault == "no weights":
        (folder / "weights.npz").unlink()
    elif fault == "damaged weights":
        whole = (folder / "weights.npz").read_bytes()
        (folder / "weights.npz").write_bytes(whole[: len(whole) // 2])
    elif fault == "no field":
        del card["policy"]["actions"]
    else:
        card["policy"]["network"]["channels"] = 3
    (folder / "policy.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="tiny"):
        kart_jax.load_policy(folder)


def test_nothing_is_overwritten(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["anywhere", str(exported)]) == 1
    assert "exists already" in capsys.readouterr().err
