from dataclasses import replace
from typing import get_args

import pytest

from kart_jax.game.actions import Controls
from kart_jax.game.config import RewardName
from kart_jax.game.rewards import NOTHING, SCHEMES, TERMS, Outcome, Reward

DULL = Outcome(
    seconds=0.1,
    ground=0.0,
    moved=0.0,
    off_road=0.0,
    wrong_way=False,
    rescued=False,
    jumped=False,
    finished=False,
    saved=0.0,
    overtaken=0,
    controls=Controls(),
    powerup_before=NOTHING,
    powerup=NOTHING,
)


def test_every_named_scheme_exists_and_uses_known_terms() -> None:
    assert set(SCHEMES) == set(get_args(RewardName))
    assert all(set(weights) <= set(TERMS) for weights in SCHEMES.values())


@pytest.mark.parametrize(
    ("change", "term", "value"),
    [
        ({"ground": 2.5}, "progress", 2.5),
        ({"moved": -2.0}, "moved", -2.0),
        ({"off_road": 0.05}, "off_road", 0.05),
        ({"wrong_way": True}, "wrong_way", 0.1),
        ({"rescued": True}, "rescue", 1.0),
        ({"jumped": True}, "jump", 1.0),
        ({"finished": True}, "finish", 1.0),
        ({"saved": 12.0}, "time_saved", 12.0),
        ({"overtaken": 2}, "overtake", 2.0),
        ({"overtaken": -2}, "overtake", 0.0),
        ({"powerup": "CAKE"}, "powerup_held", 1.0),
        ({"powerup_before": "CAKE", "controls": Controls(fire=True)}, "powerup_fired", 1.0),
        ({"controls": Controls(fire=True)}, "powerup_fired", 0.0),
        ({"powerup": "CAKE", "controls": Controls(nitro=True)}, "nitro_with_powerup", 1.0),
        ({"controls": Controls(nitro=True)}, "nitro_with_powerup", 0.0),
        ({"controls": Controls(drift=True)}, "drift", 1.0),
    ],
)
def test_a_term(change: dict[str, object], term: str, value: float) -> None:
    assert TERMS[term](replace(DULL, **change)) == pytest.approx(value)  # type: ignore[arg-type]
    assert value == 0.0 or TERMS[term](DULL) == 0.0


def test_the_reward_is_the_weighted_sum_of_its_terms() -> None:
    reward, terms = Reward("progress", {})(replace(DULL, ground=3.0, off_road=0.1))
    assert reward == pytest.approx(0.1 * 3.0 - 0.1 * 0.1 - 0.1 * 0.1)
    assert reward == pytest.approx(sum(SCHEMES["progress"][name] * terms[name] for name in terms))


def test_the_original_scheme_pays_for_tricks() -> None:
    tricks = replace(DULL, moved=1.5, controls=Controls(drift=True), overtaken=1, jumped=True)
    assert Reward("original", {})(tricks)[0] == pytest.approx(1.5 + 3.0 + 5.0 - 3.0)
    finish = replace(DULL, finished=True, rescued=True)
    assert Reward("original", {})(finish)[0] == pytest.approx(10.0 - 5.0)


def test_weights_can_be_changed_and_added() -> None:
    drifting = replace(DULL, ground=1.0, controls=Controls(drift=True))
    reward, terms = Reward("progress", {"progress": 1.0, "time": 0.0, "drift": 0.5})(drifting)
    assert reward == pytest.approx(1.5)
    assert terms["drift"] == 1.0


def test_standing_still_costs() -> None:
    assert Reward("progress", {})(DULL)[0] < 0
