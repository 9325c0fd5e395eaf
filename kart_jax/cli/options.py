"""From a command line to a configuration."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import tyro

from kart_jax.cli.command import program
from kart_jax.cli.help import ConfigFile, print_help
from kart_jax.config import PRESETS, ClusterConfig, TrainConfig, load, preset_name
from kart_jax.game.engine.catalogue import expand_tracks
from kart_jax.validation import check


def parse(arguments: Sequence[str] | None = None, command: str = "train") -> TrainConfig:
    """Return the configuration that a command line asks for.

    Flags override a preset (`--preset`), a saved configuration (`--config`) or, with
    `--resume`, the run's own.

    Raises:
        ValueError: a value is not allowed, or a saved configuration cannot be read.
        SystemExit: a flag is unknown or malformed, or help was asked for.
    """
    return parse_all(arguments, command)[0]


def parse_all(
    arguments: Sequence[str] | None = None, command: str = "train"
) -> tuple[TrainConfig, ClusterConfig]:
    """Parse as `parse` does; return also the options of the processes that take part."""
    arguments = _all_tracks(sys.argv[1:] if arguments is None else arguments)
    name = program(command)
    usage = f"{name} [OPTIONS], see --help"
    presets, first = (
        argparse.ArgumentParser(name, usage, add_help=False, allow_abbrev=False) for _ in range(2)
    )
    presets.add_argument("--preset", type=preset_name, choices=list(PRESETS))
    chosen, arguments = presets.parse_known_args(arguments)
    first.add_argument("--config", type=_path)
    first.add_argument("--run-dir", type=_path)
    first.add_argument("--resume", action="store_true")
    first.add_argument("-h", "--help", action="store_true")
    first.add_argument("--help-all", action="store_true")
    known, _ = first.parse_known_args(arguments)
    default = _defaults(chosen.preset, known)
    if known.help or known.help_all:
        parts = {**vars(default), "cluster": ClusterConfig()}
        print_help(parts, known.help_all, name)
    parsed = tyro.cli(
        _CommandLine,
        args=arguments,
        default=_CommandLine(train=default),
        prog=name,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return parsed.train, parsed.cluster


def _all_tracks(arguments: Sequence[str]) -> list[str]:
    """The arguments with the names of all tracks for `--track all`, before each gets its weight."""
    words = list(arguments)
    for place, pair in enumerate(pairwise(words)):
        if pair == ("--track", "all"):
            return [*words[: place + 1], *expand_tracks(["all"]), *words[place + 2 :]]
    return words


def _defaults(preset: str | None, known: argparse.Namespace) -> TrainConfig:
    """The configuration that the flags override: a preset, a saved one or a run's own."""
    if known.resume and known.run_dir is not None:
        check(known.config is None, "config", str(known.config), "left out with --resume")
        default = load(known.run_dir / "config.json")
    elif known.config is not None:
        default = load(known.config)
        default = replace(default, run=replace(default.run, run_dir=None, resume=False))
    else:
        return PRESETS[preset or "cpu"]
    own = default.run.preset
    check(preset in (None, own), "preset", preset, f"{own}, its own, or left out")
    return default


def _path(text: str) -> Path:
    return Path(text).expanduser()


@dataclass(frozen=True)
class _CommandLine:
    train: TrainConfig
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    config: ConfigFile = None

    def __post_init__(self) -> None:
        if self.cluster.distributed:
            named = self.train.run.run_dir is not None
            check(named, "run_dir", None, "given with --distributed: all processes share it")
            overlap = self.train.ppo.overlap
            check(
                not overlap,
                "overlap",
                overlap,
                "False with --distributed: its processes act at their own pace and learn in step",
            )
