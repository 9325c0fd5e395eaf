"""What goes wrong with workers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerLoss:
    """One worker that died, failed or hung: who, doing what, why, and its last words."""

    index: int
    """The environment it ran, from 0."""
    track: str
    command: str
    """What it was doing: start, reset, step, ..."""
    cause: str
    """The signal, the exit status, or how long it did not answer."""
    last_words: str
    """The end of what it wrote to stderr and stdout."""

    def __str__(self) -> str:
        words = f"; its last words:\n{self.last_words}" if self.last_words else ""
        where = f" on {self.track}" if self.track else ""
        return f"worker {self.index}{where} was lost in {self.command}: {self.cause}{words}"


class WorkerLostError(RuntimeError):
    """A worker is gone; inside this room only, where it is then replaced."""

    def __init__(self, loss: WorkerLoss, hung: bool) -> None:
        """Carry `loss` to where the worker is replaced; `hung`: it took all the time."""
        super().__init__(str(loss))
        self.loss = loss
        self.hung = hung


class WorkersLostError(RuntimeError):
    """The worker of one environment was lost too many times in a row."""

    def __init__(self, losses: list[WorkerLoss], limit: int) -> None:
        """Name the `losses` in a row that passed `limit`."""
        named = "\n".join(map(str, losses[-3:]))
        super().__init__(
            f"environment {losses[-1].index} lost {len(losses)} workers in a row, with no step"
            f" in between (max_losses = {limit}); the last of them:\n{named}"
        )
        self.losses = losses
