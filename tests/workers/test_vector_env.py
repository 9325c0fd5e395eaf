"""The vector environment: Gymnasium's interface, its frames, its order of calls."""

import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from kart_jax.game import make_env
from kart_jax.workers.config import WorkerConfig
from kart_jax.workers.groups import WorkerGroups
from kart_jax.workers.pool import derive_seed
from kart_jax.workers.protocol import MemoryLayout
from kart_jax.workers.tracks import races_of
from kart_jax.workers.vector_env import KartVectorEnv
from tests.helpers.faults import make_reporting
from tests.helpers.four_races import IDS, MODES, RACE, actions


@pytest.fixture(scope="module", params=MODES, ids=IDS)
def envs(request: pytest.FixtureRequest) -> Any:
    with KartVectorEnv(RACE, request.param, seed=3) as envs:
        yield envs


def test_equals_gymnasium_step_by_step(envs: KartVectorEnv) -> None:
    """Against SyncVectorEnv over whole stacks: every array, final observation and info."""
    peers = SyncVectorEnv(
        [lambda: make_env(RACE)] * 4, autoreset_mode=AutoresetMode.SAME_STEP, copy=True
    )
    assert envs.observation_space == peers.observation_space
    assert envs.action_space == peers.action_space
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    ours, _ = envs.reset(seed=3)
    seeds: Any = [derive_seed(3, index, 0) for index in range(4)]
    theirs, _ = peers.reset(seed=seeds)
    np.testing.assert_array_equal(ours, theirs)
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(200):
        action = actions(rng)
        *ours_arrays, ours_infos = envs.step(action)
        *their_arrays, their_infos = peers.step(action)
        for mine, other in zip(ours_arrays, their_arrays, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-6)
        assert "final_info" in ours_infos or "final_info" not in their_infos
        if "final_info" in ours_infos:
            done = ours_infos["_final_info"]
            np.testing.assert_array_equal(done, their_infos["_final_info"])
            for env in np.flatnonzero(done):
                ended += 1
                np.testing.assert_array_equal(
                    ours_infos["final_obs"][env], their_infos["final_obs"][env]
                )
            np.testing.assert_equal(
                ours_infos["final_info"]["summary"]["return"][done],
                their_infos["final_info"]["summary"]["return"][done],
            )
    assert ended >= 4


@pytest.mark.parametrize("observation", ["state", "both"])
@pytest.mark.parametrize("mode", MODES, ids=IDS)
def test_states_travel_with_or_without_frames(observation: Any, mode: WorkerConfig) -> None:
    """Against SyncVectorEnv, step by step; the trainer's batches hold the same."""
    race = replace(RACE, track="one", observation=observation, time_limit=3.0)
    peers = SyncVectorEnv(
        [lambda: make_env(race)] * 4, autoreset_mode=AutoresetMode.SAME_STEP, copy=True
    )
    seeds: Any = [derive_seed(3, index, 0) for index in range(4)]
    theirs, _ = peers.reset(seed=seeds)
    rng = np.random.default_rng(0)
    taken, seen, ended = [actions(rng) for _ in range(120)], [theirs], 0
    with KartVectorEnv(race, mode, seed=3) as envs:
        assert envs.observation_space == peers.observation_space
        ours, _ = envs.reset(seed=3)
        np.testing.assert_equal(ours, theirs)
        for action in taken:
            ours, *_, ours_infos = envs.step(action)
            theirs, *_, their_infos = peers.step(action)
            np.testing.assert_equal(ours, theirs)
            seen.append(theirs)
            for env in np.flatnonzero(their_infos.get("_final_info", [])):
                np.testing.assert_equal(ours_infos["final_obs"][env], their_infos["final_obs"][env])
                ended += 1
        assert ended >= 4
    with WorkerGroups(race, mode, seed=3) as groups:
        groups.start()
        for action, after in zip(taken, seen[1:], strict=True):
            for group, members in enumerate(groups.groups):
                groups.send(group, action[members.start : members.stop])
                batch = groups.receive(group)
                assert batch.states is not None
                states = after if observation == "state" else after["state"]
                np.testing.assert_array_equal(batch.states, states[members.start : members.stop])
                assert (batch.frames is None) == (observation == "state")
                assert not batch.states.flags.writeable


def test_environments_that_do_not_draw_keep_one_track_each() -> None:
    race = replace(RACE, track=("one", "two", "three"), observation="state")
    with KartVectorEnv(race, WorkerConfig(num_envs=4), seed=0) as envs:
        kept = [envs.reset(seed=seed)[1]["track"].tolist() for seed in range(3)]
    assert kept == [["one", "two", "three", "one"]] * 3
    with KartVectorEnv(race, WorkerConfig(num_envs=2), seed=0, first=2) as envs:
        assert envs.reset()[1]["track"].tolist() == ["three", "one"]


def test_environments_that_draw_keep_one_track_each_where_all_tracks_have_one() -> None:
    race = replace(RACE, track=("one", "two", "three"))
    with KartVectorEnv(race, WorkerConfig(num_envs=3), seed=0) as envs:
        kept = [envs.reset(seed=seed)[1]["track"].tolist() for seed in range(3)]
    assert kept == [["one", "two", "three"]] * 3
    with KartVectorEnv(race, WorkerConfig(num_envs=2), seed=0) as envs:
        drawn = {track for seed in range(9) for track in envs.reset(seed=seed)[1]["track"]}
    assert drawn == {"one", "two", "three"}


def test_tracks_are_kept_as_often_as_their_weights_say() -> None:
    race = replace(RACE, track=("one", "two"), track_weights=(3.0, 1.0), observation="state")
    tracks = [one.track for one in races_of(race, 0, 8)]
    assert tracks.count(("one",)) == 6
    assert tracks == [one.track for one in races_of(race, 0, 3) + races_of(race, 3, 5)]
    assert all(one.track_weights == () for one in races_of(race, 0, 8))


def test_same_seed_same_race_and_reset_starts_over(envs: KartVectorEnv) -> None:
    first = [envs.reset(seed=7)[0], *(envs.step(np.ones((4, 2), int))[0] for _ in range(70))]
    again = [envs.reset(seed=7)[0], *(envs.step(np.ones((4, 2), int))[0] for _ in range(70))]
    np.testing.assert_array_equal(first, again)
    other, _ = envs.reset(seed=8)
    assert not np.array_equal(first[0], other)
    assert len({frame.tobytes() for frame in other}) == 4  # each environment its own seed


def test_no_stack_holds_a_frame_from_before_a_reset(envs: KartVectorEnv) -> None:
    envs.reset()
    since = np.zeros(4, int)
    rng = np.random.default_rng(1)
    for _ in range(150):
        stacks, _, terminated, truncated, _ = envs.step(actions(rng))
        since = np.where(terminated | truncated, 0, since + 1)
        for env in np.flatnonzero(since < 2):
            first = stacks[env, : RACE.stack - since[env]]
            assert (first == first[0]).all()


def test_calls_out_of_order() -> None:
    envs = KartVectorEnv(RACE, MODES[0], seed=0)
    action = np.ones((4, 2), int)
    for call in (lambda: envs.step(action), envs.render):
        with pytest.raises(ResetNeeded, match="call `reset`"):
            call()
    envs.reset()
    with pytest.raises(ValueError, match="shape"):
        envs.step(np.ones((4,), int))
    envs.close()
    envs.close()  # twice does no harm
    for call in (envs.reset, lambda: envs.step(action), lambda: envs.get_attr("config")):
        with pytest.raises(ClosedEnvironmentError):
            call()


def test_options_reach_every_environment(envs: KartVectorEnv) -> None:
    _, infos = envs.reset(options={"track": "two"})
    assert list(infos["track"]) == ["two"] * 4


def test_a_lost_worker_ends_the_episode_with_what_was_seen_last() -> None:
    race = replace(RACE, observation="both")
    with KartVectorEnv(race, WorkerConfig(num_envs=2, spares=0), seed=0) as envs:
        envs.reset()
        before, *_ = envs.step(actions(np.random.default_rng(0), 2))
        pool: Any = envs._workers._pool
        os.kill(pool._processes[1].pid, signal.SIGKILL)
        after, rewards, terminated, truncated, infos = envs.step(np.ones((2, 2), int))
    assert truncated.tolist() == [False, True]
    assert not terminated.any()
    assert rewards[1] == 0.0
    assert infos["final_info"]["lost"].tolist() == [False, True]
    final = infos["final_obs"][1]
    np.testing.assert_array_equal(final["frames"][-1], before["frames"][1, -1])
    np.testing.assert_array_equal(final["state"], before["state"][1])
    assert (after["frames"][1] == after["frames"][1, 0]).all()


@pytest.mark.parametrize("action_set", ["full", "reduced", "discrete", "continuous"])
def test_every_action_set(action_set: Any) -> None:
    race = replace(RACE, action_set=action_set)
    with KartVectorEnv(race, WorkerConfig(num_envs=2), seed=0) as envs:
        envs.reset()
        envs.action_space.seed(0)
        _, rewards, *_ = envs.step(envs.action_space.sample())
        assert rewards.shape == (2,)


def test_workers_are_lean_and_leave_ctrl_c_to_the_trainer() -> None:
    with KartVectorEnv(RACE, WorkerConfig(num_envs=2), seed=0, make=make_reporting) as envs:
        _, infos = envs.reset()
    assert not infos["jax"].any()
    assert infos["ignores_interrupt"].all()
    assert list(infos["threads"]) == ["1", "1"]


@pytest.mark.parametrize("change", [{"layout": "hwc"}, {"layout": "thw"}])
def test_observations_that_workers_cannot_carry(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[T, H, W, C\]"):
        KartVectorEnv(replace(RACE, **change), WorkerConfig(), seed=0)


def test_no_memory_for_the_frames() -> None:
    layout = MemoryLayout(
        num_envs=10**6, frame_shape=(4096, 4096, 3), action_shape=(2,), action_dtype="i8"
    )
    with pytest.raises(MemoryError, match="fewer environments"):
        layout.create_memory()
