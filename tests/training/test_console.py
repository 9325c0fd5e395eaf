"""What a run shows: everything in a narrow terminal, plain lines without one."""

import contextlib
import io
import os
import re
import sys

import pytest

from kart_jax.config import RunConfig
from kart_jax.training import console
from kart_jax.training.console import Console

METRICS = {
    "time/steps_per_second": 97.0,
    "episode/return": 12.5,
    "episode/progress_m": 403.0,
    "episode/finish_rate": 0.25,
    "ppo/policy_loss": -0.012,
    "ppo/value_loss": 0.034,
    "ppo/entropy": 1.61,
    "workers/losses": 2.0,
}
FIGURES = ["1,000 steps", "97/s", "return 12.50", "403 m", "finished 25%", "policy loss -0.012"]
FIGURES += ["value loss 0.034", "entropy 1.61", "workers lost 2"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest's own capture comes back between fixtures and test."""
    made = Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "72")
    return made


def test_a_narrow_terminal_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with Console(RunConfig(total_steps=4000), 0) as shown:
        shown.show(1000, METRICS)
        shown.show_evaluation(
            1000, {f"eval/{n}": 1.0 for n in ("finish_rate", "progress_m", "return")}
        )
    text = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).split())
    assert all(figure in text for figure in FIGURES)
    assert re.search(r"25 % 0:00:0\d left [-:\d]+ ", text)
    assert "evaluated at 1,000 steps: 100% finished, 1 m, return 1.00" in text
    assert "\u2026" not in text


def test_without_a_terminal_there_are_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    with Console(RunConfig(), 0) as shown:
        shown.show(1000, METRICS)
    [line] = capsys.readouterr().out.splitlines()
    assert all(figure in line for figure in FIGURES)
    assert "\x1b" not in line


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with Console(RunConfig(quiet=True), 0) as shown:
        shown.show(1000, METRICS)
    assert terminal.getvalue() == ""


def test_a_reader_who_leaves_does_not_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Ctrl-C ends `| tee log` together with the run, which still has to save."""
    monkeypatch.setattr(console, "LINE_SECONDS", 0.0)
    reader, writer = os.pipe()
    os.close(reader)
    with Console(RunConfig(), 0) as shown, os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        shown.show(1000, METRICS)
        shown.show(2000, METRICS)
        with contextlib.suppress(BrokenPipeError):
            closed.close()
