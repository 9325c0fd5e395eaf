"""A user's mistakes: told in the caller, with the workers as they were; and what loggers ask."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from kart_jax.game import RaceConfig, make_env
from kart_jax.game.fake import FakeKartEnv
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.tracks import races_of
from kart_jax.workers.vector_env import KartVectorEnv
from kart_jax.workers.worker import check_importable

RACE = RaceConfig(simulator="fake", track=("one", "two"), action_set="drive", stack=3)
AHEAD = np.array([[1, 1]] * 4)


@pytest.fixture(scope="module", params=["process", "serial"])
def envs(request: pytest.FixtureRequest) -> Iterator[KartVectorEnv]:
    workers = WorkerConfig(num_envs=4, groups=2, workers=request.param, spares=0)
    with KartVectorEnv(RACE, workers, seed=0) as envs:
        yield envs
        assert envs.losses == 0


@pytest.mark.parametrize(
    ("action_set", "action", "named"),
    [
        ("drive", [1, 3], r"action of environment 2 = \[1, 3\] .* MultiDiscrete"),
        ("drive", [-1, 1], r"action of environment 2 = \[-1, 1\]"),
        ("discrete", 11, r"action of environment 2 = 11 .* Discrete"),
        ("continuous", [0.0, np.nan], r"action of environment 2 = \[0.0, nan\] .* Box"),
    ],
)
def test_an_action_that_is_none_steps_nobody(action_set: Any, action: Any, named: str) -> None:
    race = replace(RACE, action_set=action_set)
    with KartVectorEnv(race, WorkerConfig(num_envs=4, groups=2, spares=0), seed=0) as envs:
        envs.reset()
        envs.action_space.seed(0)
        good = envs.action_space.sample()
        bad = good.copy()
        bad[2] = action
        before = envs.call("get_state")
        with pytest.raises(ValueError, match=named):
            envs.step(bad)
        assert str(envs.call("get_state")) == str(before)
        envs.step(good)
        assert envs.losses == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tarck": "two"}, "environment 0: options = 'tarck'"),
        ({"reverse": 3}, "environment 0: reverse = 3"),
        ({"reset_mask": np.ones(4, bool)}, "options = 'reset_mask'"),
    ],
)
def test_options_that_are_none_reset_nobody(
    envs: KartVectorEnv, options: dict[str, Any], named: str
) -> None:
    envs.reset()
    envs.step(AHEAD)
    before = envs.call("get_state")
    with pytest.raises(ValueError, match=named):
        envs.reset(options=options)
    assert str(envs.call("get_state")) == str(before)
    envs.step(AHEAD)


@pytest.mark.parametrize("seed", [[5, 5, 5, 5], -1, 1.5, True])
def test_a_seed_is_one_number(envs: KartVectorEnv, seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed = .* one whole number"):
        envs.reset(seed=seed)


def test_what_loggers_ask_for_is_there(envs: KartVectorEnv) -> None:
    envs.reset(seed=0)
    assert envs.spec is None
    races = [replace(race, stack=1) for race in races_of(RACE, 0, 4)]
    assert list(envs.get_attr("config")) == races
    envs.set_attr("render_mode", ["rgb_array", None, "rgb_array", None])
    assert envs.get_attr("render_mode") == ("rgb_array", None, "rgb_array", None)
    assert [image is None for image in envs.call("render")] == [False, True, False, True]
    envs.set_attr("render_mode", None)
    assert envs.call("guide", drifting=True)[0].acceleration == 1.0
    with pytest.raises(ValueError, match="environment 0: nothing"):
        envs.get_attr("nothing")
    with pytest.raises(ValueError, match="a list of 4"):
        envs.set_attr("render_mode", ["rgb_array"])


def test_the_newest_frames_are_rendered(envs: KartVectorEnv) -> None:
    envs.reset(seed=0)
    stacks, *_ = envs.step(AHEAD)
    assert envs.render_mode == "rgb_array"
    images = envs.render()
    assert images is not None
    for image, stack in zip(images, stacks, strict=True):
        np.testing.assert_array_equal(image, np.repeat(stack[-1], 3, axis=-1))


def test_gymnasiums_statistics_count_around_it(envs: KartVectorEnv) -> None:
    counting = RecordEpisodeStatistics(envs)
    counting.reset(seed=0)
    total = np.zeros(4)
    while True:
        _, rewards, terminated, truncated, infos = counting.step(AHEAD)
        total += rewards
        if (ended := terminated | truncated).any():
            break
    np.testing.assert_allclose(infos["episode"]["r"][ended], total[ended], rtol=1e-5)
    np.testing.assert_allclose(
        infos["final_info"]["summary"]["return"][ended], total[ended], rtol=1e-5
    )


def test_one_space_for_each_environment() -> None:
    first, second = FakeKartEnv(RACE), FakeKartEnv(RACE)
    first.action_space.seed(1)
    expected = [first.action_space.sample().tolist() for _ in range(5)]
    first.action_space.seed(1)
    second.action_space.seed(2)
    assert [first.action_space.sample().tolist() for _ in range(5)] == expected


def test_the_fake_game_checks_as_the_real_one_does() -> None:
    env = FakeKartEnv(RACE)
    with pytest.raises(ValueError, match="options = 'tarck'"):
        env.reset(options={"tarck": "two"})
    env.reset()
    with pytest.raises(ValueError, match=r"action = \[1, 3\]"):
        env.step([1, 3])


def test_an_observation_may_be_written_into() -> None:
    env = FakeKartEnv(replace(RACE, stack=1), render_mode="rgb_array")
    frames, _ = env.reset(seed=3)
    before, kept = env.render(), frames.copy()
    frames[:] = 7
    np.testing.assert_array_equal(env.render(), before)
    np.testing.assert_array_equal(env.reset(seed=3)[0], kept)


@pytest.mark.parametrize("circle", [False, True])
def test_workers_end_with_those_who_hold_them(circle: bool) -> None:
    envs = KartVectorEnv(RACE, WorkerConfig(num_envs=2, spares=1), seed=0)
    envs.reset()
    pool: Any = envs._workers._pool
    workers = [process._process.pid for process in [*pool._processes, *pool._spares]]
    if circle:
        envs.itself = envs  # type: ignore[attr-defined]
    del envs, pool
    gc.collect()
    assert not any(map(psutil.pid_exists, workers))  # nor as zombies


def make_local() -> Any:
    return lambda race: FakeKartEnv(race)


def test_what_workers_cannot_import_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(ValueError, match=r"cannot be sent to a worker .*: put it, as a function"):
        KartVectorEnv(RACE, WorkerConfig(), seed=0, make=make_local())
    check_importable(make_env)
    check_importable(partial(FakeKartEnv, render_mode="rgb_array"))


MAIN = """
from functools import partial
import numpy as np
from kart_jax.game import RaceConfig, make_env
from kart_jax.game.fake import FakeKartEnv
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.vector_env import KartVectorEnv

class Mine(FakeKartEnv):
    pass

def make(race):
    return FakeKartEnv(race)

for made in (make, Mine, partial(make)):
    try:
        KartVectorEnv(RaceConfig(simulator="fake"), WorkerConfig(num_envs=1), 0, made)
    except ValueError as error:
        print(error)
"""


def test_what_is_made_in_the_main_module_is_refused_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-"],
        input=MAIN,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("make is of __main__, which workers cannot import: put it" in line for line in lines)


FEW = """
import resource, sys
from kart_jax.game import RaceConfig
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.vector_env import KartVectorEnv

soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
workers = WorkerConfig(num_envs=2, spares=30)
try:
    KartVectorEnv(RaceConfig(simulator="fake"), workers, 0).close()
except ValueError as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] > soft)
"""


@pytest.mark.parametrize(("limits", "refused"), [((40, 40), True), ((40, 4096), False)])
def test_few_open_files_are_made_more_or_refused(limits: tuple[int, int], refused: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW, *map(str, limits)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    *told, raised = done.stdout.splitlines()
    assert raised == str(not refused)
    assert bool(told) == refused
    assert not told or "allows 40 of a process: raise the limit (ulimit -n 1" in told[0]
