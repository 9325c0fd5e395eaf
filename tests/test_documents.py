"""Every command and link in the documents exists."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(start: str) -> list[str]:
    """The distinct commands in the documents' shell blocks that begin with `start`."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if (command := " ".join(words)).startswith(start):
                    found.append(command)
    return sorted(set(found))


@cache
def help_of(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("command", commands("python -m "))
def test_a_python_command_exists_with_its_flags(command: str) -> None:
    _, _, module, *arguments = command.split()
    flags = [word.split("=")[0] for word in arguments if word.startswith("--")]
    known = set(re.findall(r"--[a-z][a-z-]*", help_of(module)))
    assert set(flags) <= known


@pytest.mark.parametrize("command", commands("make "))
def test_a_make_command_has_its_target(command: str) -> None:
    _, target, *_ = command.split()
    assert target in TARGETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []
