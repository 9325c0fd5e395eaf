"""The fake game: the real one's interface, deterministic, and worth learning."""

import pickle
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from kart_jax.game import RaceConfig, make_env
from kart_jax.game.fake import LENGTH, ROAD, FakeEpisode, FakeKartEnv, centre_line

RACE = RaceConfig(simulator="fake", track=("one", "two"), action_set="drive", stack=3)
EPISODE = {
    "progress_m",
    "progress_fraction",
    "finished",
    "finish_time",
    "game_seconds",
    "position",
    "rescues",
    "off_road_seconds",
    "return",
    "length",
    "track",
    "on_grid",
    "end",
}


def towards_the_road(env: FakeKartEnv) -> Any:
    """Full throttle, steering to the centre line two metres ahead."""
    episode: FakeEpisode = env._episode
    right = centre_line(episode.track, episode.distance + 2.0) - episode.lateral
    return [1, 0 if right < -0.4 else 2 if right > 0.4 else 1]


def drive(env: FakeKartEnv, choose: Any, seed: int) -> dict[str, Any]:
    env.reset(seed=seed)
    while True:
        *_, terminated, truncated, info = env.step(choose(env))
        if terminated or truncated:
            assert truncated == (info["summary"]["end"] == "time_limit")
            return dict(info["summary"])


@pytest.mark.filterwarnings("ignore:.*alternative render modes")
@pytest.mark.parametrize("action_set", ["full", "reduced", "drive", "discrete", "continuous"])
def test_passes_gymnasiums_checks(action_set: Any) -> None:
    check_env(FakeKartEnv(replace(RACE, action_set=action_set), "rgb_array"))


def test_make_env_gives_it() -> None:
    assert isinstance(make_env(RACE), FakeKartEnv)
    assert isinstance(gym.make("kart_jax/SuperTuxKart-v0", simulator="fake").unwrapped, FakeKartEnv)


def test_steering_by_the_road_finishes_and_straight_on_does_not() -> None:
    env = FakeKartEnv(RACE)
    for seed in range(4):
        good = drive(env, towards_the_road, seed)
        assert good["finished"]
        assert good["progress_m"] == LENGTH
        assert good["finish_time"] == pytest.approx(good["length"] * RACE.step_seconds)
        straight = drive(env, lambda _: [1, 1], seed)
        assert straight["end"] == "stuck"
        assert straight["progress_fraction"] < 0.5
        assert straight["return"] < good["return"] / 2


def test_the_end_is_told_in_plain_values() -> None:
    episode = drive(FakeKartEnv(RACE), lambda _: [0, 1], seed=0)
    assert set(episode) == EPISODE
    assert {type(value) for value in episode.values()} == {float, bool, str}
    assert episode["end"] == "stuck"
    assert episode["game_seconds"] == pytest.approx(RACE.stuck_seconds)
    late = drive(FakeKartEnv(replace(RACE, time_limit=1.0)), lambda _: [1, 1], seed=0)
    assert (late["end"], late["length"]) == ("time_limit", 10.0)


def test_frames_show_where_the_road_goes() -> None:
    """The brightest column nearest to the kart is where the centre line is."""
    env = FakeKartEnv(replace(RACE, stack=1))
    for seed in range(5):
        env.reset(seed=seed)
        for _ in range(60):
            frame = env.step(towards_the_road(env))[0][0, :, :, 0]
            episode = env._episode
            road = np.flatnonzero(frame[-1] > 100)
            offset = (road.mean() + 0.5 - 32) * 16 / 64
            assert offset == pytest.approx(
                centre_line(episode.track, episode.distance) - episode.lateral, abs=0.75
            )
            assert len(road) == pytest.approx(2 * ROAD * 64 / 16, abs=2)


def test_a_stack_begins_with_copies_and_moves_on() -> None:
    env = FakeKartEnv(RACE)
    first, _ = env.reset(seed=0)
    assert first.shape == (3, 48, 64, 1)
    assert (first == first[0]).all()
    env.step([1, 1])
    early = env.step([1, 1])[0]
    np.testing.assert_array_equal(early[0], first[0])
    for _ in range(20):
        later = env.step([1, 1])[0]
    assert not np.array_equal(later[2], later[1])


def test_states_resume_exactly_after_pickling() -> None:
    env = FakeKartEnv(RACE)
    env.reset(seed=1)
    for _ in range(30):
        env.step([1, 2])
    state = pickle.loads(pickle.dumps(env.get_state()))
    rng = np.random.default_rng(0)
    actions = rng.integers([2, 3], size=(300, 2))

    def play(env: FakeKartEnv) -> list[Any]:
        seen = []
        for action in actions:
            frames, reward, terminated, truncated, info = env.step(action)
            seen.append((frames.tobytes(), reward, terminated, truncated, info["track"]))
            if terminated or truncated:
                frames, info = env.reset()
                seen.append((frames.tobytes(), info["track"]))
        return seen

    first = play(env)
    other = FakeKartEnv(RACE)
    other.reset(seed=99)
    other.set_state(state)
    assert play(other) == first
    assert len(first) > 301  # episodes ended, so tracks were drawn again


@pytest.mark.parametrize("name", ["depth", "labels"])
def test_what_it_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} = True.*fake game"):
        FakeKartEnv(replace(RACE, **{name: True}))


def test_sizes_and_colours() -> None:
    frames, _ = FakeKartEnv(replace(RACE, height=90, width=70, colour="rgb")).reset(seed=0)
    assert frames.shape == (3, 90, 70, 3)
    assert (frames[..., 0] != frames[..., 1]).any()
