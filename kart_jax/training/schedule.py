"""Work that is due every N policy steps."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Every:
    """Does `work` whenever the count of policy steps has passed a multiple of `steps`.

    Passing several multiples at once counts once. `done` is the step at which the work was last
    done, or at which the run began; with `steps` of 0 it is never due.
    """

    steps: int
    work: Callable[[], None]
    done: int = 0

    def is_due(self, step: int) -> bool:
        """Return whether a multiple lies between `done` and `step`."""
        return self.steps > 0 and step // self.steps > self.done // self.steps

    def run(self, step: int) -> None:
        """Do the work if it is due.

        It counts as done once it has ended: work that a stop cut short is due again.
        """
        if self.is_due(step):
            self.work()
            self.done = step
