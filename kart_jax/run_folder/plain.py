"""Nested values with NumPy arrays as plain JSON, and back."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

_ARRAY = "__array__"


def to_plain(value: Any) -> Any:
    """Nested dicts, lists, tuples, arrays and scalars as what JSON can hold.

    Tuples come back as lists.

    Raises:
        TypeError: a value has no plain form.
    """
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode("ascii")
        return {_ARRAY: [value.dtype.str, list(value.shape), data]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(name): to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} has no plain form")


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`."""
    if isinstance(value, Mapping):
        if _ARRAY in value:
            dtype, shape, data = value[_ARRAY]
            return np.frombuffer(base64.b64decode(data), dtype).reshape(shape).copy()
        return {name: from_plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [from_plain(part) for part in value]
    return value
