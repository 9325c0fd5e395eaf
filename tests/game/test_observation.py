import math
from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces

from kart_jax.game import RaceConfig
from kart_jax.game.config import Layout
from kart_jax.game.observation import (
    FrameStack,
    make_frame,
    observation_space,
    scale_depth,
)
from kart_jax.game.state import SIZE

SMALL = RaceConfig(height=8, width=12, stack=3)


def numbered(config: RaceConfig, number: int) -> np.ndarray:
    shape = (config.height, config.width, config.channels)
    return (np.arange(math.prod(shape)) % 50 + 50 * number).astype(np.uint8).reshape(shape)


@pytest.mark.parametrize(
    ("layout", "colour", "shape"),
    [
        ("thwc", "grey", (3, 8, 12, 1)),
        ("thwc", "rgb", (3, 8, 12, 3)),
        ("thw", "grey", (3, 8, 12)),
        ("hwc", "grey", (8, 12, 3)),
        ("hwc", "rgb", (8, 12, 9)),
    ],
)
def test_layouts_hold_the_same_frames_oldest_first(
    layout: Layout, colour: str, shape: tuple[int, ...]
) -> None:
    config = replace(SMALL, layout=layout, colour=colour)
    stack = FrameStack(config)
    frames = [numbered(config, number) for number in range(4)]
    stack.fill(frames[0])
    for frame in frames[1:]:
        stack.push(frame)
    observation = stack.observe()
    assert observation.shape == shape == observation_space(config).shape
    channels = config.channels
    for time in range(3):
        seen = {
            "thwc": lambda t=time: observation[t],
            "thw": lambda t=time: observation[t][..., None],
            "hwc": lambda t=time: observation[..., t * channels : (t + 1) * channels],
        }[layout]()
        np.testing.assert_array_equal(seen, frames[time + 1])


@pytest.mark.parametrize("layout", ["thwc", "thw", "hwc"])
@pytest.mark.parametrize("stack", [1, 3])
def test_an_observation_does_not_change_later(layout: Layout, stack: int) -> None:
    frames = FrameStack(replace(SMALL, layout=layout, stack=stack))
    frames.fill(numbered(SMALL, 0))
    observation = frames.observe()
    copy = observation.copy()
    frames.push(numbered(SMALL, 3))
    np.testing.assert_array_equal(observation, copy)


def test_an_episode_begins_with_copies_of_its_first_frame() -> None:
    stack = FrameStack(SMALL)
    stack.fill(numbered(SMALL, 1))
    stack.fill(numbered(SMALL, 2))
    assert all((frame == numbered(SMALL, 2)).all() for frame in stack.observe())


def test_grey_is_luminance() -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    image[0, 0], image[0, 1], image[0, 2] = (255, 255, 255), (255, 0, 0), (0, 255, 0)
    grey = make_frame(SMALL, image, None)
    assert grey.shape == (8, 12, 1)
    assert grey[0, :4, 0].tolist() == [255, 76, 149, 0]


def test_depth_is_a_channel_on_a_logarithmic_scale() -> None:
    metres = np.array([[1.0, 10.0, 100.0, 1000.0]])
    assert scale_depth(metres).tolist() == [[0, 85, 170, 255]]
    assert scale_depth(np.array([[2500.0]])).tolist() == [[255]]
    config = replace(SMALL, colour="rgb", depth=True)
    frame = make_frame(config, np.zeros((8, 12, 3), np.uint8), np.full((8, 12), 10.0))
    assert frame.shape == (8, 12, 4)
    assert (frame[..., 3] == 85).all()


def test_labels_are_the_last_channel() -> None:
    image, depth = np.full((8, 12, 3), 100, np.uint8), np.full((8, 12), 10.0)
    labels = np.arange(96, dtype=np.uint8).reshape(8, 12)
    config = replace(SMALL, depth=True, labels=True)
    frame = make_frame(config, image, depth, labels)
    assert frame.shape == (8, 12, config.channels) == (8, 12, 3)
    np.testing.assert_array_equal(frame[..., 2], labels)
    only = make_frame(replace(SMALL, labels=True), image, None, labels)
    assert only.shape == (8, 12, 2)
    np.testing.assert_array_equal(only[..., 1], labels)


def test_what_is_observed_decides_the_space() -> None:
    frames = observation_space(SMALL)
    state = observation_space(replace(SMALL, observation="state"))
    assert (state.shape, state.dtype) == ((SIZE,), np.float32)
    both = observation_space(replace(SMALL, observation="both"))
    assert both == spaces.Dict({"frames": frames, "state": state})
