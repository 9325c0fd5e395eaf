"""What all tests share."""

import pytest

from kart_jax.game.data import find_data


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests on the real game where its data is not there; `make test` fetches it."""
    if find_data() is None:
        skip = pytest.mark.skip(reason="no game data: python -m kart_jax.data")
        for item in items:
            if item.get_closest_marker("real_game"):
                item.add_marker(skip)
