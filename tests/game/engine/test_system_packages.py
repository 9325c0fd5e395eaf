"""Installing system packages, or saying who must."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kart_jax.game.engine import system_packages as system


@pytest.fixture
def needy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without two of the packages."""
    monkeypatch.setattr(system, "missing_packages", lambda: ["libegl1", "libgl1"])


def test_nothing_is_missing_where_all_libraries_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda library: None)
    assert system.missing_packages() == []


def test_each_library_that_does_not_load_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(library: str) -> None:
        raise OSError(library)

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(system, "glob", lambda pattern: [])
    assert system.missing_packages() == ["libglib2.0-0", "libegl1", "libgl1", "libgl1-mesa-dri"]


@pytest.mark.usefixtures("needy")
def test_without_root_the_administrators_command_is_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    with pytest.raises(SystemExit, match="An administrator must run") as stop:
        system.main()
    command = system.install_command(["libegl1", "libgl1"])
    assert f"sudo sh -c '{command}'" in str(stop.value)


@pytest.mark.usefixtures("needy")
def test_without_apt_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(SystemExit, match="packages as libegl1, libgl1"):
        system.main()


@pytest.mark.usefixtures("needy")
@pytest.mark.parametrize("status", [0, 100])
def test_root_installs_and_a_failure_stops(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    script = tmp_path / "apt-get"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexit {status}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if status:
        with pytest.raises(SystemExit, match="could not install them"):
            system.main()
    else:
        system.main()
        assert log.read_text() == (
            "-qq update\n-qq install -y --no-install-recommends libegl1 libgl1\n"
        )


def test_it_runs_before_anything_is_installed() -> None:
    code = f"import runpy; runpy.run_path({system.__file__!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_an_old_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "PYTHON", (99, 1))
    with pytest.raises(SystemExit, match=r"needs Python 99\.1 or newer"):
        system.main()
