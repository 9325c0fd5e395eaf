"""Stacks put together from single frames."""

import numpy as np
import pytest

from kart_jax.workers.frame_stack import VectorFrameStack


def frames(*values: int) -> np.ndarray:
    """One-pixel frames `[N, 1, 1, 1]`."""
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


def test_by_hand() -> None:
    stack = VectorFrameStack(2, 3, (1, 1, 1))
    no = np.zeros(2, bool)
    stack.push(frames(1, 10), ~no)
    assert stack.stacks()[..., 0, 0, 0].tolist() == [[1, 1, 1], [10, 10, 10]]
    stack.push(frames(2, 20), no)
    stack.push(frames(3, 30), no)
    assert stack.stacks()[..., 0, 0, 0].tolist() == [[1, 2, 3], [10, 20, 30]]
    assert stack.stack_ending_with(frames(4)[0], 0).ravel().tolist() == [2, 3, 4]
    stack.push(frames(5, 40), np.array([True, False]))
    assert stack.stacks()[..., 0, 0, 0].tolist() == [[5, 5, 5], [20, 30, 40]]


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_stack_is_ever_overwritten(depth: int) -> None:
    """However long it goes on, and whoever's episode ends meanwhile."""
    stack = VectorFrameStack(2, depth, (1, 1, 1))
    rng = np.random.default_rng(0)
    history: list[list[int]] = [[], []]
    kept = []
    for number in range(1, 120):
        first = rng.uniform(size=2) < 0.1 if number > 1 else np.ones(2, bool)
        stack.push(frames(number, 255 - number), first)
        for env, value in enumerate((number, 255 - number)):
            history[env] = [value] * depth if first[env] else [*history[env][1:], value]
        kept.append((stack.stacks(), [list(past) for past in history]))
    for stacks, expected in kept:
        assert stacks[..., 0, 0, 0].tolist() == expected
    with pytest.raises(ValueError, match="read-only"):
        kept[0][0][:] = 0


def test_a_stack_of_one_is_the_newest_frame() -> None:
    stack = VectorFrameStack(1, 1, (1, 1, 1))
    stack.push(frames(1), np.ones(1, bool))
    stack.push(frames(2), np.zeros(1, bool))
    assert stack.stacks().ravel().tolist() == [2]
    assert stack.stack_ending_with(frames(3)[0], 0).ravel().tolist() == [3]


def test_memory_that_nobody_looks_at_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def take(like: np.ndarray) -> np.ndarray:
        taken.append(like.shape)
        return np.empty(like.shape, like.dtype)

    monkeypatch.setattr(np, "empty_like", take)
    stack = VectorFrameStack(1, 2, (1, 1, 1))
    no = np.zeros(1, bool)
    for number in range(100):
        stack.push(frames(number), no)
        seen = stack.stacks()
    assert len(taken) == 1  # two memories take turns
    held = []
    for number in range(100):
        stack.push(frames(number), no)
        held.append(stack.stacks())
    assert len(taken) > 10
    assert seen[0, :, 0, 0, 0].tolist() == [98, 99]
