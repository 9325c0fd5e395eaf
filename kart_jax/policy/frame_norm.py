"""The network with its frames normalised by what was seen so far."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from kart_jax.policy.network import ActorCritic


class FrameNormActorCritic(ActorCritic):
    """`ActorCritic` on frames of zero mean and unit variance, channel by channel.

    The mean and variance of the frames are running statistics like those of batch norm: in the
    collection `batch_stats`, moved by `train=True`, averaged over devices, saved and exported.
    """

    @nn.compact
    def __call__(self, frames: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """As `ActorCritic`."""
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=1e-5,
            use_bias=False,
            use_scale=False,
            axis_name=self.axis_name,
            use_fast_variance=False,
            name="frames",
        )
        # ActorCritic divides by 255, as whole frames need it.
        return super().__call__(255 * norm(frames.astype(jnp.float32) / 255), train)
