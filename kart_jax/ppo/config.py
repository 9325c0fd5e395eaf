"""The options of proximal policy optimisation."""

from dataclasses import dataclass
from typing import Literal, get_args

from kart_jax.validation import check, check_choice

Schedule = Literal["constant", "linear"]


@dataclass(frozen=True)
class PPOConfig:
    """How the policy learns; defaults are those of the PPO paper's Atari runs, unless said."""

    rollout_length: int = 128
    """Steps (T) of each environment between two updates."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Gradient steps in a pass; divides rollout_length."""
    minibatch_by: Literal["sample", "step"] = "sample"
    """`sample`: each environment's steps are shuffled by themselves; `step`: whole time
    steps, all environments together, are."""
    microbatch: int | None = None
    """Samples at most that a device computes the gradient of at once, which saves memory, or stays
    in a processor's caches; none: the whole minibatch. The gradient is the same."""
    discount: float = 0.99
    """Discount (gamma) of one step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation: 0 trusts the value, 1 the rewards."""
    learning_rate: float = 2.5e-4
    """Adam's step size at the start."""
    learning_rate_schedule: Schedule = "linear"
    """`linear` anneals to 0 at total_steps."""
    clip_range: float = 0.2
    """The probability ratio is clipped to 1 - this and 1 + this."""
    clip_range_schedule: Schedule = "constant"
    """`linear` anneals to 0 at total_steps."""
    value_clip: float | None = None
    """Largest change of a value in one update; none by default: it rarely helps."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus at the start."""
    entropy_schedule: Schedule = "constant"
    """`linear` anneals to 0 at total_steps."""
    target_kl: float | None = None
    """Skip the rest of an update once a minibatch's KL is 1.5 times this."""
    max_grad_norm: float = 0.5
    """Global gradient norm is clipped here, after the mean over devices."""
    normalise_advantages: bool = True
    """Zero mean and unit variance in each minibatch, over all devices."""
    normalise_rewards: bool = False
    """Divide rewards by the running deviation of their discounted sum; without, values are in
    the reward's own units."""
    random_shift: int = 0
    """Shift each episode's frames by up to this many pixels in both directions."""
    kickstart_coefficient: float = 0.0
    """Weight of KL(teacher || policy) in the loss at the start, which holds the policy near the
    `teacher` (Schmitt et al. 2018, arXiv 1803.03835); 0: none."""
    kickstart_schedule: Schedule = "linear"
    """`linear` anneals to 0 at total_steps."""
    critic_steps: int = 0
    """Policy steps at the start in which the critic alone learns, so that a policy that was loaded
    or imitated is not degraded by values that were learnt from other drivers."""
    overlap: bool = False
    """Collect the next rollout while learning from the last (policy lag of one update)."""

    def __post_init__(self) -> None:
        """Refuse values that PPO cannot use."""
        for name in ("rollout_length", "epochs", "minibatches"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(
            self.rollout_length % self.minibatches == 0,
            "minibatches",
            self.minibatches,
            f"a divisor of rollout_length = {self.rollout_length}",
        )
        check_choice("minibatch_by", self.minibatch_by, ["sample", "step"])
        for name in ("discount", "gae_lambda"):
            check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        for name in ("learning_rate", "clip_range", "max_grad_norm"):
            check(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        size = self.microbatch
        check(size is None or size >= 1, "microbatch", size, "none or at least 1")
        for name in ("value_clip", "target_kl"):
            value = getattr(self, name)
            check(value is None or value > 0, name, value, "none or more than 0")
        coefficients = ("value_coefficient", "entropy_coefficient", "kickstart_coefficient")
        for name in (*coefficients, "random_shift", "critic_steps"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in ("learning_rate", "clip_range", "entropy", "kickstart"):
            schedule = f"{name}_schedule"
            check_choice(schedule, getattr(self, schedule), get_args(Schedule))

    def microbatch_size(self, samples: int) -> int | None:
        """Return how many of a device's samples of a minibatch to take at once; None: all.

        It is the largest divisor of `samples` within `microbatch`.
        """
        if self.microbatch is None or self.microbatch >= samples:
            return None
        return next(size for size in range(self.microbatch, 0, -1) if samples % size == 0)

    @property
    def gradient_steps(self) -> int:
        """Gradient steps of one update."""
        return self.epochs * self.minibatches
