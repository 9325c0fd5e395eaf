"""`python -m kart_jax.train`: train a policy, from an empty folder or from where it stopped."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kart_jax.cli.command import UNFINISHED, command, command_line
from kart_jax.cli.options import parse_all
from kart_jax.config import ClusterConfig, TrainConfig, race_of
from kart_jax.game import make_env
from kart_jax.validation import check
from kart_jax.workers.process import check_open_files
from kart_jax.workers.worker import MakeEnv, check_importable

if TYPE_CHECKING:
    from kart_jax.run_folder.source import Source
    from kart_jax.training.run import Run

log = logging.getLogger(__name__)

FILM = "lap.mp4"
"""In a run's folder: a greedy race of the trained policy."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says.

    The exit status is 0, or 1 with an error printed, or `UNFINISHED` where a signal ended the run.
    """
    config, cluster = parse_all(arguments)
    return run(config, cluster=cluster)


def run(config: TrainConfig, make: MakeEnv = make_env, cluster: ClusterConfig | None = None) -> int:
    """Train as configured, on environments that `make` makes, and show what came of it."""
    from kart_jax.game.engine.catalogue import check_installed
    from kart_jax.run_folder.folder import check_run, open_run
    from kart_jax.run_folder.source import find_source, load_teacher, policy_spec
    from kart_jax.training.devices import Devices, prepare_jax
    from kart_jax.training.loop import train
    from kart_jax.training.metrics import Stopwatch
    from kart_jax.training.processes import Processes, StopRelay, join, leave
    from kart_jax.training.run import Run
    from kart_jax.training.signals import Interrupted, StopRequest

    prepare_jax()
    if cluster is not None and cluster.distributed:
        join(cluster)
    devices = Devices()
    processes = Processes(devices)
    processes.check_same(config)

    def check_all() -> None:
        check_installed(config.race)
        check_extras(config)
        devices.check_divides(config)
        if config.workers.workers == "process":
            check_importable(make)
            check_open_files(config.workers.num_envs + config.workers.spares)
        if processes.is_first:
            if config.is_taught:
                load_teacher(config, policy_spec(config))
            check_run(config)
            warn(config, devices.local[0].platform)

    def find() -> "Source | None":
        return find_source(config, config.run.run_dir) if processes.is_first else None

    with contextlib.ExitStack() as stack:
        processes.together(check_all)
        found = processes.together(find)
        if processes.any(is_over(config, found)):
            if processes.is_first:
                print(nothing_left(config))
            leave()
            return 0
        run_dir = processes.together(
            lambda: stack.enter_context(open_run(config, write=processes.is_first))
        )
        if processes.is_first and not config.run.quiet:
            print(f"Training in {run_dir}; {first_stage(config, run_dir)}.", flush=True)
        deadline = time.monotonic() + 60 * (config.run.minutes or float("inf"))
        stop = stack.enter_context(StopRequest(config.run.grace))
        stack.enter_context(StopRelay(stop))
        this = Run(config, run_dir, processes, stop, Stopwatch(), deadline)
        try:
            source = processes.in_first(lambda: begin(this, found, make))
            finished = train(this, source, make)
        except Interrupted:  # before the first rollout: nothing was learnt yet
            finished = False
    leave()
    if processes.is_first and not config.run.quiet:
        _show(run_dir, drive=finished and stop.name is None)
    return 0 if finished else UNFINISHED


def is_over(config: TrainConfig, source: "Source | None") -> bool:
    """Return whether a resumed run has taken all its steps, and evaluated what it learnt."""
    from kart_jax.run_folder.source import Resumed
    from kart_jax.training.schedule import Every

    if not isinstance(source, Resumed) or source.step < config.run.total_steps:
        return False
    evaluated = source.progress.get("evaluated", source.step)
    return not Every(config.run.eval_steps, lambda: None, evaluated).is_due(source.step)


def begin(run: "Run", found: "Source | None", make: MakeEnv) -> "Source | None":
    """Return what a run begins with: what was found, or else the policy that it imitates now.

    Raises:
        Interrupted: a stop was asked for; imitation's rounds so far are saved.
    """
    from kart_jax.imitation.stage import imitate
    from kart_jax.run_folder.loading import load_policy
    from kart_jax.run_folder.source import policy_spec

    if found is not None or not run.config.imitation.imitation_steps:
        return found
    with run.stopwatch("imitate"):
        folder = imitate(run.config, policy_spec(run.config), run.folder, run.stop, make)
    return load_policy(folder)


def check_extras(config: TrainConfig) -> None:
    """Refuse what needs packages that are not there.

    Raises:
        ValueError: says what to install.
    """
    from kart_jax.evaluation.video import check_encoder
    from kart_jax.run_folder.logs import check_wandb

    if config.run.video_steps:
        fake = config.race.simulator == "fake"
        check(not fake, "video_steps", config.run.video_steps, "0 with the fake game: no views")
        check_encoder()
    if config.run.wandb:
        check_wandb()


def warn(config: TrainConfig, platform: str) -> None:
    """Warn of what will hardly do what its user expects.

    Args:
        config: the run.
        platform: of JAX's devices: cpu, gpu or tpu.
    """
    from kart_jax.doctor import check_memory
    from kart_jax.run_folder.checkpoints import read_best

    memory = check_memory(config)
    if config.race.simulator != "fake" and memory.state == "FAILED":
        log.warning("memory: %s; %s", memory.found, memory.remedy)
    if config.run.preset in ("gpu", "reference") and platform == "cpu":
        log.warning(
            "the preset %s is for a GPU or a TPU, and JAX finds only a processor here: see "
            "python -m kart_jax.doctor, or choose --preset cpu",
            config.run.preset,
        )
    if config.run.resume and config.run.run_dir is not None and not config.run.eval_steps:
        folder = config.run.run_dir / "checkpoints"
        if best := read_best(folder):
            log.warning(
                "without --eval-steps the best checkpoint stays that of step %d, which play and "
                "export take; for a newer one name its folder in %s",
                best["step"],
                folder,
            )


def first_stage(config: TrainConfig, run_dir: Path) -> str:
    """Say what a run begins with."""
    from kart_jax.run_folder.checkpoints import ever_saved
    from kart_jax.run_folder.folder import IMITATED

    steps = 0 if config.run.init_from else config.imitation.imitation_steps
    if not steps or (run_dir / IMITATED).exists() or ever_saved(run_dir / "checkpoints"):
        return "compiling first, for a minute or two"
    first = f"imitating first, for {steps:,} steps"
    if config.run.minutes is None:
        return first
    return f"{first}, which count but are not cut short by --minutes {config.run.minutes:g}"


def nothing_left(config: TrainConfig) -> str:
    """Say why a resumed run ends at once, and what to do."""
    more = command_line(
        "kart_jax.train",
        *("--resume", "--run-dir", config.run.run_dir),
        *("--total-steps", 2 * config.run.total_steps),
    )
    return (
        f"Nothing is left to do: {config.run.run_dir} has trained for its "
        f"{config.run.total_steps:,} steps. For more: {more}"
    )


def race_once(run_dir: Path) -> None:
    """Race the trained policy once, alone and from the grid; print how it went, and film it.

    The race is in a worker, which may crash; the policy acts in this process, since an
    accelerator whose memory this one holds has no room for another.

    Raises:
        RuntimeError: there is no checkpoint, or the game cannot run.
        OSError: the film cannot be written.
    """
    from kart_jax.evaluation.recorder import drive_trial, film_trial
    from kart_jax.evaluation.trials import Trial
    from kart_jax.play import describe_episode
    from kart_jax.run_folder.loading import load_policy

    policy = load_policy(run_dir)
    race = race_of(policy.race)
    trial = Trial("policy", race.track[0], 0, race.difficulty)
    episode, steps = drive_trial(race, trial, policy)
    print(describe_episode(episode), flush=True)
    if race.simulator != "fake":  # which has no views
        film_trial(run_dir / FILM, race, trial, steps)
        print(f"Its film, for any video player or browser: {run_dir / FILM}")


def next_commands(run_dir: Path) -> Iterator[tuple[str, str]]:
    """Yield what to type next, about a run, and what it does."""
    from kart_jax.run_folder.checkpoints import ever_saved
    from kart_jax.run_folder.folder import IMITATED

    if ever_saved(run_dir / "checkpoints") or (run_dir / IMITATED).exists():
        yield "races on", command_line("kart_jax.play", run_dir, "--episodes", 10)
        yield (
            "writes a page: results beside the game's AI and the human record, lines, curves",
            command_line("kart_jax.report", run_dir),
        )
    yield "continues training", command_line("kart_jax.train", "--resume", "--run-dir", run_dir)
    if (run_dir / "tensorboard").exists():
        yield "shows all metrics", command_line("tensorboard.main", "--logdir", run_dir)


def _show(run_dir: Path, drive: bool) -> None:
    """Say where to look next; `drive` the trained policy once before."""
    if drive:
        print("\nOne greedy episode of the trained policy:", flush=True)
        try:
            race_once(run_dir)
        except (RuntimeError, OSError) as error:  # the run is saved already
            log.warning("%s", error)
    print(f"\nThe run is in {run_dir}. Next:")
    for does, line in next_commands(run_dir):
        print(f"  {line}\n      {does}")


if __name__ == "__main__":
    sys.exit(main())
