"""The list of commands: all that there are, in one line each."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import kart_jax
from kart_jax.__main__ import COMMANDS

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


def test_a_command_given_as_an_argument_is_refused_with_how_to_call_it() -> None:
    done = run("train")
    assert done.returncode == 2
    assert "python -m kart_jax.COMMAND" in done.stderr
