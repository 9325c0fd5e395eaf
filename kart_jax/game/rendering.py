"""Drawing without a display: what must be set before the game's binding is imported."""

import os

_ANISOTROPY = "-GL_EXT_texture_filter_anisotropic -GL_ARB_texture_filter_anisotropic"


def prepare_environment() -> None:
    """Set the environment variables that make frames cheap; the user's own values win.

    Mesa's software rasteriser draws a small frame 50 times slower with anisotropic
    filtering, which only its extension list can turn off, and is best left to draw in
    the calling thread when several races share the cores. Other drivers ignore both.
    """
    os.environ.setdefault("MESA_EXTENSION_OVERRIDE", _ANISOTROPY)
    os.environ.setdefault("LP_NUM_THREADS", "0")
