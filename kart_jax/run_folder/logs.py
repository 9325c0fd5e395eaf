"""Logs of metrics: TensorBoard, JSON lines, Weights & Biases."""

import json
import logging
import math
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kart_jax.config import TrainConfig
from kart_jax.files import write_whole
from kart_jax.run_folder.provenance import record_start
from kart_jax.validation import UserError

log = logging.getLogger(__name__)


class MetricsWriter:
    """Writes metrics by policy step, to TensorBoard and `metrics.jsonl` in a run's folder.

    What an earlier, interrupted run wrote beyond `start` is dropped, so that the curves of
    a resumed run have neither a gap nor an overlap.
    """

    def __init__(
        self,
        run_dir: Path | None,
        start: int,
        about: Mapping[str, Any] | None = None,
        wandb: bool = False,
    ) -> None:
        """Open the logs.

        Args:
            run_dir: the run's folder; None writes nothing, since another process does.
            start: policy steps at which the run begins or resumes.
            about: plain values that describe the run, displayed beside the curves.
            wandb: whether to write to Weights & Biases too, where nothing can be dropped:
                what was logged there beyond `start` stays, and is not logged again.

        Raises:
            UserError: Weights & Biases does not start.
            OSError: the lines beyond `start` cannot be dropped; all lines stay.
        """
        self._nowhere, self._failed = run_dir is None, False
        if run_dir is None:
            return
        self._wandb = _open_wandb(run_dir, about or {}) if wandb else None
        self._lines_path = run_dir / "metrics.jsonl"
        self._drop_after(start)
        self._lines = self._lines_path.open("a", encoding="utf-8")
        self._board_path = run_dir / "tensorboard"
        self._board = self._open_board(start)
        if about:
            text = "".join(f"    {line}\n" for line in json.dumps(about, indent=2).splitlines())
            self._board.add_text("run", text, start)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one update."""
        if self._nowhere:
            return
        line = {"step": step, "wall_time": time.time()} | {
            name: value if math.isfinite(value) else None for name, value in metrics.items()
        }
        with self._surviving():
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
            if not self._board.file_writer.event_writer._worker.is_alive():
                self._board = self._open_board(step)
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)
            self._failed = False
        if self._wandb is not None:
            self._wandb.log(dict(metrics), step=step)

    def close(self) -> None:
        """Flush everything to disk."""
        if self._nowhere:
            return
        with self._surviving():
            self._lines.close()
        with self._surviving():
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _open_board(self, start: int) -> Any:
        from tensorboardX import SummaryWriter

        # A full disk ends its thread; a short queue would then block `write`.
        return SummaryWriter(str(self._board_path), purge_step=start + 1, max_queue=10_000)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Warn once where the disk is full, and let training continue."""
        try:
            yield
        except OSError as error:
            if not self._failed:
                log.warning("metrics cannot be written (%s); training continues without", error)
            self._failed = True

    def _drop_after(self, start: int) -> None:
        if not self._lines_path.exists():
            return
        earlier = []
        for line in self._lines_path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= start:
                    earlier.append(line + "\n")
            except ValueError:  # the last line of a run that was killed while writing it
                continue
        write_whole(self._lines_path, "".join(earlier))


def open_writer(run_dir: Path | None, config: TrainConfig, step: int) -> MetricsWriter:
    """Open the logs of a run that begins, or resumes, at `step`, and add this start to `run.json`.

    Args:
        run_dir: the run's folder; None in processes that write nothing.
        config: the run's.
        step: policy steps taken so far.

    Raises:
        UserError: Weights & Biases does not start.
    """
    if run_dir is None:
        return MetricsWriter(None, step)
    about = {"config": config.to_dict(), "start": record_start(run_dir, step)}
    return MetricsWriter(run_dir, step, about, config.run.wandb)


def check_wandb() -> None:
    """Refuse to continue without Weights & Biases.

    Raises:
        ValueError: says what to do.
    """
    try:
        from wandb import init  # noqa: F401
    except ImportError:  # a folder `wandb` of earlier logs may look like a module
        raise UserError("--wandb needs the package wandb: pip install wandb") from None


def _open_wandb(run_dir: Path, about: Mapping[str, Any]) -> Any:
    """Start or resume the run of the id that the run's folder holds."""
    import wandb

    path = run_dir / "wandb_id"
    if not path.exists():
        write_whole(path, secrets.token_hex(4))
    try:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "kart_jax"),
            name=run_dir.name,
            id=path.read_text(encoding="utf-8"),
            resume="allow",
            dir=run_dir,
            config=dict(about),
        )
    except Exception as error:  # its own error classes: no account, no connection
        raise UserError(
            f"Weights & Biases did not start: {error}. See `wandb login`, or set "
            "WANDB_MODE=offline to upload later."
        ) from error
