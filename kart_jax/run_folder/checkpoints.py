"""Checkpoints that are whole or absent: orbax, with digests of our own.

A run's `checkpoints/STEP/` holds `policy` (the network's variables), `learner` (the rest of the
learner's state), `collector` (the environments' arrays, where they can be saved), `progress`
(JSON: counters, configuration, the environments' other values) and `digests.json`, written last;
`checkpoints/best.json` names the best of a run that evaluates. A folder without its
digests, or whose files do not match them, is skipped: orbax itself takes an emptied folder
for the latest step, and loads a flipped byte without an error.
"""

import hashlib
import json
import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from kart_jax.files import write_whole

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax logs every step of a save
log = logging.getLogger(__name__)

DIGESTS = "digests.json"
DELETED = ".deleted"
_ARRAY, _EMPTY = "array", "empty"
BEST = "best.json"
"""Beside the checkpoints of a run that evaluates: the best one's step and metrics."""


class CheckpointError(RuntimeError):
    """No checkpoint can be read where one was asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run resumes from, as host arrays and plain values."""

    step: int
    """Policy steps taken."""
    policy: Any
    """The network's variables."""
    learner: Any
    """Optimiser, counters, random key."""
    progress: dict[str, Any]
    """Plain JSON."""
    collector: Any = None
    """The environments' states, nested NumPy arrays and plain values; None if not saved."""


class Checkpoints:
    """The checkpoints of one run, saved in the background one at a time."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self.folder = (run_dir / "checkpoints").absolute()
        self._keep = keep
        self._whole: set[int] | None = None
        """Steps whose checkpoints are whole; read once, before the first save."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future[None] | None = None

    def save(self, checkpoint: Checkpoint, best: dict[str, float] | None = None) -> None:
        """Begin to save; the arrays must not change afterwards.

        A failed save (a full disk, say) is a warning, and leaves the earlier checkpoints alone.

        Args:
            checkpoint: what to save.
            best: its metrics if it is the best so far; it is then not removed until there is a
                better one.
        """
        self.wait()
        self._saving = self._thread.submit(self._save, checkpoint, best)

    def wait(self) -> bool:
        """Wait for the current save; return whether it succeeded."""
        saving, self._saving = self._saving, None
        if saving is None:
            return True
        try:
            saving.result()
        except Exception as error:  # whatever orbax or the disk raised, training continues
            log.warning(
                "a checkpoint could not be saved (%s); training continues and tries again "
                "at the next one. Free some space in %s.",
                error,
                self.folder,
            )
            return False
        return True

    def close(self) -> bool:
        """Wait for the last save and stop; return whether it succeeded."""
        saved = self.wait()
        self._thread.shutdown()
        return saved

    def _save(self, checkpoint: Checkpoint, best: dict[str, float] | None) -> None:
        if self._whole is None:
            self._whole = {step for step in steps(self.folder) if is_whole(self.folder / str(step))}
        if checkpoint.step not in self._whole:
            self._write(checkpoint, self.folder / str(checkpoint.step))
            self._whole.add(checkpoint.step)
        if best is not None:
            write_whole(self.folder / BEST, json.dumps({"step": checkpoint.step, "metrics": best}))
        self._prune(checkpoint.step, self._whole)

    def _prune(self, saved: int, whole: set[int]) -> None:
        """Remove checkpoints older than the one just saved, except the newest whole ones.

        Damaged ones do not count, so that whole ones remain; those of later steps are replaced
        when the run reaches them.
        """
        best = read_best(self.folder)
        retained = {*sorted(whole)[-self._keep :], best and best["step"]}
        for step in steps(self.folder):
            if step < saved and step not in retained:
                # Renamed first, so that readers see a whole checkpoint or none.
                deleted = self.folder / f"{step}{DELETED}"
                (self.folder / str(step)).rename(deleted)
                shutil.rmtree(deleted)
                whole.discard(step)

    def _write(self, checkpoint: Checkpoint, target: Path) -> None:
        options = ocp.CheckpointManagerOptions(
            create=False,
            enable_async_checkpointing=False,
            step_prefix=None,
            multiprocessing_options=_alone(),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in ("*.orbax-checkpoint-tmp*", f"*{DELETED}"):  # only this process writes here
            for unfinished in self.folder.glob(left):
                shutil.rmtree(unfinished)
        if target.exists():
            shutil.rmtree(target)
        arrays, collector = _take_arrays(checkpoint.collector)
        items = {
            "policy": ocp.args.StandardSave(checkpoint.policy),
            "learner": ocp.args.StandardSave(checkpoint.learner),
            "progress": ocp.args.JsonSave({**checkpoint.progress, "collector": collector}),
        }
        if arrays:
            items["collector"] = ocp.args.StandardSave(arrays)
        with ocp.CheckpointManager(self.folder, options=options) as manager:
            manager.save(checkpoint.step, args=ocp.args.Composite(**items), force=True)
        write_whole(target / DIGESTS, json.dumps(_digests(target)))


def steps(folder: Path) -> list[int]:
    """Return the steps that have a folder, whole or not, in ascending order."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdecimal())


def is_whole(checkpoint: Path) -> bool:
    """Return whether all files of a checkpoint are there and match their digests."""
    try:
        digests = json.loads((checkpoint / DIGESTS).read_text(encoding="utf-8"))
        return digests == _digests(checkpoint)
    except (OSError, ValueError):
        return False


def ever_saved(folder: Path) -> bool:
    """Return whether a run ever finished a checkpoint, damaged since or not."""
    return any((folder / str(step) / DIGESTS).exists() for step in steps(folder))


def latest(folder: Path) -> Path:
    """Return the newest whole checkpoint in a run's `checkpoints` folder.

    Damaged ones are skipped with a warning.

    Raises:
        CheckpointError: there is none.
    """
    for step in reversed(steps(folder)):
        checkpoint = folder / str(step)
        if is_whole(checkpoint):
            return checkpoint
        if checkpoint.exists():  # otherwise it was deleted meanwhile
            log.warning("%s is incomplete or damaged: skipped", checkpoint)
    raise CheckpointError(f"{folder} holds no whole checkpoint")


def read_best(folder: Path) -> dict[str, Any] | None:
    """Return `step` and `metrics` of the best checkpoint of a run that evaluates, or None."""
    try:
        best: dict[str, Any] = json.loads((folder / BEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return best


def best_or_latest(folder: Path) -> Path:
    """Return the best whole checkpoint in a run's `checkpoints` folder, or else the newest.

    Raises:
        CheckpointError: there is none.
    """
    best = read_best(folder)
    if best is not None:
        checkpoint = folder / str(best["step"])
        if is_whole(checkpoint):
            return checkpoint
        log.warning("%s, the best, is incomplete or damaged: skipped", checkpoint)
    return latest(folder)


def find(path: Path) -> Path:
    """Return the checkpoint at a path, or the best or newest one of the run at that path.

    Raises:
        CheckpointError: the path is no run and no checkpoint, or the checkpoint is damaged.
    """
    path = path.absolute()
    if (path / "checkpoints").is_dir():
        return best_or_latest(path / "checkpoints")
    if not (path / "policy").is_dir():
        raise CheckpointError(
            f"{path} is neither a run (a folder with checkpoints/) nor a checkpoint"
        )
    if not is_whole(path):
        raise CheckpointError(f"the checkpoint {path} is incomplete or damaged")
    return path


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint."""
    handler = ocp.JsonCheckpointHandler(multiprocessing_options=_alone())
    return _restore(checkpoint, "progress", handler, ocp.args.JsonRestore())


def read_policy(checkpoint: Path, template: Any) -> Any:
    """Return the network's variables as host arrays; `template` has shapes and types."""
    return _restore_arrays(checkpoint, "policy", template)


def read_learner(checkpoint: Path, template: Any) -> Any:
    """Return the rest of the learner's state as host arrays; `template` has their shapes."""
    return _restore_arrays(checkpoint, "learner", template)


def read_collector(checkpoint: Path, progress: dict[str, Any]) -> Any:
    """Return a checkpoint's environment states, given its `read_progress`, or None."""
    collector = progress["collector"]
    if collector is None:
        return None
    if not (checkpoint / "collector").is_dir():
        log.warning("%s is of an older version: its environments start new episodes", checkpoint)
        return None
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=_alone())
    arrays = _restore(checkpoint, "collector", handler, ocp.args.StandardRestore())
    return _put_arrays(arrays, collector)


def _take_arrays(tree: Any) -> tuple[dict[str, np.ndarray], Any]:
    """Return the arrays of a nested value by name, and the value with names in their place."""
    arrays: dict[str, np.ndarray] = {}

    def take(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray):
            if leaf.size == 0:  # orbax refuses those
                return {_EMPTY: [leaf.dtype.str, *leaf.shape]}
            name = f"array_{len(arrays)}"
            arrays[name] = leaf
            return {_ARRAY: name}
        return leaf.item() if isinstance(leaf, np.generic) else leaf

    return arrays, jax.tree.map(take, tree)


def _put_arrays(arrays: dict[str, np.ndarray], tree: Any) -> Any:
    """Put arrays back in the places of their names: the inverse of `_take_arrays`."""

    def is_named(node: Any) -> bool:
        return isinstance(node, dict) and node.keys() in ({_ARRAY}, {_EMPTY})

    def put(leaf: Any) -> Any:
        if not is_named(leaf):
            return leaf
        if _ARRAY in leaf:
            return arrays[leaf[_ARRAY]]
        kind, *shape = leaf[_EMPTY]
        return np.zeros(shape, kind)

    return jax.tree.map(put, tree, is_leaf=is_named)


def _restore_arrays(checkpoint: Path, item: str, template: Any) -> Any:
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=_alone())
    arrays = _restore(checkpoint, item, handler, ocp.args.StandardRestore(empty))
    for (path, expected), array in zip(
        jax.tree.leaves_with_path(empty), jax.tree.leaves(arrays), strict=True
    ):
        if (
            np.shape(array) != expected.shape
        ):  # orbax returns the saved shape, not the requested one
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise CheckpointError(
                f"{checkpoint / item} does not fit this run: {name} is {np.shape(array)} there "
                f"and {expected.shape} here"
            )
    return arrays


def _restore(checkpoint: Path, item: str, handler: Any, args: Any) -> Any:
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=_alone()) as checkpointer:
            return checkpointer.restore(checkpoint / item, args=args)
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{checkpoint / item} does not fit this run: {error}") from error


def _alone() -> ocp.options.MultiprocessingOptions:
    """Return options to wait for no other process: only this one saves and reads."""
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=this, active_processes={this})


def _digests(checkpoint: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a checkpoint, by its path within."""
    digests = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and not path.name.startswith(DIGESTS):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            digests[str(path.relative_to(checkpoint))] = digest
    return digests
