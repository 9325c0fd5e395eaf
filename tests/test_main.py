"""The list of commands: all that there are, in one line each."""

import re
import subprocess
import sys
from pathlib import Path

import kart_jax

PACKAGE = Path(kart_jax.__file__).parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kart_jax", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_every_command_is_listed_with_what_it_does() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    files = [path for path in PACKAGE.glob("[a-z]*.py") if "\n@command\n" in path.read_text()]
    assert len(files) > 5
    listed = dict(re.findall(r"^  (\w+) +(.+)$", done.stdout, re.MULTILINE))
    assert set(listed) == {path.stem for path in files}
    assert "train a policy" in listed["train"]


def test_a_command_given_as_an_argument_is_refused_with_how_to_call_it() -> None:
    done = run("train")
    assert done.returncode == 2
    assert "python -m kart_jax.COMMAND" in done.stderr
