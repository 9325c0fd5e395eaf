"""Errors of the game, each with a remedy in its message."""


class GameError(RuntimeError):
    """The game cannot continue."""


class DataError(GameError):
    """The game's data is missing, incomplete or of another version."""


class GraphicsError(GameError):
    """No frame can be drawn on this machine."""


class RaceInUseError(GameError):
    """A second race, or a second frame size, was requested in one process."""
