"""A run's folder: made once, never overwritten, written by one process at a time."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from kart_jax import config as configs
from kart_jax.config import TrainConfig
from kart_jax.game.config import RaceConfig
from kart_jax.imitation.config import ImitationConfig
from kart_jax.policy.config import NetworkConfig
from kart_jax.validation import UserError

IMITATED = "imitated"
"""In a run's folder: the policy that imitation made, as exported policies are."""
FIXED = {
    "network": [field.name for field in fields(NetworkConfig)],
    # Another race is another task: values and the best evaluation so far would not be its own.
    "race": [field.name for field in fields(RaceConfig)],
    # Its learning rate falls over all its steps, and its data decide what the policy learnt.
    "imitation": [field.name for field in fields(ImitationConfig)],
    "ppo": ["discount", "normalise_rewards"],
    "run": ["seed", "init_from"],
}
"""Fields, by part, that a resumed run may not change: its parameters' shape and meaning."""


@contextmanager
def open_run(config: TrainConfig, write: bool = True) -> Iterator[Path]:
    """Make the folder of a new run, or open that of a run to resume; locked while in use.

    Of several processes of one run only one may `write`; the others only get the folder's name.

    Raises:
        ValueError: as `check_run`, or another process writes the run.
    """
    if not write:
        yield config.run.run_dir or default_folder(config)
        return
    check_run(config)
    if config.run.run_dir is None:
        run_dir = make_new(default_folder(config))
    else:
        run_dir = config.run.run_dir
        run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{run_dir} is being written by another process") from None
        if not config.run.resume and (run_dir / "config.json").exists():  # begun since the check
            raise UserError(f"{run_dir} holds a run that another process has just begun")
        configs.save(config, run_dir / "config.json")
        yield run_dir


def check_run(config: TrainConfig) -> None:
    """Refuse a folder that this run may not write; create nothing.

    Raises:
        ValueError: the folder exists already, or holds a run that cannot be resumed with `config`.
    """
    run_dir = config.run.run_dir
    if run_dir is None:
        return
    if config.run.resume:
        check_resumable(configs.load(run_dir / "config.json"), config)
    elif run_dir.exists() and any(run_dir.iterdir()):
        raise UserError(
            f"{run_dir} exists already and is never overwritten: add --resume to continue it, "
            "or choose another --run-dir"
        )


def default_folder(config: TrainConfig) -> Path:
    """Return a folder named by the time and the tracks."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    return Path("runs") / f"{stamp}_{'+'.join(config.race.track)[:40]}"


def make_new(folder: Path) -> Path:
    """Make and return a folder of this name or of the next free one: `name_2`, `name_3`..."""
    number = 1
    while True:
        path = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def check_resumable(saved: TrainConfig, config: TrainConfig) -> None:
    """Refuse to resume a run with parameters of another shape or meaning.

    Raises:
        ValueError: names the fields that differ.
    """
    changed = [
        f"{name} ({before} -> {now})"
        for part, names in FIXED.items()
        for name in names
        if (before := getattr(getattr(saved, part), name))
        != (now := getattr(getattr(config, part), name))
    ]
    if changed:
        raise UserError(
            "a resumed run keeps what its parameters mean; these differ: "
            + ", ".join(changed)
            + ". Leave them out, or begin a new run with --init-from."
        )
