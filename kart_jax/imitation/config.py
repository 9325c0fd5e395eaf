"""How much a policy learns from the guide before it learns from rewards."""

from dataclasses import dataclass

from kart_jax.validation import check


@dataclass(frozen=True)
class ImitationConfig:
    """The stage before PPO: the guide drives, then the policy does and the guide corrects it."""

    imitation_steps: int = 0
    """Policy steps before PPO that learn from the guide, an expert that knows where the road is;
    0, or a policy to begin with (init_from): none."""
    imitation_rounds: int = 10
    """Rounds of driving and learning; in the first one the guide drives."""
    imitation_passes: int = 8
    """Samples to learn from for each driven step, drawn from all steps so far."""
    imitation_batch: int = 64
    """Steps in one gradient step."""
    imitation_rate: float = 3e-3
    """Adam's step size at the start; it falls linearly to 0."""
    imitation_drift: bool = False
    """Learn to drift through turns, too: faster where it succeeds, but hard to learn from small
    frames (docs/experiments.md)."""

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
