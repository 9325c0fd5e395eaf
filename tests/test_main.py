"""The list of commands: all that there are, in one line each."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kart_jax
from kart_jax.__main__ import COMMANDS
from kart_jax.cli.command import command_line, program

PACKAGE = Path(kart_jax.__file__).parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kart_jax", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_every_command_is_printed_with_what_it_does() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    assert dict(re.findall(r"^  (\w+) +(.+)$", done.stdout, re.MULTILINE)) == COMMANDS


def test_the_commands_are_the_modules_that_run_as_programs() -> None:
    """Each module's docstring begins with its command and what that does."""
    docstrings = {
        path.stem: ast.get_docstring(ast.parse(text)) or ""
        for path in PACKAGE.glob("[a-z]*.py")
        if "__main__" in (text := path.read_text(encoding="utf-8"))
    }
    assert docstrings.keys() == COMMANDS.keys()
    for name, does in COMMANDS.items():
        invocation, _, described = docstrings[name].partition("`: ")
        assert invocation.startswith(f"`python -m kart_jax.{name}")
        assert described.startswith(f"{does}\n") or described == does


def test_a_command_named_as_an_argument_is_started() -> None:
    done = run("summary", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m kart_jax.summary ")


def test_what_is_no_command_is_refused_with_how_to_call_one() -> None:
    done = run("fly")
    assert done.returncode == 2
    assert "python -m kart_jax.COMMAND" in done.stderr


def test_the_program_that_pip_installs_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/kart-jax", "play"])
    assert program("play") == "kart-jax play"
    assert program() == "kart-jax"
    assert command_line("kart_jax.play", "my run") == "kart-jax play 'my run'"
    assert command_line("tensorboard.main").endswith("-m tensorboard.main")
