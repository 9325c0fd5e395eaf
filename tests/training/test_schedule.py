"""What is due every N steps."""

import pytest

from kart_jax.training.schedule import Every


def run_at(steps: list[int], every: Every) -> list[int]:
    """The steps at which the work was done."""
    done = []
    for step in steps:
        before = every.done
        every.run(step)
        if every.done != before:
            done.append(step)
    return done


def test_work_is_due_once_a_multiple_is_passed() -> None:
    calls: list[None] = []
    every = Every(30, lambda: calls.append(None))
    assert run_at([10, 20, 30, 40, 60, 70, 130, 140], every) == [30, 60, 130]
    assert len(calls) == 3


def test_work_is_never_due_with_0_steps() -> None:
    assert run_at([1, 1000], Every(0, lambda: pytest.fail("called"))) == []


def test_a_resumed_run_does_not_repeat_what_was_done() -> None:
    assert run_at([95, 100, 120], Every(30, lambda: None, done=90)) == [120]


def test_work_that_was_cut_short_is_due_again() -> None:
    def fail() -> None:
        raise RuntimeError

    every = Every(30, fail)
    with pytest.raises(RuntimeError):
        every.run(30)
    assert every.is_due(31)
