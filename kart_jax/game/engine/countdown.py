"""The countdown before GO without the race's physics, for karts that are put elsewhere anyway."""

import ctypes

from kart_jax.game.errors import GameError

_WORLD = "_ZN5World7m_worldE"
"""World::m_world"""
_UPDATE_TIME = "_ZN11WorldStatus10updateTimeEi"
"""WorldStatus::updateTime(int): what a tick of the game does to its clock and phases."""


def pass_time(library: str, ticks: int) -> None:
    """Let the race's clock and its phases, but nothing else, take some ticks of the physics.

    Raises:
        GameError: this build of pystk2 does not export what is needed.
    """
    game = ctypes.CDLL(library)
    try:
        world = ctypes.c_void_p.in_dll(game, _WORLD)
        update_time = game[_UPDATE_TIME]
    except (AttributeError, ValueError) as error:
        raise GameError(
            f"the clock of this build of pystk2 cannot be set ({error}): leave random_start = 0"
        ) from None
    update_time.argtypes, update_time.restype = [ctypes.c_void_p, ctypes.c_int], None
    for _ in range(ticks):
        update_time(world, 1)
