"""Whether OpenGL answers without a display; run as a script, in a process of its own.

The game ends its process where it cannot draw, and crashes in one that has asked EGL
before: so the question is put elsewhere first.
"""

import ctypes
import sys

PLATFORMS = {"surfaceless": 0x31DD, "device": 0x313F}
"""EGL platforms that need no display (EGL_MESA_platform_surfaceless, EGL_EXT_platform_device)."""


def problem() -> str | None:
    """Return what is missing, or None."""
    try:
        ctypes.CDLL("libGL.so.1")
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError as error:
        return f"a library is missing ({error})"
    egl.eglGetDisplay.restype = egl.eglGetPlatformDisplay.restype = ctypes.c_void_p
    egl.eglGetDisplay.argtypes = [ctypes.c_void_p]
    egl.eglGetPlatformDisplay.argtypes = [ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
    egl.eglInitialize.argtypes = [ctypes.c_void_p] * 3
    displays = [egl.eglGetDisplay(None)]
    displays += [egl.eglGetPlatformDisplay(kind, None, None) for kind in PLATFORMS.values()]
    if any(display and egl.eglInitialize(display, None, None) for display in displays):
        return None
    return "no OpenGL driver answers"


if __name__ == "__main__":
    found = problem()
    if found:
        print(found)
    sys.exit(found is not None)
