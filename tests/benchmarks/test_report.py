"""What benchmarks write, and where to."""

import json
from pathlib import Path

import pytest

from benchmarks import report


def test_one_file_holds_all_tables_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    report.report("before", [{"a": 1}], [])
    report.write_to(tmp_path / "mine.json")
    report.report("one", [{"a": 1}], ["note"])
    report.report("two", [{"b": 2.5}], [])
    report.write_to(None)
    report.report("after", [{"a": 1}], [])
    mine = json.loads((tmp_path / "mine.json").read_text())
    assert {name: table["rows"] for name, table in mine.items()} == {
        "one": [{"a": 1}],
        "two": [{"b": 2.5}],
    }
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        "after.json",
        "before.json",
    ]
    with pytest.raises(ValueError, match="a file in a folder that exists"):
        report.write_to(tmp_path / "nowhere/mine.json")
