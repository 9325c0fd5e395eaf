"""Every number of every command line: what cannot be is refused, before anything is made."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tyro

from kart_jax.cli.options import parse
from kart_jax.config import ClusterConfig, TrainConfig
from kart_jax.evaluate import EvaluateConfig
from kart_jax.play import PlayConfig
from kart_jax.record import RecordConfig
from kart_jax.saliency import SaliencyConfig

Parse = Callable[[list[str]], Any]
COMMANDS = {
    PlayConfig: ["lighthouse"],
    RecordConfig: [],
    SaliencyConfig: ["lighthouse"],
    EvaluateConfig: ["lighthouse"],
}
"""What each needs beside its options."""
PARTS = [ClusterConfig, *map(type, vars(TrainConfig()).values())]


def numbers() -> Iterator[Any]:
    """Each number's flag, its parser, and whether it is a whole one."""
    for part in PARTS:
        for field in dataclasses.fields(part):
            yield from _case(field, parse, "train")
    for command, needed in COMMANDS.items():
        for field in dataclasses.fields(command):
            yield from _case(
                field,
                lambda given, command=command, needed=needed: tyro.cli(
                    command, args=[*needed, *given]
                ),
                command.__name__,
            )


def _case(field: Any, parser: Parse, name: str) -> Iterator[Any]:
    kind = str(field.type)
    if "int" in kind or "float" in kind:
        flag = "--" + field.name.replace("_", "-")
        yield pytest.param(parser, flag, "float" not in kind, id=f"{name} {flag}")


@pytest.mark.parametrize(("parser", "flag", "whole"), [*numbers()])
def test_a_number_that_cannot_be_is_refused(parser: Parse, flag: str, whole: bool) -> None:
    wrong = ["1e30", str(2**63), str(2**70)] if whole else ["nan", "inf"]
    wrong += [] if flag == "--reward-weights" else ["-1"]
    for value in wrong:
        with pytest.raises((ValueError, SystemExit)) as refusal:
            parser([f"{flag}={value}"] if value.startswith("-") else [flag, value])
        assert "\n" not in str(refusal.value), f"{flag} {value}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_the_largest_seeds_are_32_bit_numbers(command: type) -> None:
    """JAX takes no larger ones; each episode has the next."""
    most = 2**29 - 20 if command is EvaluateConfig else 2**32 - 3
    seeds = ["--episodes", "20" if command is EvaluateConfig else "3", "--seed"]
    tyro.cli(command, args=[*COMMANDS[command], *seeds, str(most)])
    with pytest.raises(SystemExit):
        tyro.cli(command, args=[*COMMANDS[command], *seeds, str(most + 1)])
