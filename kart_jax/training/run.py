"""What a run is, and what its parts share."""

from dataclasses import dataclass
from pathlib import Path

from kart_jax.config import TrainConfig
from kart_jax.training.metrics import Stopwatch
from kart_jax.training.processes import Cluster
from kart_jax.training.signals import StopRequest


@dataclass(frozen=True)
class Run:
    """What is trained, where it is written, who takes part, and when it ends."""

    config: TrainConfig
    folder: Path
    processes: Cluster
    stop: StopRequest
    stopwatch: Stopwatch
    deadline: float
    """`time.monotonic()` after which no further update begins."""
