"""The system libraries that the game draws with: find what is missing, install it where allowed.

`python -I kart_jax/game/engine/system_packages.py` runs before anything is installed: it imports
the standard library alone, and so not the package it stands in.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from glob import glob

PYTHON = (3, 11)
GLIB = "libglib2.0-0"
"""The package without which the game does not load; the others are to draw."""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _has_driver() -> bool:
    """Tell whether there is a driver to draw with: NVIDIA's, or Mesa's in its old or new layout."""
    mesa = ("/usr/lib*/dri/swrast_dri.so", "/usr/lib*/*/dri/swrast_dri.so")
    new = ("/usr/lib*/libgallium-*.so", "/usr/lib*/*/libgallium-*.so")
    return _loads("libEGL_nvidia.so.0") or any(glob(pattern) for pattern in mesa + new)


def missing_packages() -> list[str]:
    """Return the Debian packages whose part is not on this machine, whatever its distribution."""
    present = {
        GLIB: _loads("libglib-2.0.so.0"),
        "libegl1": _loads("libEGL.so.1"),
        "libgl1": _loads("libGL.so.1"),
        "libgl1-mesa-dri": _has_driver(),
    }
    return [package for package, there in present.items() if not there]


def install_command(packages: list[str]) -> str:
    """Return the one command that an administrator runs to install `packages`."""
    return "apt-get update && apt-get install -y --no-install-recommends " + " ".join(packages)


def main() -> None:
    """Install what is missing if we are root on a system with apt, else say who must do what."""
    if sys.version_info < PYTHON:
        sys.exit(
            "kart_jax needs Python {}.{} or newer; {} is {}. Name another: make PYTHON=...".format(
                *PYTHON, sys.executable, sys.version.split()[0]
            )
        )
    packages = missing_packages()
    if importlib.util.find_spec("ensurepip") is None:
        packages.append("python{}.{}-venv".format(*sys.version_info))
    if not packages:
        return
    command = install_command(packages)
    if not shutil.which("apt-get"):
        sys.exit(
            "This machine lacks what Debian packages as " + ", ".join(packages) + ". "
            "Install the same with your system's package manager, then run this again."
        )
    if os.geteuid() != 0:
        sys.exit(
            "System packages are missing: "
            + ", ".join(packages)
            + ". An administrator must run\n\n"
            f"    sudo sh -c '{command}'\n\nThen run this again."
        )
    print("Installing system packages: " + ", ".join(packages), flush=True)
    quiet = command.replace("apt-get ", "DEBIAN_FRONTEND=noninteractive apt-get -qq ")
    done = subprocess.run(["sh", "-c", quiet], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"apt-get could not install them; its words stand above. Try yourself: {command}")


if __name__ == "__main__":
    main()
