"""The start boost: the game's own reward for pressing the accelerator right after "Set!".

pystk2 0.7.4 has code for it, but decides by a flag that it never initialises and never
resets (`PySTKController::m_has_started`): in practice no press earns it. So the game is
asked directly, through the functions that pystk2's library exports: what this moment's
press earns, by the rule that counts for every kart, and to let the kart have it at GO.
"""

import ctypes

from kart_jax.game.errors import GameError

_WORLD = "_ZN5World7m_worldE"
"""World::m_world"""
_FIND_KART = "_ZNK5World13getPlayerKartEj"
"""World::getPlayerKart(unsigned) const"""
_EARNED = "_ZNK4Kart29getStartupBoostFromStartTicksEi"
"""Kart::getStartupBoostFromStartTicks(int) const: ticks since "Ready"."""
_SET_BOOST = "_ZN4Kart15setStartupBoostEf"
"""Kart::setStartupBoost(float)"""


def press(library: str, player: int, ticks: int) -> float:
    """Let a kart have the boost that pressing the accelerator now earns.

    It takes effect at GO if the accelerator is still held then.

    Args:
        library: path of the pystk2 extension, loaded and with a race in it.
        player: place of the kart in the race's list of players, from 0.
        ticks: physics steps since "Ready!", the value of `WorldState.aux_ticks` in the countdown.

    Returns:
        The boost in metres a second; 0 before "Set!", or more than half a second after it.

    Raises:
        GameError: this build of pystk2 does not export what is needed.
    """
    game = ctypes.CDLL(library)
    try:
        world = ctypes.c_void_p.in_dll(game, _WORLD)
        find_kart, earned, set_boost = game[_FIND_KART], game[_EARNED], game[_SET_BOOST]
    except (AttributeError, ValueError) as error:
        raise GameError(
            f"this build of pystk2 has no start boost ({error}): leave hold_start = False"
        ) from None
    find_kart.argtypes, find_kart.restype = [ctypes.c_void_p, ctypes.c_uint], ctypes.c_void_p
    earned.argtypes, earned.restype = [ctypes.c_void_p, ctypes.c_int], ctypes.c_float
    set_boost.argtypes, set_boost.restype = [ctypes.c_void_p, ctypes.c_float], None
    kart = find_kart(world, player)
    boost = float(earned(kart, ticks))
    set_boost(kart, boost)
    return boost
