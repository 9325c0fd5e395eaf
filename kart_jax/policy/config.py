"""The size and arithmetic of the network."""

from dataclasses import dataclass
from typing import Literal

from kart_jax.checks import check, check_choice


@dataclass(frozen=True)
class NetworkConfig:
    """A residual network of 3-D convolutions with an actor and a critic head.

    The frame shape comes from the environment, the heads from its action set.
    """

    channels: int = 256
    """Channels of the body."""
    blocks: tuple[int, int] = (5, 5)
    """Residual blocks before and after the second strided convolution."""
    stem_stride: tuple[int, int, int] = (2, 2, 2)
    """Stride (time, height, width) of the first convolution (padding 1)."""
    mid_stride: tuple[int, int, int] = (3, 3, 3)
    """Stride (time, height, width) of the second convolution (padding 0)."""
    actor_channels: int = 64
    """Channels of the actor's first convolution."""
    norm: Literal["batch", "group", "none"] = "batch"
    """Normalisation after each convolution."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Compute type; parameters, statistics, logits and value are float32."""
    remat: bool = True
    """Recompute each block's activations in the backward pass to save memory."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        for name in ("channels", "actor_channels"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(min(self.blocks) >= 0, "blocks", self.blocks, "two counts, each at least 0")
        for name in ("stem_stride", "mid_stride"):
            check(min(getattr(self, name)) >= 1, name, getattr(self, name), "at least 1 each")
        check_choice("norm", self.norm, ["batch", "group", "none"])
        check_choice("dtype", self.dtype, ["float32", "bfloat16"])
