"""The Makefile, the requirements and pyproject.toml agree and do what they say."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kart_jax import __version__
from kart_jax.game.engine import system_packages as system

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

PYTHON = """#!/bin/sh
# Stands in for Python: writes what it is asked for, and makes a virtual environment of itself.
echo "$@" >> "$LOG"
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
case "$*" in *"$BREAK"*) exit 1 ;; esac
"""


VARIABLES = ("NEWEST", "EXTRAS", "JOBS", "MINUTES")
"""Variables of the Makefile, which make also takes from the environment."""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with nothing set up and a Python that only takes notes."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("BREAK", "nothing")
    return tmp_path


def make(clone: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run make; return its status and what Python was asked for."""
    (clone / "log").write_text("")
    ours = ("MAKE", *VARIABLES)  # those of the make that runs the tests
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment |= {"PYTHON": str(clone / "python")}
    command = ["make", "-C", str(clone), *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return run.returncode, (clone / "log").read_text().splitlines()


def jax_bound(requirement: str) -> str:
    match = re.fullmatch(r"jax(?:\[\w+\])?(>=[\d.]+)", requirement)
    assert match, requirement
    return match[1]


PIP = "-m pip install -q --disable-pip-version-check"
LOCKED = f"{PIP} --constraint constraints.txt"


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_train_sets_up_once(changed: str, clone: Path) -> None:
    train = "-m kart_jax.train --preset cpu --track lighthouse --minutes 10"
    system_and_data = ["-I kart_jax/game/engine/system_packages.py", "-m kart_jax.data"]
    status, asked = make(clone, "train")
    assert status == 0
    assert asked == [
        system_and_data[0],
        "-m venv .venv",
        f"{LOCKED} -e .",
        system_and_data[1],
        train,
    ]
    assert make(clone, "train") == (0, [*system_and_data, train])
    later = (clone / ".venv/.installed").stat().st_mtime + 10
    os.utime(clone / changed, (later, later))
    assert f"{LOCKED} -e ." in make(clone, "setup")[1]


def test_the_tests_install_their_own_extras(clone: Path) -> None:
    stamp = ".venv/.installed-dev-peers"
    assert make(clone, stamp)[1][-1] == f"{LOCKED} -e .[dev,peers]"
    assert make(clone, stamp) == (0, [])


def test_the_newest_of_everything_is_taken_each_time_beside_what_is_locked(clone: Path) -> None:
    make(clone, "setup")
    newest = f"{PIP} --upgrade --upgrade-strategy eager -e .[dev]"
    for _ in range(2):
        status, asked = make(clone, "test-newest")
        assert status == 0
        assert newest in asked
        assert "-m pytest" in asked[-1]
    assert (clone / ".venv-newest/.installed-dev").exists()
    assert not (clone / ".venv/.installed-dev").exists()


def test_the_lock_has_a_version_of_all_we_need_and_names_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    versions = [re.match(r"([\w.-]+)==[\w.]+( ;|$)", line) for line in lines if line[0] != "#"]
    assert all(versions)
    locked = {match[1] for match in versions if match}
    extras = PROJECT["optional-dependencies"]
    needed = [*PROJECT["dependencies"], *extras["dev"]]
    names = {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in needed}
    assert names - {"kart_jax"} <= locked


@pytest.mark.parametrize("stage", ["system_packages.py", "venv", "pip", "kart_jax.data"])
def test_a_stage_that_fails_stops_and_is_tried_again(
    stage: str, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAK", stage)
    status, asked = make(clone, "train")
    assert status != 0
    assert stage in asked[-1]
    monkeypatch.setenv("BREAK", "nothing")
    status, asked = make(clone, "train")
    assert status == 0
    assert any(stage in line for line in asked)


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"


def test_accelerator_builds_are_of_the_same_jax() -> None:
    [bound] = [jax_bound(r) for r in PROJECT["dependencies"] if r.startswith("jax>")]
    lines = (ROOT / "requirements-cuda.txt").read_text().splitlines()
    assert [jax_bound(line) for line in lines if line.startswith("jax")] == [bound]
    tpu = re.findall(r'"(jax\[tpu\][^"]*)"', (ROOT / "README.md").read_text())
    assert [jax_bound(requirement) for requirement in tpu] == [bound]


def test_the_package_is_found_beside_a_clone_that_has_its_name(tmp_path: Path) -> None:
    """As in a notebook that lies in the folder in which `git clone` was run."""
    (tmp_path / "kart_jax").symlink_to(ROOT)
    program = "import kart_jax, pathlib; print(kart_jax.load_policy.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "load_policy\n", done.stderr


def test_versions_agree() -> None:
    assert PROJECT["version"] == __version__
    assert PROJECT["requires-python"] == ">=" + ".".join(map(str, system.PYTHON))
