"""What can go wrong with the game, as errors that say what to do."""


class GameError(RuntimeError):
    """The game cannot go on."""


class DataError(GameError):
    """The game's data is missing, incomplete or of another version."""


class GraphicsError(GameError):
    """No frame can be drawn on this machine."""


class RaceInUseError(GameError):
    """A second race, or a second frame size, was asked of one process."""
