"""How commands end: one line for a mistake, not a word for those who leave."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kart_jax.cli.command import (
    CLOSED_PIPE,
    INTERRUPTED,
    command,
    command_line,
    interpreter,
)
from kart_jax.game.errors import GameError
from kart_jax.validation import UserError
from tests.helpers import tiny_run
from tests.helpers.tiny import write_tiny_policy


def fail(error: BaseException) -> Callable[..., int]:
    def main(arguments: Sequence[str] | None = None) -> int:
        raise error

    return command(main)


@pytest.mark.parametrize(
    "error",
    [UserError("no"), GameError("no"), FileNotFoundError("no"), BrokenPipeError("no")],
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


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("no")], ids=repr)
def test_what_may_be_a_fault_of_ours_says_how_to_find_it(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As arrays of wrong shapes raise, amid a library."""
    assert fail(error)([]) == 1
    said, where, rest = capsys.readouterr().err.split("\n")
    assert said == f"error: {type(error).__name__}: no"
    assert "a fault of kart_jax: with KART_JAX_TRACEBACK=1" in where
    assert rest == ""
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
    ("module", "statuses"),
    [
        ("train --help-all", {CLOSED_PIPE}),
        ("summary", {1, CLOSED_PIPE}),  # rich sees to it, in newer releases
        ("data --help", {0, CLOSED_PIPE}),  # argparse did, in the first releases of each Python
    ],
)
def test_a_reader_who_leaves_is_no_error(module: str, statuses: set[int]) -> None:
    """As with `| head`."""
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
    assert done.returncode in statuses


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


def test_a_printed_command_survives_a_shell() -> None:
    folder = Path("my runs/it's one")
    words = shlex.split(command_line("kart_jax.play", folder, "--episodes", 3))
    assert words[1:] == ["-m", "kart_jax.play", str(folder), "--episodes", "3"]


def run_closed(module: str, *arguments: str, closed: str) -> "subprocess.CompletedProcess[str]":
    """Run a module as a supervisor may: without some of its standard streams."""
    line = shlex.join([sys.executable, "-m", module, *arguments])
    return subprocess.run(
        ["sh", "-c", f"exec {line} {closed}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


def test_training_needs_no_standard_streams(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = [a for a in tiny_run.arguments(run_dir, 2) if a != "--quiet"]
    done = run_closed("kart_jax.train", *arguments, closed="<&- >&- 2>&-")
    assert done.returncode == 0
    assert len(tiny_run.metrics(run_dir)) == 2


def test_playing_needs_no_standard_output(tmp_path: Path) -> None:
    policy, out = write_tiny_policy(tmp_path / "tiny"), tmp_path / "out.json"
    done = run_closed(
        "kart_jax.play", str(policy), "--episodes", "1", "--json", str(out), closed=">&-"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert out.stat().st_size > 0


@pytest.mark.real_game
def test_the_real_game_needs_no_standard_output(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    driver = ("--driver", "straight", "--episodes", "1", "--json", str(out))
    done = run_closed("kart_jax.play", *driver, closed=">&-")
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 0


def test_a_platform_that_jax_cannot_use_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kart_jax.play", str(write_tiny_policy(tmp_path / "tiny"))],
        env=os.environ | {"JAX_PLATFORMS": "rocm"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: JAX finds no device of JAX_PLATFORMS=")
    assert "Traceback" not in done.stderr


def test_a_full_disk_below_standard_output_is_one_line(tmp_path: Path) -> None:
    policy = write_tiny_policy(tmp_path / "tiny")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kart_jax.play", str(policy), "--episodes", "1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_an_output_of_few_characters_is_no_reason_to_stop() -> None:
    """As of `PYTHONIOENCODING=ascii`, or an old locale: a run prints more than ASCII."""
    code = (
        "from kart_jax.cli.command import command\n"
        "command(lambda arguments=None: print('16 steps \u00b7 3/s') or 0)()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "16 steps ? 3/s\n", "")
