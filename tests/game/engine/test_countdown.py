"""The countdown's clock where it cannot be had; that it works is tested on the real game."""

import ctypes.util

import pytest

from kart_jax.game.engine import countdown
from kart_jax.game.errors import GameError


def test_a_build_without_the_function_is_told_apart() -> None:
    library = ctypes.util.find_library("c")
    assert library is not None
    with pytest.raises(GameError, match=r"clock .* cannot be set .* leave random_start = 0"):
        countdown.pass_time(library, ticks=12)
