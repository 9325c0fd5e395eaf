"""The size and arithmetic of the network."""

from dataclasses import dataclass
from typing import Literal, get_args

from kart_jax.validation import check, check_choice

KERNEL = 3
"""Every convolution spans 3 frames, 3 rows and 3 columns."""
STEM_PADDING = 1
MIDDLE_PADDING = 0

Shape = tuple[int, int, int]
"""(time, height, width)."""
Norm = Literal["batch", "group", "none"]
Sight = Literal["frames", "state"]


@dataclass(frozen=True)
class NetworkConfig:
    """An actor and a critic: on frames a residual network of 3-D convolutions with two heads, on
    the state fully connected layers for each.

    The observation's shape comes from the environment, the number of logits from its action set.
    """

    actor: Sight = "frames"
    """What the actor sees."""
    critic: Sight = "frames"
    """What the critic sees; the state beside an actor that sees frames is a privilege of training,
    which acting does not need."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers on the state."""
    channels: int = 256
    """Channels of the body."""
    blocks: tuple[int, int] = (5, 5)
    """Residual blocks before and after the second strided convolution."""
    stem_stride: Shape = (2, 2, 2)
    """Stride (time, height, width) of the first convolution (padding 1)."""
    middle_stride: Shape = (3, 3, 3)
    """Stride (time, height, width) of the second convolution (padding 0)."""
    actor_channels: int = 64
    """Channels of the actor's first convolution."""
    head_channels: int = 1
    """Channels of the last convolution of the actor and of the critic."""
    norm: Norm = "batch"
    """Normalisation after each convolution."""
    normalise_frames: bool = False
    """Shift and scale each channel of the frames by its running mean and deviation."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Compute type; parameters, statistics, logits and value are float32."""
    remat: bool = True
    """Recompute each block's activations in the backward pass: less memory, more arithmetic."""

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        for name in ("channels", "actor_channels", "head_channels"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        check(min(self.blocks) >= 0, "blocks", self.blocks, "two counts, each at least 0")
        for name in ("stem_stride", "middle_stride"):
            check(min(getattr(self, name)) >= 1, name, getattr(self, name), "at least 1 each")
        for name in ("actor", "critic"):
            check_choice(name, getattr(self, name), get_args(Sight))
        blind = self.actor == "state" and self.critic == "frames"
        check(not blind, "critic", self.critic, "state where the actor sees the state")
        check(min(self.hidden, default=1) >= 1, "hidden", self.hidden, "sizes of at least 1")
        check_choice("norm", self.norm, get_args(Norm))
        check_choice("dtype", self.dtype, ["float32", "bfloat16"])

    @property
    def sees(self) -> set[Sight]:
        """Parts of an observation that the actor or the critic sees."""
        return {self.actor, self.critic}


STATE = NetworkConfig(actor="state", critic="state", norm="none", dtype="float32", remat=False)
"""Two small networks on the state, for a processor."""

CPU = NetworkConfig(
    channels=32,
    blocks=(0, 2),
    stem_stride=(2, 3, 3),
    middle_stride=(3, 3, 3),
    actor_channels=16,
    head_channels=8,
    norm="group",
    dtype="float32",
    remat=False,
)
"""For 5 frames of about 72 x 96 on a processor. With strides as wide as the kernel the first two
convolutions are matrix products; the second ends the time axis, and what follows is 2-D. Group
norm costs a fifth more time a sample and learns far more from it (docs/experiments.md)."""

GPU = NetworkConfig(channels=64, blocks=(2, 2), norm="group", remat=False)
"""For a few RGB frames of about 96 x 128 on one accelerator."""

REFERENCE = NetworkConfig()
"""The reference, for 5 RGB frames of 400 x 600."""


def output_shapes(
    config: NetworkConfig, frames: int, height: int, width: int
) -> tuple[Shape, Shape]:
    """Return (time, height, width) after the first and the second strided convolution.

    Raises:
        ValueError: the observation is too small, or too short in time, for the strides.
    """
    stem = _strided((frames, height, width), config.stem_stride, STEM_PADDING)
    middle = _strided(stem, config.middle_stride, MIDDLE_PADDING)
    given_sizes = {"stack": frames, "height": height, "width": width}
    for axis, (field, given) in enumerate(given_sizes.items()):
        smallest = (KERNEL - 1) * config.stem_stride[axis] + KERNEL - 2 * STEM_PADDING
        check(
            middle[axis] >= 1,
            field,
            given,
            f"at least {smallest} with stem_stride = {config.stem_stride}: the second strided "
            f"convolution needs {KERNEL} positions along each axis and is left {stem[axis]}",
        )
    return stem, middle


def _strided(shape: Shape, strides: Shape, padding: int) -> Shape:
    """The output shape of a convolution."""
    t, h, w = ((n + 2 * padding - KERNEL) // s + 1 for n, s in zip(shape, strides, strict=True))
    return t, h, w
