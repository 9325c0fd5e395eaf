"""How much a policy learns from a teacher before it learns from rewards."""

from dataclasses import dataclass

from kart_jax.validation import check

GUIDE = "guide"
"""The teacher that is no policy."""


@dataclass(frozen=True)
class ImitationConfig:
    """The stage before PPO: the teacher drives, then the policy, which the teacher corrects."""

    teacher: str = GUIDE
    """Who teaches: `guide`, the hand-written driver, or a policy that sees the state, by the name
    of a shipped one (`coach`) or the path of a run; `kickstart_coefficient` uses it too."""
    imitation_steps: int = 0
    """Policy steps before PPO that learn from the teacher, which knows where the road is; 0: none.
    With a policy to begin with (init_from), `train` skips them and `imitate` continues from it."""
    imitation_rounds: int = 10
    """Rounds of driving and learning; in the first one the teacher drives."""
    imitation_passes: int = 8
    """Samples to learn from for each driven step, drawn from all steps so far."""
    imitation_batch: int = 64
    """Steps in one gradient step."""
    imitation_rate: float = 3e-3
    """Adam's step size at the start; it falls linearly to 0."""
    imitation_drift: bool = False
    """Have the guide drift through turns, too: faster where it succeeds, but hard to learn from
    small frames (docs/experiments.md). Other teachers do what they do."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("imitation_rounds", "imitation_passes", "imitation_batch"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(self.imitation_rate > 0, "imitation_rate", self.imitation_rate, "more than 0")
        fewest = self.imitation_rounds * self.imitation_batch
        check(
            self.imitation_steps == 0 or self.imitation_steps >= fewest,
            "imitation_steps",
            self.imitation_steps,
            f"0, or at least imitation_rounds x imitation_batch = {fewest}",
        )

    @property
    def round_steps(self) -> int:
        """Policy steps of one round."""
        return self.imitation_steps // self.imitation_rounds

    @property
    def round_gradient_steps(self) -> int:
        """Gradient steps of one round."""
        return self.imitation_passes * self.round_steps // self.imitation_batch
