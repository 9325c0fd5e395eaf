"""The logs of a run: resumed, on a full disk, and in Weights & Biases."""

import json
import math
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kart_jax.run_folder.logs import MetricsWriter
from tests.helpers.disk import full_disk


def test_a_resumed_log_has_neither_gap_nor_overlap(tmp_path: Path) -> None:
    first = MetricsWriter(tmp_path, 0)
    for step in (100, 200, 300):
        first.write(step, {"a": float(step)})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 400, "a"')  # killed while writing
    second = MetricsWriter(tmp_path, 200)
    second.write(300, {"a": math.inf})
    second.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [100, 200, 300]
    assert lines[-1]["a"] is None


def test_a_full_disk_costs_lines_but_never_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = MetricsWriter(tmp_path, 0)
    writer.write(1, {"a": 1.0})
    file = writer._lines
    writer._lines = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115
    # TensorBoard's thread dies of a full disk; nothing empties its queue from then on.
    thread = writer._board.file_writer.event_writer._worker
    thread.stop()
    writer.write(2, {"a": 2.0})
    writer.write(2, {"a": 2.0})
    assert caplog.text.count("No space left on device") == 1
    with pytest.raises(OSError, match="No space"):
        writer._lines.close()
    writer._lines = file
    writer.write(3, {"a": 3.0})
    assert writer._board.file_writer.event_writer._worker is not thread
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 3]


def test_a_full_disk_on_resume_loses_no_line(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, 0)
    for step in (100, 200, 300):
        writer.write(step, {"a": float(step)})
    writer.close()
    before = (tmp_path / "metrics.jsonl").read_text()
    with full_disk(), pytest.raises(OSError, match="File too large"):
        MetricsWriter(tmp_path, 200)
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert not list(tmp_path.glob("*.partial"))


def read_board(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("a")]


def test_a_resumed_tensorboard_has_neither_gap_nor_overlap(tmp_path: Path) -> None:
    first = MetricsWriter(tmp_path, 0, {"config": {"seed": 7}})
    for step in (100, 200, 300):
        first.write(step, {"a": 1.0})
    first.close()
    time.sleep(1.1)  # event files are named by the second
    second = MetricsWriter(tmp_path, 200)
    for step in (300, 400):
        second.write(step, {"a": 2.0})
    second.close()
    assert read_board(tmp_path) == [(100, 1.0), (200, 1.0), (300, 2.0), (400, 2.0)]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    [text] = events.Tensors("run/text_summary")
    assert b'"seed": 7' in text.tensor_proto.string_val[0]


class FakeWandb(ModuleType):
    """Stands in for Weights & Biases: keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **options: Any) -> "FakeWandb":
        self.begun.append(options)
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.finished += 1


def test_weights_and_biases_goes_on_with_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for start in (0, 100):
        writer = MetricsWriter(tmp_path, start, {"config": {"seed": 7}}, wandb=True)
        writer.write(start + 100, {"a": float(start)})
        writer.close()
    assert wandb.logged == [(100, {"a": 0.0}), (200, {"a": 100.0})]
    assert wandb.finished == 2
    first, second = wandb.begun
    assert first == second
    assert first["resume"] == "allow"
    assert first["config"] == {"config": {"seed": 7}}


def test_weights_and_biases_that_does_not_start_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb()
    monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(ValueError, match="WANDB_MODE=offline"):
        MetricsWriter(tmp_path, 0, wandb=True)
