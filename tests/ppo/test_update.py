"""An update from rollout to parameters: what must hold whatever is learnt."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kart_jax.policy.config import NetworkConfig
from kart_jax.policy.network import ActorCritic
from kart_jax.ppo.config import PPOConfig
from kart_jax.ppo.loss import LossWeights, normalise, ppo_loss
from tests.helpers.scripted import (
    ACTIONS,
    Script,
    collect,
    create_state,
    make_ppo,
    prepare,
    schedules,
)

SCRIPT = Script(steps=8, envs=4, end_rate=0.2)


def real_network(norm: str, dtype: str = "float32", normalise_frames: bool = False) -> ActorCritic:
    config = NetworkConfig(
        channels=4,
        blocks=(0, 0),
        stem_stride=(1, 1, 1),
        middle_stride=(1, 1, 1),
        actor_channels=2,
        norm=norm,
        normalise_frames=normalise_frames,
        dtype=dtype,
        remat=False,
    )
    return ActorCritic(config, ACTIONS.outputs)


def gradient_steps(ppo, state, batch, count=1, **values):
    """States and metrics after each of `count` gradient steps."""
    step = jax.jit(ppo.gradient_step)
    taken = []
    for _ in range(count):
        state, metrics = step(state, batch, schedules(**values))
        taken.append((state, {name: float(x) for name, x in metrics.items()}))
    return taken


def moved(before, after) -> float:
    differences = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), before.params, after.params)
    return float(max(jax.tree.leaves(differences)))


@pytest.mark.parametrize(
    ("network", "tolerance"),
    [
        (None, 1e-5),
        (real_network("none"), 1e-5),
        (real_network("batch"), 1e-5),
        (real_network("none", normalise_frames=True), 1e-5),
        (real_network("batch", "bfloat16"), 2e-2),
    ],
    ids=["linear", "convolutions", "batch norm", "frame norm", "bfloat16"],
)
def test_the_first_gradient_step_sees_the_policy_that_acted(network, tolerance):
    ppo = make_ppo(network, minibatches=1)
    state = create_state(ppo)
    if state.batch_stats:  # statistics unlike any batch's, as after some updates
        state = replace(state, batch_stats=jax.tree.map(lambda x: x + 0.3, state.batch_stats))
    ((_, metrics),) = gradient_steps(ppo, *prepare(ppo, state, SCRIPT))
    assert abs(metrics["kl"]) < tolerance
    assert abs(metrics["kl_k1"]) < tolerance
    assert metrics["clip_fraction"] == 0
    assert metrics["policy_loss"] == pytest.approx(0.0, abs=tolerance)  # mean advantage is 0


def test_a_gradient_step_is_adam_on_the_plain_loss():
    """The same step from stacks put together one by one and optax's own Adam."""
    ppo = make_ppo(minibatches=1, max_grad_norm=0.1)
    state, batch = prepare(ppo, create_state(ppo), SCRIPT)
    stacks = SCRIPT.stacks()[:-1]
    rollout, advantages = batch.rollout, normalise(batch.advantages)

    def loss(params):
        flat = jnp.reshape(stacks, (-1, *stacks.shape[2:]))
        logits, values = ppo.agent.apply({"params": params}, {"frames": flat})
        distribution = ACTIONS.distribution
        return ppo_loss(
            distribution.log_prob(logits, rollout.actions.reshape(-1, 2)),
            values,
            distribution.entropy(logits),
            rollout.log_probs.reshape(-1),
            rollout.values.reshape(-1),
            advantages.reshape(-1),
            batch.returns.reshape(-1),
            LossWeights(0.2, 0.01),
        )[0]

    optimiser = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(1e-2, eps=1e-5))
    params, adam = state.params, optimiser.init(state.params)
    for after, metrics in gradient_steps(ppo, state, batch, 2):
        value, grads = jax.value_and_grad(loss)(params)
        assert metrics["loss"] == pytest.approx(float(value), rel=1e-4, abs=1e-6)
        assert metrics["grad_norm"] == pytest.approx(float(optax.tree.norm(grads)), rel=1e-4)
        assert metrics["grad_norm"] > 0.1  # so that clipping did something
        updates, adam = optimiser.update(grads, adam)
        params = optax.apply_updates(params, updates)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), after.params, params
        )


def test_returns_are_values_plus_advantages_and_the_last_row_bootstraps():
    ppo = make_ppo(gae_lambda=0.0)
    state = create_state(ppo)
    _, batch = prepare(ppo, state, SCRIPT)
    stacks = SCRIPT.stacks()
    values = np.stack([ppo.agent.apply(state.variables, {"frames": s})[1] for s in stacks])
    window = np.concatenate([stacks[:-1, :, 1:], SCRIPT.final_frames[:, :, None]], axis=2)
    finals = np.stack([ppo.agent.apply(state.variables, {"frames": s})[1] for s in window])
    following = np.where(SCRIPT.truncated, finals, values[1:])
    targets = SCRIPT.rewards + 0.99 * np.where(SCRIPT.terminated, 0.0, following)
    np.testing.assert_allclose(batch.returns, targets, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batch.advantages, targets - values[:-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("by", ["sample", "step"])
def test_an_epoch_uses_every_sample_once_and_each_in_its_own_order(by):
    ppo = make_ppo(minibatch_by=by, minibatches=4, epochs=3)
    state, batch = prepare(ppo, create_state(ppo), SCRIPT)
    epochs = []
    for epoch in range(3):
        drawn = []
        for part in range(4):
            at = replace(state, minibatch=jnp.int32(4 * epoch + part))
            times, envs = ppo._minibatch(at, batch)
            drawn.append(list(zip(times.tolist(), envs.tolist(), strict=True)))
            if by == "step":  # whole time steps: every time with all environments
                assert {(t, e) for t in set(times.tolist()) for e in range(4)} == set(drawn[-1])
        flat = [sample for part in drawn for sample in part]
        assert sorted(flat) == [(t, e) for t in range(8) for e in range(4)]
        epochs.append(drawn)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    following = ppo._order(replace(state, update=state.update + 1).key_for(1), batch.rollout)
    assert (following != batch.order).any()
    if by == "sample":  # environments are shuffled apart from each other
        assert (batch.order[:, 0] != batch.order[:, 1]).any()


def test_a_gradient_in_microbatches_is_the_same_gradient():
    whole, parts = make_ppo(minibatches=1), make_ppo(minibatches=1, microbatch=8)
    state, batch = prepare(whole, create_state(whole), SCRIPT)
    ((one, expected),) = gradient_steps(whole, state, batch)
    ((other, metrics),) = gradient_steps(parts, state, batch)
    assert metrics == pytest.approx(expected, rel=1e-5, abs=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), other.params, one.params)


@pytest.mark.parametrize(
    ("microbatch", "samples", "size"),
    [(None, 256, None), (16, 256, 16), (256, 256, None), (300, 256, None), (16, 40, 10), (3, 7, 1)],
)
def test_microbatches_are_equal_and_as_large_as_the_limit_allows(microbatch, samples, size):
    assert PPOConfig(microbatch=microbatch).microbatch_size(samples) == size


def test_the_target_kl_skips_the_rest_of_an_update():
    ppo = make_ppo(minibatches=1, epochs=4, target_kl=1e-3)
    state, batch = prepare(ppo, create_state(ppo), SCRIPT)
    steps = gradient_steps(ppo, state, batch, 4, learning_rate=0.3)
    skipped = [bool(metrics["skipped"]) for _, metrics in steps]
    assert skipped == [False, True, True, True]
    first, later = steps[0], steps[1:]
    assert first[1]["kl"] < 1e-5
    assert later[0][1]["kl"] > 1.5e-3
    assert all(moved(first[0], s) == 0 for s, _ in later)
    following, _ = prepare(ppo, later[-1][0], SCRIPT)
    assert not following.stopped


def test_a_loss_that_is_not_finite_changes_nothing_for_the_rest_of_the_update():
    ppo = make_ppo(minibatches=8, epochs=1)
    script = Script(steps=8, envs=4)
    script.rewards[7, 0] = np.nan
    script.terminated[:] = True  # so that the bad step does not spoil the others
    script.truncated[:] = False
    script.first[1:] = True
    state, batch = prepare(ppo, create_state(ppo), script)
    states = [state]
    finite = []
    for after, metrics in gradient_steps(ppo, state, batch, 8):
        states.append(after)
        finite.append(bool(metrics["finite"]))
    bad = finite.index(False)
    assert all(moved(a, b) > 0 for a, b in pairwise(states[: bad + 1]))
    assert all(moved(states[bad], s) == 0 for s in states[bad:])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(states[-1].params))


def test_a_minibatch_of_one_sample_learns():
    ppo = make_ppo(rollout_length=8, minibatches=8)
    script = Script(steps=8, envs=1)
    state, batch = prepare(ppo, create_state(ppo), script)
    ((after, metrics),) = gradient_steps(ppo, state, batch)
    assert metrics["finite"]
    assert metrics["policy_loss"] == 0  # its only advantage is the mean
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after.params))
    assert moved(state, after) > 1e-3  # by the value's loss, and by the entropy


def test_advantages_are_normalised_in_each_minibatch_unless_told():
    plain = make_ppo(normalise_advantages=False, minibatches=1, entropy_coefficient=0.0)
    state, batch = prepare(plain, create_state(plain), SCRIPT)
    ((_, metrics),) = gradient_steps(plain, state, batch)
    assert metrics["policy_loss"] == pytest.approx(-float(batch.advantages.mean()), rel=1e-4)


def test_norm_statistics_move_towards_the_first_minibatch_after_learning():
    network = real_network("batch")
    ppo = make_ppo(network)
    state, batch = prepare(ppo, create_state(ppo), SCRIPT)
    fixed = jax.tree.map(np.array, state.batch_stats)
    ((state, _),) = gradient_steps(ppo, state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.batch_stats, fixed)
    times, envs = ppo._minibatch(replace(state, minibatch=jnp.int32(0)), batch)
    stacks = SCRIPT.stacks()[times, envs]
    loaded = jax.tree.map(lambda x: x + 0.3, state.batch_stats)
    # A new network has no statistics to keep; one that was loaded has, at its first update too.
    for statistics, keep in ((state.batch_stats, 0.0), (loaded, 0.9)):
        before = replace(state, batch_stats=statistics)
        after = jax.jit(ppo.refresh_statistics)(before, batch)
        _, seen = network.clone(momentum=keep).apply(
            before.variables, stacks, train=True, mutable=["batch_stats"]
        )
        close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(close, after.batch_stats, dict(seen))
        assert int(after.update) == 1


def test_the_critic_learns_alone_at_first():
    ppo = make_ppo(real_network("group"), critic_steps=64)
    state, batch = prepare(ppo, create_state(ppo), SCRIPT)
    for step, learns in ((0, {"critic_1", "value"}), (63, {"critic_1", "value"}), (64, None)):
        scheduled = ppo.schedules(step, 1000)
        ((after, _),) = gradient_steps(ppo, state, batch, **{**scheduled, "learning_rate": 1e-2})
        moves = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
        moved = {name for name, part in moves.items() if any(jax.tree.leaves(part))}
        assert moved == (set(state.params) if learns is None else learns)


def test_schedules_fall_in_a_line_to_the_end():
    ppo = make_ppo(
        learning_rate=0.4,
        clip_range=0.2,
        clip_range_schedule="linear",
        entropy_coefficient=0.1,
        entropy_schedule="linear",
        kickstart_coefficient=0.5,
    )
    names = ("learning_rate", "clip_range", "entropy_coefficient", "kickstart_coefficient")
    for progress, left in ((0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (1.2, 0.0)):
        values = dict(zip(names, (0.4 * left, 0.2 * left, 0.1 * left, 0.5 * left), strict=True))
        assert ppo.schedules(round(400 * progress), 400) == pytest.approx(
            {**values, "actor_weight": 1.0}
        )
    constant = make_ppo(learning_rate=0.4, learning_rate_schedule="constant")
    assert constant.schedules(7, 10)["learning_rate"] == 0.4


def test_rewards_are_scaled_for_the_advantages_and_the_sums_carried_on():
    ppo = make_ppo(normalise_rewards=True, gae_lambda=0.0)
    script = Script(steps=16, envs=4, end_rate=0.1)
    state, rollout, sums = create_state(ppo), None, []
    totals = np.zeros(4)
    for start in (0, 8):
        part = slice(start, start + 8)
        rollout = collect(ppo, state, script, rollout, start)
        newest = (script.seen(start + 8), script.first[start + 8])
        state, batch, (rollout,), _ = jax.jit(ppo.prepare)(
            state, [rollout], [script.outcomes(part)], [newest]
        )
        for t in range(start, start + 8):
            totals = 0.99 * totals + script.rewards[t]
            sums.append(totals)
            totals = np.where(script.first[t + 1], 0.0, totals)
        ended = script.terminated[part]
        expected = np.clip(script.rewards[part] / np.std(sums), -10, 10)
        np.testing.assert_allclose(batch.returns[ended], expected[ended], rtol=1e-3)
        np.testing.assert_allclose(rollout.reward_sum, totals, rtol=1e-4, atol=1e-5)


def test_actions_do_not_depend_on_how_environments_are_spread():
    """Randomness is by an environment's number: two halves act as the whole does."""
    ppo = make_ppo(random_shift=1)
    state = create_state(ppo)
    whole = collect(ppo, state, SCRIPT)
    for part in (slice(0, 1), slice(1, 4)):
        half = Script(steps=8, envs=part.stop - part.start)
        for name in ("frames", "final_frames", "first", "truncated", "terminated"):
            setattr(half, name, getattr(SCRIPT, name)[:, part])
        empty = ppo.agent.create_rollout(jnp.arange(part.start, part.stop), 8)
        rollout = collect(ppo, state, half, empty)
        np.testing.assert_array_equal(rollout.actions, whole.actions[:, part])
        np.testing.assert_array_equal(rollout.frames, whole.frames[:, part])
        np.testing.assert_allclose(rollout.final_values, whole.final_values[:, part], rtol=1e-5)


def test_actions_are_drawn_anew_each_step_and_update():
    ppo = make_ppo()
    state = create_state(ppo)
    first = collect(ppo, state, SCRIPT)
    assert (first.actions[1:] != first.actions[:-1]).any()
    again = collect(ppo, state, SCRIPT)
    np.testing.assert_array_equal(again.actions, first.actions)
    later = collect(ppo, replace(state, update=state.update + 1), SCRIPT)
    assert (later.actions != first.actions).any()
