"""What all tests share."""

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator

import platformdirs
import pytest

from kart_jax.game.engine.data import find_data

# Set before anything imports JAX: most of the tests' time would be compiling.
CACHE = platformdirs.user_cache_path("kart_jax") / "xla"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Programs run for moments here: to optimise them takes twice the time of not doing so.
FLAG = "--xla_backend_optimization_level"
if FLAG not in (flags := os.environ.get("XLA_FLAGS", "")):
    os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=0".strip()


def pytest_configure() -> None:
    """Let processes that tests start hear signals, which a background job or nohup ignores."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Drop the programs that a file's tests compiled: together they take gigabytes."""
    yield
    if jax := sys.modules.get("jax"):
        jax.clear_caches()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests on the real game where its data is not there; `make test` fetches it."""
    if find_data() is None:
        skip = pytest.mark.skip(reason="no game data: python -m kart_jax.data")
        for item in items:
            if item.get_closest_marker("real_game"):
                item.add_marker(skip)
