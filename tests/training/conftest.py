"""What the tests of whole runs share."""

from pathlib import Path

import pytest

from tests.helpers.tiny_run import SAVE_OFTEN, UPDATES, arguments, finish, start


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing happened to, which no test may change."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    process = start(arguments(run_dir, UPDATES, *SAVE_OFTEN))
    assert finish(process) == ""
    assert process.returncode == 0
    return run_dir
