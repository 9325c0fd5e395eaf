"""The start boost where it cannot be had; that it works is tested on the real game."""

import ctypes.util

import pytest

from kart_jax.game.engine import start_boost
from kart_jax.game.errors import GameError


def test_a_build_without_the_functions_is_told_apart() -> None:
    library = ctypes.util.find_library("c")
    assert library is not None
    with pytest.raises(GameError, match=r"has no start boost .* leave hold_start = False"):
        start_boost.press(library, player=0, ticks=121)
