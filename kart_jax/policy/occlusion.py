"""What a policy looks at: how much its outputs change where its frames are blurred.

Greydanus et al. 2018, "Visualizing and Understanding Atari Agents" (arXiv 1711.00138).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from kart_jax.policy.observation import FRAMES
from kart_jax.policy.policy import Policy
from kart_jax.validation import UserError

ROWS = 12
"""Places from top to bottom where frames are blurred, unless they have fewer rows."""


class Occlusion:
    """Blurs one place after another, in all frames of a stack, and asks the policy each time."""

    def __init__(self, policy: Policy, rows: int = ROWS) -> None:
        self._policy = policy
        if policy.spec.network.actor != FRAMES or policy.spec.observation_shape is None:
            raise UserError("this policy sees no frames: there is nothing to blur")
        _, height, width, _ = policy.spec.observation_shape
        rows = min(rows, height)
        self.grid = rows, max(round(rows * width / height), 1)
        """Places from top to bottom and from left to right."""
        self._changes = jax.jit(self._changes_of_stack)

    def changes(self, frames: np.ndarray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return how much the logits and the value change, each `[rows, columns]` of `grid`.

        It is half the squared distance to the outputs for the unchanged frames.

        Args:
            frames: one stack `[S, H, W, C]` uint8.

        Raises:
            ValueError: the frames do not have the policy's shape or are not uint8.
        """
        [stack] = self._policy.batch(frames)[FRAMES]
        logits, value = self._changes(self._policy.variables, stack)
        return np.asarray(logits), np.asarray(value)

    def _changes_of_stack(self, variables: Any, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        stack, height, width, channels = frames.shape
        sharp = frames.astype(jnp.float32)
        coarse = jax.image.resize(sharp, (stack, *self.grid, channels), "linear")
        blurred = jax.image.resize(coarse, frames.shape, "linear")
        down, across = _bumps(self.grid[0], height), _bumps(self.grid[1], width)
        apply = self._policy.spec.module().apply

        def row(bump: jax.Array) -> tuple[jax.Array, jax.Array]:
            """Outputs for the places of one row, which are a batch."""
            masks = (bump[:, None] * across[:, None, :])[:, None, :, :, None]
            mixed = sharp + masks * (blurred - sharp)
            outputs: Any = apply(variables, jnp.round(mixed).astype(jnp.uint8))
            return outputs

        logits, values = jax.lax.map(row, down)
        whole: Any = apply(variables, frames[None])
        return 0.5 * jnp.sum((logits - whole[0]) ** 2, axis=-1), 0.5 * (values - whole[1]) ** 2


def _bumps(places: int, size: int) -> jax.Array:
    """Bell curves `[places, size]`, as wide as they are apart, 1 in their middles."""
    apart = size / places
    middles = (jnp.arange(places) + 0.5) * apart - 0.5
    return jnp.exp(-0.5 * ((jnp.arange(size) - middles[:, None]) / apart) ** 2)
