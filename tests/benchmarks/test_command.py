"""The command lines of benchmarks."""

import pytest

from benchmarks import command
from kart_jax.cli.command import TRACEBACK
from kart_jax.validation import check


def test_a_wrong_value_ends_a_benchmark_with_one_line() -> None:
    with (
        pytest.raises(SystemExit, match=r"^error: count = 0[^\n]* at least 1[^\n]*$") as end,
        command.one_line_errors(),
    ):
        check(False, "count", 0, "at least 1")
    assert end.value.__suppress_context__  # no traceback of it


def test_what_may_be_a_fault_of_ours_says_how_to_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = f"RuntimeError: lost\n.*{TRACEBACK}=1"
    with pytest.raises(SystemExit, match=lost), command.one_line_errors():
        raise RuntimeError("lost")
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(RuntimeError, match="lost"), command.one_line_errors():
        raise RuntimeError("lost")


def test_an_option_in_short_is_no_option_of_the_benchmark() -> None:
    parser = command.make_parser("learning", "One line.\n\n    python -m benchmarks.learning\n")
    parser.add_argument("--minutes", type=float)
    options, passed_on = parser.parse_known_args(["--json", "out.json", "--min", "3"])
    assert str(options.json) == "out.json"
    assert passed_on == ["--min", "3"]  # for those of train
    assert "One line.\n\n    python -m benchmarks.learning\n" in parser.format_help()
