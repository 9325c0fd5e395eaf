import dataclasses
import json
import re

import gymnasium
import numpy as np
import pytest

from kart_jax.game import RaceConfig


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("simulator", "mario", "supertuxkart, fake"),
        ("track", (), "the name of a track"),
        ("track", None, "the name of a track"),
        ("track", (5,), "the name of a track"),
        ("track_weights", (1.0, 2.0), "1 numbers"),
        ("track_weights", (0.0,), "not all 0"),
        ("track_weights", None, "1 numbers"),
        ("track_weights", 1.0, "1 numbers"),
        ("track_weights", ("a",), "1 numbers"),
        ("track_weights", (float("inf"),), "1 numbers"),
        ("direction", "sideways", "forward, reverse, both"),
        ("laps", 0, "1 to 100"),
        ("difficulty", 4, "0, 1, 2, 3"),
        ("difficulty", 1.0, "whole number"),
        ("difficulty", np.array([1]), "whole number"),
        ("karts", True, "whole number"),
        ("depth", 2, "True or False"),
        ("hud", "false", "True or False"),
        ("labels", None, "True or False"),
        ("karts", 0, "1 to 20"),
        ("karts", 21, "1 to 20"),
        ("driver", "cat", "agent, ai"),
        ("height", 0, "8 to 768"),
        ("width", 1025, "8 to 1024"),
        ("width", 64.5, "whole number"),
        ("colour", "green", "grey, rgb"),
        ("stack", 0, "1 to 64"),
        ("layout", "cthw", "thwc, thw, hwc"),
        ("step_seconds", 0.0, "multiple of 1/120"),
        ("step_seconds", 0.101, "multiple of 1/120"),
        ("step_seconds", 2.0, "up to 1 s"),
        ("step_seconds", "0.1", "finite number"),
        ("time_limit", None, "finite number"),
        ("time_limit", float("inf"), "finite number"),
        ("action_repeat", 0, "1 to 100"),
        ("time_limit", 0.0, "more than 0"),
        ("stuck_seconds", -1.0, "more than 0"),
        ("wrong_way_seconds", 0.0, "more than 0"),
        ("action_set", "everything", "full, reduced, race, fine, drive"),
        ("reward", "money", "progress, original"),
        ("reward_weights", (("money", 1.0),), "progress, time"),
        ("reward_weights", (("time", float("nan")),), "finite"),
        ("reward_weights", (("time", "x"),), "finite"),
        ("reward_weights", ("time",), "terms and weights"),
        ("reward_weights", 5, "terms and weights"),
        ("start_position", 2, "0 to 1"),
        ("start_jitter", 6.0, "0 to 5 metres"),
        ("start_actions", -1, "0 to 1000"),
        ("start_turn", 200.0, "0 to 180 degrees"),
        ("random_start", 1.5, "0 to 1"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(field: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=field) as refusal:
        RaceConfig(**{field: value})  # type: ignore[arg-type]
    assert allowed in str(refusal.value)


@pytest.mark.parametrize("ticks", [1, 2, 4, 12, 60, 120])
def test_multiples_of_a_tick_are_step_sizes(ticks: int) -> None:
    RaceConfig(step_seconds=ticks / 120)


def test_a_layout_without_channels_needs_one_channel() -> None:
    with pytest.raises(ValueError, match="layout"):
        RaceConfig(layout="thw", colour="rgb")
    with pytest.raises(ValueError, match="layout"):
        RaceConfig(layout="thw", depth=True)


def test_random_starts_are_for_a_kart_alone() -> None:
    with pytest.raises(ValueError, match="random_start"):
        RaceConfig(karts=2, random_start=0.5)


@pytest.mark.parametrize(
    ("name", "hint"), [("labelz", "did you mean labels?"), ("zzz", "it has simulator, track, ")]
)
def test_an_unknown_field_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"no field {name}: {re.escape(hint)}"):
        gymnasium.make("kart_jax/SuperTuxKart-v0", **{name: True})


def test_a_configuration_survives_json() -> None:
    config = RaceConfig(
        track=("abyss", "mines"),
        track_weights=(1.0, 3.0),
        reward_weights=(("time", -0.2), ("drift", 0.0)),
    )
    assert RaceConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_single_track_may_be_a_plain_string() -> None:
    assert RaceConfig(track="mines").track == ("mines",)  # type: ignore[arg-type]


def test_derived_values() -> None:
    config = RaceConfig(colour="rgb", depth=True, step_seconds=0.05, action_repeat=4)
    assert config.channels == 4
    assert RaceConfig(depth=True, labels=True).channels == 3
    assert config.action_seconds == pytest.approx(0.2)


def test_numpys_numbers_and_mappings_are_taken_as_plain_values() -> None:
    config = RaceConfig(
        stack=np.int64(4),  # type: ignore[arg-type]
        depth=np.True_,  # type: ignore[arg-type]
        time_limit=60,
        reward_weights={"time": np.float32(-0.5)},  # type: ignore[arg-type]
    )
    assert config == RaceConfig(
        stack=4, depth=True, time_limit=60.0, reward_weights=(("time", -0.5),)
    )
    kinds = [type(value) for value in (config.stack, config.depth, config.time_limit)]
    assert kinds == [int, bool, float]
    assert json.loads(json.dumps(dataclasses.asdict(config)))["stack"] == 4
