"""Checks of configuration values, so that every refusal reads the same."""

from collections.abc import Iterable
from typing import Any


def check(holds: bool, field: str, value: Any, allowed: str) -> None:
    """Refuse `value` of `field` unless `holds`.

    Raises:
        ValueError: names the field, the value and what is allowed.
    """
    if not holds:
        raise ValueError(f"{field} = {value!r} is not allowed: it must be {allowed}")


def check_choice(field: str, value: Any, choices: Iterable[Any]) -> None:
    """Refuse a `value` that is not one of `choices`."""
    choices = list(choices)
    check(value in choices, field, value, "one of " + ", ".join(map(str, choices)))
