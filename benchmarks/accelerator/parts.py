"""The parts, in the order in which they run: what matters most comes first."""

from dataclasses import dataclass, field

WHOLE_MEMORY = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92"}
"""For parts that draw nothing with the device; JAX alone would take three quarters of it."""


@dataclass(frozen=True)
class Part:
    """One part: a function that yields rows, and how long it may take."""

    name: str
    function: str
    """MODULE:FUNCTION; it takes whether sizes are small."""
    limit: float
    """Seconds."""
    about: str
    """What the columns do not say."""
    environment: dict[str, str] = field(default_factory=dict)


_HERE = "benchmarks.accelerator"
_NETWORK = (
    "best times; shares are of a matrix product of that type, measured here, step_share with 3 "
    "times the forward arithmetic, device_share with the recomputation of remat too"
)
_ALL = (
    Part("devices", f"{_HERE}.devices:rows", 20, "what JAX and the driver say"),
    Part(
        "ceilings",
        f"{_HERE}.ceilings:rows",
        30,
        "best times; a copy in memory reads and writes each byte",
        WHOLE_MEMORY,
    ),
    Part(
        "convolution",
        f"{_HERE}.convolution:rows",
        55,
        "best times; operations of all 27 taps, padding or not",
        WHOLE_MEMORY,
    ),
    Part("gpu", f"{_HERE}.network:gpu", 60, _NETWORK, WHOLE_MEMORY),
    Part("reference", f"{_HERE}.network:reference", 70, _NETWORK, WHOLE_MEMORY),
    Part("train", f"{_HERE}.train:rows", 85, "kart_jax.train, the first update left out"),
    Part(
        "drawing",
        f"{_HERE}.drawing:rows",
        40,
        "frames per second of all races, each a process that steps and draws, and no more",
    ),
    Part(
        "update",
        f"{_HERE}.update:rows",
        45,
        "one whole update by the learner, after one that compiles; steps_per_s if races took no "
        "time; reference with short rollouts and one epoch",
        WHOLE_MEMORY,
    ),
    Part(
        "acting",
        f"{_HERE}.acting:rows",
        25,
        "from frames on the host to actions on the host; copy_ms is the frames' way alone",
        WHOLE_MEMORY,
    ),
    Part(
        "int8",
        f"{_HERE}.int8:rows",
        25,
        "greedy acting, frames copied; weights and frames are random: times count",
        WHOLE_MEMORY,
    ),
    Part(
        "profile",
        f"{_HERE}.profile:rows",
        25,
        "the longest operations of a gradient step of the preset reference",
        WHOLE_MEMORY,
    ),
)
PARTS = {part.name: part for part in _ALL}
