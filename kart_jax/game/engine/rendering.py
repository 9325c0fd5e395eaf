"""What must be settled before the game is started: its environment, and that it can draw."""

import os
import subprocess
import sys
import tempfile

from kart_jax.game.engine import egl_probe
from kart_jax.game.engine.data import profile_dir
from kart_jax.game.errors import GraphicsError

_ANISOTROPY = "-GL_EXT_texture_filter_anisotropic -GL_ARB_texture_filter_anisotropic"


def prepare_environment() -> None:
    """Set the environment variables that make frames cheap, and races leave alone the profile of
    a user who plays the game; the user's own values win.

    Mesa's software rasteriser draws a small frame 50 times slower with anisotropic
    filtering, which only its extension list can turn off, and is best left to draw in
    the calling thread when several races share the cores. Other drivers ignore both.
    """
    os.environ.setdefault("MESA_EXTENSION_OVERRIDE", _ANISOTROPY)
    os.environ.setdefault("LP_NUM_THREADS", "0")
    # Nothing is written there, but a window system's library complains where it is not set.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    if "SUPERTUXKART_SAVEDIR" not in os.environ:
        os.environ["SUPERTUXKART_SAVEDIR"] = str(profile_dir())


def check_graphics(window: bool) -> None:
    """Refuse a machine on which the game would end the process for want of graphics.

    Args:
        window: whether to display frames in a window.

    Raises:
        GraphicsError: says what is missing and what to install or set.
    """
    if window and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise GraphicsError(
            'render_mode="human" needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is '
            'set: use render_mode="rgb_array" here'
        )
    probe = subprocess.run(
        [sys.executable, "-S", "-E", egl_probe.__file__], capture_output=True, text=True, timeout=60
    )
    if probe.returncode:
        raise GraphicsError(
            f"the game cannot draw: {probe.stdout.strip() or probe.stderr.strip()}. Install "
            "OpenGL, on Debian and Ubuntu `apt-get install libgl1 libegl1 libgl1-mesa-dri`, or "
            "the driver of the machine's GPU"
        )
