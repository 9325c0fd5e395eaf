"""How many races run at once, and how their processes are watched."""

from dataclasses import dataclass
from typing import Literal

from kart_jax.validation import check, check_choice


@dataclass(frozen=True)
class WorkerConfig:
    """The processes that simulate."""

    num_envs: int = 8
    """Races at once, each in a process of its own (about 540 MB each)."""
    groups: int | None = None
    """2: while one half simulates, the other's actions are computed; 1: all together. By
    default 2 where the devices can share that many evenly."""
    workers: Literal["process", "serial"] = "process"
    """`process`: spawned and supervised; `serial`: in this process, for debugging (the
    real game allows one race a process, so `serial` there needs num_envs = 1)."""
    step_timeout: float = 30.0
    """Seconds that a step or reset may take before its worker counts as hung."""
    start_timeout: float = 180.0
    """Seconds that a worker may take to start."""
    spares: int = 1
    """Processes that stand by with the game loaded, to take over from lost workers at once
    (as much memory each as a worker)."""
    max_losses: int = 5
    """Losses in a row of one environment's worker (no step in between) that are survived;
    one more stops the run."""

    def __post_init__(self) -> None:
        """Refuse impossible counts."""
        check(1 <= self.num_envs <= 10_000, "num_envs", self.num_envs, "1 to 10000")
        check_choice("groups", self.groups, [None, 1, 2])
        check(
            self.num_envs % (self.groups or 1) == 0,
            "groups",
            self.groups,
            f"a divisor of num_envs = {self.num_envs}",
        )
        check_choice("workers", self.workers, ["process", "serial"])
        for name in ("step_timeout", "start_timeout"):
            fits = 0.01 <= getattr(self, name) <= 1e6
            check(fits, name, getattr(self, name), "0.01 to 1000000 s")
        check(0 <= self.spares <= 10_000, "spares", self.spares, "0 to 10000")
        check(self.max_losses >= 1, "max_losses", self.max_losses, "at least 1")

    def group_count(self, devices: int = 1) -> int:
        """Return the number of groups, each split evenly over `devices` where possible."""
        return self.groups or (2 if self.num_envs % (2 * devices) == 0 else 1)
