"""The actor-critic network: residual blocks of 3-D convolutions over a stack of frames.

Activations are `[B, T, H, W, C]` throughout. The order inside the blocks is the reference's:
convolution, ReLU, then norm.
"""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from kart_jax.policy.config import KERNEL, MIDDLE_PADDING, STEM_PADDING, NetworkConfig, Shape
from kart_jax.policy.convolution import conv3d

NormFactory = Callable[..., nn.Module]
CRITIC = ("critic", "critic_1", "value")
"""Names of the parts that the critic alone has."""

# Orthogonal rows pass on the size of what they read; the ReLU after each convolution halves the
# mean square, which a gain of sqrt(2) makes good (He et al. 2015, arXiv 1502.01852).
CONV_INIT = nn.initializers.orthogonal(math.sqrt(2))


class Conv(nn.Module):
    """A 3x3x3 convolution with float32 parameters, computed in `dtype`."""

    features: int
    dtype: str
    strides: Shape = (1, 1, 1)
    padding: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', features]`."""
        shape = (KERNEL, KERNEL, KERNEL, x.shape[-1], self.features)
        kernel = self.param("kernel", CONV_INIT, shape, jnp.float32)
        x = conv3d(x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            x = x + bias.astype(self.dtype)
        return x


class Identity(nn.Module):
    """No norm."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return `x`."""
        return x


class GroupNorm(nn.Module):
    """Group norm of at most 8 groups; parameters and statistics are float32.

    It equals `flax.linen.GroupNorm`, but sums over positions before it sums over the channels of a
    group, and scales and shifts in one pass: each pass over `x` runs along whole rows of channels.
    """

    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise each observation of `x [B, T, H, W, C]`, group by group of channels."""
        batch, channels = x.shape[0], x.shape[-1]
        groups = math.gcd(8, channels)

        def group_mean(x: jax.Array) -> jax.Array:
            """Reduce `[B, T, H, W, C]` to `[B, 1, 1, 1, C]`, equal within a group."""
            means = x.mean(axis=(1, 2, 3)).reshape(batch, groups, -1).mean(axis=-1)
            return jnp.repeat(means, channels // groups, axis=1)[:, None, None, None]

        wide = x.astype(jnp.float32)
        mean = group_mean(wide)
        variance = jnp.maximum(group_mean(jnp.square(wide)) - jnp.square(mean), 0.0)
        scale, bias = ScaleAndBias(name="norm")(channels)
        factor = lax.rsqrt(variance + 1e-5) * scale
        return (wide * factor + (bias - mean * factor)).astype(self.dtype)


class ScaleAndBias(nn.Module):
    """The parameters of a norm."""

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        """Scale and bias, `[channels]` each."""
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        return scale, bias


class ConvBlock(nn.Module):
    """Convolution with bias, ReLU, norm."""

    features: int
    dtype: str
    norm: NormFactory
    strides: Shape = (1, 1, 1)
    padding: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, T, H, W, C]` to `[B, T', H', W', features]`."""
        x = Conv(self.features, self.dtype, self.strides, self.padding, name="conv")(x)
        return self.norm(name="norm")(nn.relu(x))


class ResBlock(nn.Module):
    """Convolution, ReLU, norm, convolution, ReLU, sum with the input, norm."""

    dtype: str
    norm: NormFactory

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, T, H, W, C]` to the same shape."""
        conv = partial(Conv, x.shape[-1], self.dtype, use_bias=False)
        y = nn.relu(conv(name="conv_1")(x))
        y = self.norm(name="norm_1")(y)
        y = nn.relu(conv(name="conv_2")(y))
        return self.norm(name="norm_2")(x + y)


class ResBlocks(nn.Module):
    """`count` residual blocks; each of their parameters has a leading axis of that length.

    With `remat` they run as a loop that keeps only the input of each block for the backward pass;
    otherwise the loop is unrolled.
    """

    count: int
    dtype: str
    norm: NormFactory
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, T, H, W, C]` to the same shape."""
        if self.count == 0:
            return x

        def step(block: ResBlock, x: jax.Array) -> tuple[jax.Array, None]:
            return block(x), None

        loop = nn.scan(
            nn.remat(step, prevent_cse=False) if self.remat else step,
            variable_axes={"params": 0, "batch_stats": 0, "scales": 0},
            split_rngs={"params": True},
            length=self.count,
            unroll=1 if self.remat else self.count,
        )
        return loop(ResBlock(self.dtype, self.norm, name="block"), x)[0]


class MLP(nn.Module):
    """Fully connected layers with tanh between them, all float32."""

    hidden: tuple[int, ...]
    outputs: int
    gain: float

    @nn.compact
    def __call__(self, x: jax.Array | None) -> jax.Array:
        """Map `[B, D]` to `[B, outputs]`."""
        assert x is not None, "this network sees the state"
        for number, size in enumerate(self.hidden, 1):
            x = nn.tanh(_linear(size, math.sqrt(2), f"hidden_{number}")(x))
        return _linear(self.outputs, self.gain, "output")(x)


class ActorCritic(nn.Module):
    """Logits of the actions, and the value, of an observation: frames, state or both.

    `config` says what the actor and the critic see. Where both see frames they share the
    convolutions' body; on the state each has layers of its own.

    `outputs` is the number of logits. `axis_name` names the mapped axis over devices across which
    batch statistics are averaged, and `momentum` is what a running statistic keeps of itself (0:
    replaced by the batch's, for a new network); both matter only with `train=True` and norms that
    have statistics.
    """

    config: NetworkConfig
    outputs: int
    axis_name: str | None = None
    momentum: float = 0.9

    @nn.compact
    def __call__(
        self,
        frames: jax.Array | None = None,
        state: jax.Array | None = None,
        train: bool = False,
        critic: bool = True,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Return float32 logits `[B, outputs]` and values `[B]`.

        With `train=False`, in acting and in the loss, norms use their running statistics;
        `train=True` uses the batch's and updates the running ones (collection `batch_stats`).

        Args:
            frames: `[B, T, H, W, C]` uint8, where the network sees frames.
            state: `[B, D]` float32, where it sees the state.
            train: see above.
            critic: with False there is no value, nor need there be what the critic alone sees.
        """
        config, hidden = self.config, self.config.hidden
        block = self._block(train)
        body = None
        if config.actor == "frames":
            assert frames is not None
            body = self._body(frames, block, train)
            actor = nn.relu(block(config.actor_channels, name="actor_1")(body))
            actor = block(config.head_channels, name="actor_2")(actor)
            # A small gain starts the policy near uniform ("37 implementation details of PPO").
            logits = _linear(self.outputs, 0.01, "logits")(_flat(actor))
        else:
            logits = MLP(hidden, self.outputs, 0.01, name="actor")(state)
        if not critic:
            return logits, None
        if config.critic == "frames":
            head = nn.relu(block(config.head_channels, name="critic_1")(body))
            value = _linear(1, 1.0, "value")(_flat(head))
        else:
            value = MLP(hidden, 1, 1.0, name="critic")(state)
        return logits, value[:, 0]

    def _body(self, frames: jax.Array, block: Callable[..., nn.Module], train: bool) -> jax.Array:
        """What the heads read of frames."""
        config = self.config
        blocks = partial(ResBlocks, dtype=config.dtype, norm=self._norm(train), remat=config.remat)
        scaled = frames.astype(jnp.float32) / 255
        if config.normalise_frames:
            scaled = self._normalise_frames(scaled, train)
        x = scaled.astype(config.dtype)
        x = block(config.channels, strides=config.stem_stride, padding=STEM_PADDING, name="stem")(x)
        x = blocks(config.blocks[0], name="early")(x)
        x = block(
            config.channels, strides=config.middle_stride, padding=MIDDLE_PADDING, name="middle"
        )(x)
        return blocks(config.blocks[1], name="late")(x)

    def _block(self, train: bool) -> Callable[..., nn.Module]:
        """What makes each convolution with its norm."""
        config = self.config
        kind = nn.remat(ConvBlock) if config.remat else ConvBlock
        return partial(kind, dtype=config.dtype, norm=self._norm(train))

    def _normalise_frames(self, frames: jax.Array, train: bool) -> jax.Array:
        """Frames of zero mean and unit variance, channel by channel.

        Their mean and variance are running statistics like those of batch norm.
        """
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
        return norm(frames)

    def _norm(self, train: bool) -> NormFactory:
        """What makes each norm of the network; batch statistics are float32."""
        if self.config.norm == "none":
            return Identity
        if self.config.norm == "group":
            return partial(GroupNorm, self.config.dtype)
        return partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=1e-5,
            dtype=self.config.dtype,
            axis_name=self.axis_name,
            use_fast_variance=False,
        )


def _flat(x: jax.Array) -> jax.Array:
    """`[B, ...]` to float32 `[B, N]`."""
    return x.reshape(x.shape[0], -1).astype(jnp.float32)


def _linear(features: int, gain: float, name: str) -> nn.Dense:
    """A float32 linear layer."""
    return nn.Dense(features, kernel_init=nn.initializers.orthogonal(gain), name=name)
