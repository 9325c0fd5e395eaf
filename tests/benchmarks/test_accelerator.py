"""One command measures an accelerator; what fails costs no more than itself."""

import importlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import report
from benchmarks.accelerator import __main__ as command
from benchmarks.accelerator import drawing, train
from benchmarks.accelerator.expectations import row
from benchmarks.accelerator.parts import PARTS, Part
from benchmarks.accelerator.process import attempt, run
from kart_jax.validation import UserError

ROOT = Path(__file__).parents[2]
SLACK = 6.0
"""Times the limits: tests share the cores."""


def part(function: str, limit: float = 120.0) -> Part:
    environment = {"OF_THE_PART": "2.5"}
    return Part(function, f"tests.helpers.parts:{function}", limit, "about", environment)


def test_rows_come_back_from_a_process_of_its_own() -> None:
    assert list(run(part("measures"), small=True)) == [
        {"small": True, "value": 1.5},
        {"small": True, "value": 2.5},
    ]


def test_a_crash_leaves_its_rows_and_last_words() -> None:
    kept, why = run(part("crashes"), small=False)
    assert kept == {"value": 1}
    assert why == "failed: ended with status -6: the driver is gone"


def test_an_exception_is_named_in_one_line() -> None:
    kept, why = run(part("raises"), small=False)
    assert kept == {"value": 1}
    assert why == "failed: RuntimeError: RESOURCE_EXHAUSTED: out of memory"


def test_what_the_machine_lacks_is_no_failure() -> None:
    assert list(run(part("is_missing_something"), small=False)) == ["skipped: no game data"]


def test_a_hang_ends_with_all_its_processes() -> None:
    kept, why = run(part("hangs", limit=20.0), small=False)
    assert why == "stopped after 20 s: what is not above is missing"
    assert isinstance(kept, dict)
    wait_for_the_end(kept["child"])


def test_a_part_that_is_dropped_ends() -> None:
    answers = run(part("hangs"), small=False)
    kept = next(answers)
    assert isinstance(kept, dict)
    answers.close()
    wait_for_the_end(kept["child"])


def wait_for_the_end(pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_one_part_that_fails_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = Part("devices", "tests.helpers.parts:raises", 120, "about")
    parts = {"devices": devices, **{name: part(name) for name in ("crashes", "measures")}}
    monkeypatch.setattr(command, "PARTS", parts)
    monkeypatch.setattr(report, "_file", None)  # restored at the end
    command.main(["--json", str(tmp_path / "all.json"), "--parts", "crashes", "measures"])
    tables = json.loads((tmp_path / "all.json").read_text())
    assert {name: len(table["rows"]) for name, table in tables.items()} == {
        "devices": 1,
        "crashes": 1,
        "measures": 2,
    }
    assert "failed: ended with status -6: the driver is gone" in tables["crashes"]["notes"]
    # Where the devices are not known, sizes are small.
    assert [row["small"] for row in tables["measures"]["rows"]] == [True, True]
    assert "the driver is gone" in capsys.readouterr().out


def test_rows_are_on_disk_before_their_part_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    file = tmp_path / "all.json"

    def watched(*_: Any) -> Any:
        yield {"value": 1}
        seen.append(json.loads(file.read_text())["watched"])
        yield "failed: cut"

    monkeypatch.setattr(command, "run", watched)
    report.write_to(file)
    try:
        command.measure(part("watched"), small=True, slack=1.0)
    finally:
        report.write_to(None)
    assert seen[0]["rows"] == [{"value": 1}]
    assert "unfinished" in seen[0]["notes"]
    assert "unfinished" not in json.loads(file.read_text())["watched"]["notes"]


def test_a_case_that_fails_costs_itself() -> None:
    def lack() -> dict[str, Any]:
        raise MemoryError("too much\nof it")

    assert attempt({"batch": 4}, lack) == {"batch": 4, "failed": "MemoryError: too much"}


def test_all_parts_together_take_eight_minutes_at_most() -> None:
    assert sum(part.limit for part in PARTS.values()) <= 8 * 60
    for each in PARTS.values():
        module, _, function = each.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_expectations_follow_from_operations() -> None:
    reference = row("reference", tflops=1000.0, share=0.5, bandwidth=3.0)
    assert reference["forward_tflop"] == pytest.approx(2 * 3.32, rel=0.01)
    assert reference["step_ms"] == pytest.approx(1e3 * 4 * reference["forward_tflop"] / 500)
    gpu, twice = (row("gpu", tflops, 0.5, 3.0) for tflops in (1000.0, 2000.0))
    assert twice["steps_per_s"] == pytest.approx(2 * gpu["steps_per_s"])
    assert gpu["with_recomputation"] == gpu["gradient_tflop"]  # it stores its activations


def test_each_opengl_driver_is_found_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ["10_nvidia"]), (second, ["10_nvidia", "50_mesa"])):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.json").touch()
    monkeypatch.delenv(drawing.VARIABLE, raising=False)
    monkeypatch.setattr(drawing, "FOLDERS", (str(first), str(second)))
    assert drawing.drivers() == {
        "10_nvidia": {drawing.VARIABLE: str(first / "10_nvidia.json")},
        "50_mesa": {drawing.VARIABLE: str(second / "50_mesa.json"), "LIBGL_ALWAYS_SOFTWARE": "1"},
    }
    monkeypatch.setattr(drawing, "FOLDERS", ())
    assert drawing.drivers() == {"default": {}}


def test_training_falls_back_to_the_fake_game(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        {"step": step, "wall_time": step / 10, "time/act": step / 40, "time/learn": step / 20}
        for step in (0, 100)
    ]

    def check() -> None:
        raise UserError("no driver")

    monkeypatch.setattr(train, "check_game", check)
    monkeypatch.setattr(train, "train_ours", lambda arguments: lines)
    failed, total, *parts = train.rows(small=True)
    assert failed == {"game": "supertuxkart", "failed": "UserError: no driver"}
    assert total["steps_per_s"] == pytest.approx(10.0)
    assert {row["part"]: row["share"] for row in parts} == pytest.approx(
        {"learn": 0.5, "act": 0.25, "other": 0.25}
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that the command writes without an accelerator."""
    file = tmp_path_factory.mktemp("accelerator") / "all.json"
    arguments = ["--json", str(file), "--small", "--slack", str(SLACK)]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.accelerator", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
    )
    written: dict[str, Any] = json.loads(file.read_text())
    return written


@pytest.mark.real_game
@pytest.mark.timeout(60 * 8 * SLACK)
@pytest.mark.parametrize("name", PARTS)
def test_every_part_runs_without_an_accelerator(tables: dict[str, Any], name: str) -> None:
    table = tables[name]
    assert table["rows"]
    assert not [row for row in table["rows"] if "failed" in row]
    assert not [note for note in table["notes"] if note.startswith(("failed", "stopped", "skip"))]
    for each in table["rows"]:
        numbers = [value for value in each.values() if isinstance(value, float)]
        assert all(math.isfinite(value) and value >= 0.0 for value in numbers)
        assert all(value > 0.0 for name, value in each.items() if name.endswith("per_s"))
