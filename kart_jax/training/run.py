"""What the parts of a run share."""

from dataclasses import dataclass
from pathlib import Path

from kart_jax.config import TrainConfig
from kart_jax.training.metrics import Stopwatch
from kart_jax.training.processes import Processes
from kart_jax.training.signals import StopRequest


@dataclass(frozen=True)
class Run:
    """Configuration, folder, processes, stop request, times and deadline of one run."""

    config: TrainConfig
    folder: Path
    processes: Processes
    stop: StopRequest
    stopwatch: Stopwatch
    deadline: float
    """`time.monotonic()` after which no further update begins."""
