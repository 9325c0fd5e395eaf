"""What is due every N policy steps."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Every:
    """Does `work` whenever the count of policy steps has passed a multiple of `steps`.

    Passing several multiples at once is one time. `done` is the step of the last time, or the one
    that a run begins with; with `steps` of 0 nothing is ever due.
    """

    steps: int
    work: Callable[[], None]
    done: int = 0

    def is_due(self, step: int) -> bool:
        """Return whether a multiple lies between the last time and `step`."""
        return self.steps > 0 and step // self.steps > self.done // self.steps

    def run(self, step: int) -> None:
        """Do the work if it is due.

        It counts as done once it has ended: work that a stop cut short is due again.
        """
        if self.is_due(step):
            self.work()
            self.done = step
