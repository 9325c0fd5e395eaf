"""How commands end: one line for a mistake, not a word for those who leave."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kart_jax.cli.command import CLOSED_PIPE, INTERRUPTED, check_output, command, interpreter


def fail(error: BaseException) -> Callable[..., int]:
    def main(arguments: Sequence[str] | None = None) -> int:
        raise error

    return command(main)


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), RuntimeError("no"), FileNotFoundError("no"), BrokenPipeError("no")],
    ids=repr,
)
def test_what_a_user_can_cause_is_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fail(error)([]) == 1
    assert capsys.readouterr().err == "error: no\n"
    monkeypatch.setenv("KART_JAX_TRACEBACK", "1")
    with pytest.raises(type(error)):
        fail(error)([])


def test_a_mistake_of_ours_is_a_traceback() -> None:
    with pytest.raises(AssertionError):
        fail(AssertionError())([])


def test_an_interrupt_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(KeyboardInterrupt())([]) == INTERRUPTED == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("module", "status"), [("train --help-all", CLOSED_PIPE), ("summary", 1), ("data --help", 0)]
)
def test_a_reader_who_leaves_is_no_error(module: str, status: int) -> None:
    """As with `| head`. The last two are those of rich and of argparse, which see to it too."""
    reader, writer = os.pipe()
    os.close(reader)
    name, *arguments = module.split()
    done = subprocess.run(
        [sys.executable, "-m", f"kart_jax.{name}", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == status


def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    check_output("json", None)
    check_output("json", tmp_path / "new.json")
    for path in (tmp_path, tmp_path / "nowhere" / "new.json"):
        with pytest.raises(ValueError, match=r"json = .* a folder that exists"):
            check_output("json", path)


def test_the_interpreter_is_named_so_that_it_can_be_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make train` activates no environment: `python` would be another one there."""
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    assert interpreter() == ".venv/bin/python"
    monkeypatch.chdir("/")
    assert interpreter() == str(python.relative_to("/"))
    monkeypatch.setenv("PATH", str(python.parent))
    assert interpreter() == "python"
