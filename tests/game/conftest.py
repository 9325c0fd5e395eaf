"""Processes of the game for tests."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest


def new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., Any]]:
    """Run a function in the process of the game that a module's tests share."""
    with new_process() as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(280)


@pytest.fixture
def run_apart() -> Iterator[Callable[..., Any]]:
    """Run a function in a process of its own."""
    with new_process() as pool:
        yield lambda function, *arguments, **named: pool.submit(
            function, *arguments, **named
        ).result(280)
