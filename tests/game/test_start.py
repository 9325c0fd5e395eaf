from collections import Counter
from dataclasses import replace

import pytest

from kart_jax.game import RaceConfig
from kart_jax.game.start import check_options, draw_start

CONFIG = RaceConfig(track=("abyss", "mines", "xr591"), direction="both")


def test_a_seed_draws_the_same_start() -> None:
    config = replace(CONFIG, random_start=0.5, start_jitter=1.0, start_actions=9)
    assert draw_start(config, 5, {}) == draw_start(config, 5, {})
    assert len({draw_start(config, seed, {}) for seed in range(50)}) == 50


def test_tracks_and_directions_are_drawn_alike_without_weights() -> None:
    starts = [draw_start(CONFIG, seed, {}) for seed in range(600)]
    tracks = Counter(start.track for start in starts)
    assert set(tracks) == set(CONFIG.track)
    assert all(150 < count < 250 for count in tracks.values())
    assert 250 < sum(start.reverse for start in starts) < 350


def test_weights_draw_tracks_in_proportion() -> None:
    config = replace(CONFIG, track_weights=(0.0, 1.0, 3.0))
    tracks = Counter(draw_start(config, seed, {}).track for seed in range(400))
    assert tracks["abyss"] == 0
    assert 60 < tracks["mines"] < 140


@pytest.mark.parametrize(("direction", "reverse"), [("forward", False), ("reverse", True)])
def test_a_fixed_direction(direction: str, reverse: bool) -> None:
    config = replace(CONFIG, direction=direction)
    assert all(draw_start(config, seed, {}).reverse is reverse for seed in range(20))


def test_options_fix_the_track_and_leave_the_other_draws_alone() -> None:
    config = replace(CONFIG, random_start=1.0, start_jitter=1.0)
    drawn = draw_start(config, 7, {})
    fixed = draw_start(config, 7, {"track": "mines", "reverse": True})
    assert (fixed.track, fixed.reverse) == ("mines", True)
    assert replace(fixed, track=drawn.track, reverse=drawn.reverse) == drawn


def test_random_starts_take_their_share() -> None:
    config = replace(CONFIG, random_start=0.25)
    share = sum(bool(draw_start(config, seed, {}).points) for seed in range(400)) / 400
    assert 0.18 < share < 0.32
    assert not any(draw_start(CONFIG, seed, {}).points for seed in range(100))


def test_a_turn_is_drawn_up_to_its_limit_and_changes_nothing_else() -> None:
    config = replace(CONFIG, random_start=1.0, start_jitter=1.0, start_actions=9)
    turned = replace(config, start_turn=90.0)
    turns = [draw_start(turned, seed, {}).turn for seed in range(200)]
    assert -1.58 < min(turns) < -1.4 < 1.4 < max(turns) < 1.58
    assert replace(draw_start(turned, 7, {}), turn=0.0) == draw_start(config, 7, {})


def test_a_place_on_the_grid_is_fixed_or_drawn() -> None:
    config = replace(CONFIG, karts=4, start_position=3)
    assert all(draw_start(config, seed, {}).place == 3 for seed in range(20))
    anywhere = replace(config, start_position=0)
    assert {draw_start(anywhere, seed, {}).place for seed in range(50)} == {1, 2, 3, 4}


def test_options_are_checked_by_name_and_value() -> None:
    check_options({"track": "mines", "reverse": True, "episode_seed": 2**31 - 1})
    for options in ({"reversed": True}, {"reverse": 1}, {"episode_seed": 2**31}):
        with pytest.raises(ValueError, match="is not allowed") as refusal:
            check_options(options)
        assert "".join(options) in str(refusal.value)
