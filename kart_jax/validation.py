"""Checks of configuration values, so that every refusal reads the same."""

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np

SEEDS = 2**32
"""Seeds are below it."""
LARGEST, MOST_STEPS = 2**32, 2**53
"""Numbers beyond which nothing works; the second is for steps, which are counted for long."""


class UserError(ValueError):
    """What was asked for cannot be done, and the text says why and what to do.

    Commands show it as one line; any other `ValueError` may be a fault of ours.
    """


def check(holds: bool, field: str, value: Any, allowed: str) -> None:
    """Refuse `value` of `field` unless `holds`.

    Raises:
        ValueError: names the field, the value and what is allowed.
    """
    if not holds:
        raise UserError(f"{field} = {value!r} is not allowed: it must be {allowed}")


def check_choice(field: str, value: Any, choices: Iterable[Any]) -> None:
    """Refuse a `value` that is not one of `choices`."""
    choices = list(choices)
    check(value in choices, field, value, "one of " + ", ".join(map(str, choices)))


def check_seed(field: str, value: Any, count: int = 1) -> None:
    """Refuse the first of `count` seeds unless all of them are 32-bit numbers, as JAX takes."""
    most = SEEDS - count
    check(is_whole(value) and 0 <= value <= most, field, value, f"a whole number from 0 to {most}")


def check_numbers(config: Any) -> None:
    """Refuse numbers in a dataclass, or in its tuples, that no machine could do anything with."""
    for field in fields(config):
        value = getattr(config, field.name)
        most = MOST_STEPS if field.name.endswith("_steps") else LARGEST
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int):
                check(abs(number) <= most, field.name, number, f"{most} at most")
            elif isinstance(number, float):
                check(math.isfinite(number), field.name, number, "a finite number")


def make_plain(config: Any) -> None:
    """Refuse values of the wrong type in a frozen dataclass's `bool`, `int` and `float` fields.

    NumPy's scalars, and whole numbers where a float is meant, become the field's own type.
    """
    for field in fields(config):
        value, kind = getattr(config, field.name), field.type
        if kind is bool:
            check(isinstance(value, bool | np.bool_), field.name, value, "True or False")
        elif kind is int:
            check(is_whole(value), field.name, value, "a whole number")
        elif kind is float:
            check(is_number(value), field.name, value, "a finite number")
        else:
            continue
        object.__setattr__(config, field.name, kind(value))


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number by its type; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; True and False are none."""
    return is_whole(value) or (isinstance(value, float | np.floating) and math.isfinite(value))
