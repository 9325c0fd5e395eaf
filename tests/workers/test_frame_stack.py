"""Stacks put together from single frames."""

import numpy as np

from kart_jax.workers.frame_stack import FrameStack


def frames(*values: int) -> np.ndarray:
    """One-pixel frames `[N, 1, 1, 1]`."""
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


def test_by_hand() -> None:
    stack = FrameStack(2, 3, (1, 1, 1))
    no = np.zeros(2, bool)
    stack.push(frames(1, 10), ~no)
    assert stack.stacks()[..., 0, 0, 0].tolist() == [[1, 1, 1], [10, 10, 10]]
    stack.push(frames(2, 20), no)
    stack.push(frames(3, 30), no)
    assert stack.stacks()[..., 0, 0, 0].tolist() == [[1, 2, 3], [10, 20, 30]]
    assert stack.stack_ending_with(frames(4)[0], 0).ravel().tolist() == [2, 3, 4]
    stack.push(frames(5, 40), np.array([True, False]))
    assert stack.stacks()[..., 0, 0, 0].tolist() == [[5, 5, 5], [20, 30, 40]]


def test_stacks_are_new_arrays() -> None:
    stack = FrameStack(1, 2, (1, 1, 1))
    stack.push(frames(1), np.ones(1, bool))
    before = stack.stacks()
    stack.push(frames(2), np.zeros(1, bool))
    assert before.ravel().tolist() == [1, 1]


def test_a_stack_of_one_is_the_newest_frame() -> None:
    stack = FrameStack(1, 1, (1, 1, 1))
    stack.push(frames(1), np.ones(1, bool))
    stack.push(frames(2), np.zeros(1, bool))
    assert stack.stacks().ravel().tolist() == [2]
    assert stack.stack_ending_with(frames(3)[0], 0).ravel().tolist() == [3]
