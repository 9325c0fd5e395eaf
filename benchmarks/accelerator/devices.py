"""Which device, driver and versions there are."""

import os
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "flax", "optax", "PySuperTuxKart2")
ASKED = ("driver_version", "memory.total", "power.limit", "clocks.max.sm")


def rows(small: bool) -> Iterator[dict[str, Any]]:
    """Yield one row."""
    device = jax.devices()[0]
    row = {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cores": len(os.sched_getaffinity(0)),
    }
    for package in PACKAGES:
        try:
            row[package] = version(package)
        except PackageNotFoundError:
            continue
    yield row | (_nvidia() if device.platform == "gpu" else {})


def _nvidia() -> dict[str, str]:
    """What the driver says of the first card, if it is one of NVIDIA's."""
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = said.stdout.strip().split(", ")
    return dict(zip(ASKED, values, strict=True)) if len(values) == len(ASKED) else {}
