"""The doctor's checks, each on a machine that lacks what it looks for."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kart_jax import doctor
from kart_jax.config import PRESETS, TrainConfig
from kart_jax.game.engine import system_packages as system
from kart_jax.game.engine.data import VARIABLE

CONFIG = PRESETS["cpu"]
UNDRAWN = PRESETS["coach"]


def with_workers(count: int) -> TrainConfig:
    return replace(CONFIG, workers=replace(CONFIG.workers, num_envs=count))


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kart_jax.doctor", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.real_game
def test_this_machine_can_train() -> None:
    run = run_doctor("--num-envs", "1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("\nok ") == 8
    assert "without drawing" in run.stdout
    assert "frames/s in one process, drawn by" in run.stdout
    assert "unknown renderer" not in run.stdout
    assert run.stdout.endswith("This machine can train.\n")


@pytest.mark.real_game
def test_a_machine_that_cannot_draw_can_race() -> None:
    run = run_doctor("--num-envs", "1", __EGL_VENDOR_LIBRARY_FILENAMES="/nonexistent")
    assert run.returncode == 1
    assert "\nok      one race        lighthouse without drawing" in run.stdout
    assert "FAILED  one frame" in run.stdout
    assert "What draws nothing can: the preset coach" in run.stdout


def test_without_data_training_cannot_run(tmp_path: Path) -> None:
    run = run_doctor(**{VARIABLE: str(tmp_path)})
    assert run.returncode == 1
    assert f"FAILED  game data       {VARIABLE}={tmp_path} is of no use" in run.stdout
    assert "FAILED  one frame" in run.stdout
    assert run.stdout.endswith("Training cannot run here yet.\n")


def test_data_that_was_never_fetched_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_data", lambda: None)
    check = doctor.check_data()
    assert (check.state, check.remedy) == ("FAILED", "python -m kart_jax.data")


def test_an_impossible_number_of_workers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        doctor.main(["--num-envs", "0"])
    assert refusal.value.code == 2
    assert "num_envs = 0 is not allowed" in capsys.readouterr().err


def test_memory_is_counted_for_the_workers_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: 4 * 10**9)  # a spare too, and frames
    assert doctor.check_memory(with_workers(4)).state == "ok"
    check = doctor.check_memory(with_workers(6))
    assert check.state == "FAILED"
    assert check.found == "4.0 GB free, 7 workers take 3.8 GB, imitation 745.9 MB"
    assert check.remedy == "train with --num-envs 5 or fewer"


def test_memory_is_counted_for_imitation(monkeypatch: pytest.MonkeyPatch) -> None:
    race = replace(CONFIG.race, height=96, width=128, colour="rgb")
    imitation = replace(CONFIG.imitation, imitation_steps=200_000)
    config = replace(with_workers(1), race=race, imitation=imitation)
    monkeypatch.setattr(doctor, "free_memory", lambda: 9 * 10**9)  # 7.5 GB, and a round's
    check = doctor.check_memory(config)
    assert check.state == "FAILED"
    assert "imitation 8.7 GB" in check.found
    assert "--imitation-steps" in check.remedy
    begun = replace(config, run=replace(config.run, init_from=Path("lighthouse")))
    assert doctor.check_memory(begun).state == "ok"


def test_a_containers_memory_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.current").write_text("70000000\n")
    (tmp_path / "memory.stat").write_text("anon 40000000\ninactive_file 30000000\n")
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.free_memory() > 60_000_000
    (tmp_path / "memory.max").write_text("100000000\n")
    assert doctor.free_memory() == 60_000_000


def test_shared_memory_that_is_refused_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_shared_memory(CONFIG).state == "ok"

    def refuse(name: str) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse)
    check = doctor.check_shared_memory(CONFIG)
    assert check.state == "FAILED"
    assert "Operation not permitted" in check.found


def test_a_full_disk_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    check = doctor.check_disk()
    assert check.state == "FAILED"
    assert "100.0 MB free" in check.found


def test_missing_libraries_come_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "missing_packages", lambda: ["libgl1"])
    check = doctor.check_libraries(CONFIG)
    assert check.state == "FAILED"
    assert check.remedy.endswith("apt-get install -y --no-install-recommends libgl1")
    undrawn = doctor.check_libraries(UNDRAWN)
    assert undrawn.state == "ok"
    assert "to draw frames too" in undrawn.found
    monkeypatch.setattr(system, "missing_packages", lambda: ["libglib2.0-0"])
    assert doctor.check_libraries(UNDRAWN).state == "FAILED"


def test_what_draws_nothing_needs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.name for check in doctor.run_checks(UNDRAWN)][-1] == "one race"
    processes = UNDRAWN.workers.num_envs + UNDRAWN.workers.spares
    needed = processes * doctor.UNDRAWN_MEMORY + UNDRAWN.imitation_memory
    monkeypatch.setattr(doctor, "free_memory", lambda: needed)
    assert doctor.check_memory(UNDRAWN).state == "ok"
    assert doctor.check_memory(CONFIG).state == "FAILED"


def test_several_gpus_need_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"backend": "gpu", "devices": ["cuda:0", "cuda:1"]}
    monkeypatch.setattr(doctor, "_probe", lambda function: answer)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(total=64 * 2**20))
    assert doctor.check_jax().state == "FAILED"
    assert "--shm-size" in doctor.check_jax().remedy
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(total=2**30))
    assert doctor.check_jax().state == "ok"


def test_a_black_frame_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor, "_probe", lambda *_: {"renderer": "llvmpipe", "rate": 100.0, "spread": 0}
    )
    assert doctor.check_frame(CONFIG).state == "FAILED"
    monkeypatch.setattr(
        doctor, "_probe", lambda *_: {"renderer": "llvmpipe", "rate": 100.0, "spread": 200}
    )
    assert doctor.check_frame(CONFIG).state == "ok"


def test_a_probe_that_fails_leaves_its_last_words() -> None:
    words = doctor._probe("frame_rate", "no such preset")
    assert words == "the process ended with status 1: KeyError: 'no such preset'"
