"""What all tests share."""

import os

import platformdirs
import pytest

from kart_jax.game.engine.data import find_data

# Set before anything imports JAX: most of the tests' time would be compiling.
CACHE = platformdirs.user_cache_path("kart_jax") / "xla"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests on the real game where its data is not there; `make test` fetches it."""
    if find_data() is None:
        skip = pytest.mark.skip(reason="no game data: python -m kart_jax.data")
        for item in items:
            if item.get_closest_marker("real_game"):
                item.add_marker(skip)
