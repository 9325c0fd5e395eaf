"""The camera that follows the observed kart: how far away a pixel is, and where in the world.

pystk2 0.7.4 has a class for it and leaves it empty. So the game is asked directly, through the
functions that pystk2's library exports.
"""

import ctypes
import os
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kart_jax.game.errors import GameError

Floats = npt.NDArray[np.float64]

_CAMERAS = "_ZN6Camera13m_all_camerasE"
"""Camera::m_all_cameras, a std::vector<Camera*>"""
_NODE_TYPE = "_ZTVN3irr5scene16CCameraSceneNodeE"
"""The virtual tables of irr::scene::CCameraSceneNode"""
_NODE_TYPE_BYTES = 400
_VIEW = "_ZNK3irr5scene16CCameraSceneNode13getViewMatrixEv"
"""irr::scene::CCameraSceneNode::getViewMatrix() const"""
_PROJECTION = "_ZNK3irr5scene16CCameraSceneNode19getProjectionMatrixEv"
"""irr::scene::CCameraSceneNode::getProjectionMatrix() const"""
_WORDS = 64
"""Words of a Camera among which the pointer to its scene node is looked for."""


@dataclass(frozen=True)
class Camera:
    """Where the camera stood when the newest frame was drawn."""

    view: Floats
    """[4, 4]: a point of the world, as a row [x, y, z, 1], times this is one before the camera:
    metres to the right, up and ahead."""
    projection: Floats
    """[4, 4]: that, times this, is a point on the screen, once divided by its last entry."""

    def metres(self, buffer: npt.NDArray[np.float32]) -> Floats:
        """Metres ahead of the camera [H, W], of a depth buffer [H, W] of 0 to 1."""
        return np.asarray(
            self.projection[3, 2] / (2.0 * buffer.astype(np.float64) - 1.0 - self.projection[2, 2])
        )

    def points(self, buffer: npt.NDArray[np.float32]) -> Floats:
        """The points of the world that the pixels show: [H, W, 3], metres."""
        height, width = buffer.shape
        ahead = self.metres(buffer)
        right = ((np.arange(width) + 0.5) / width * 2 - 1) / self.projection[0, 0]
        up = (1 - (np.arange(height) + 0.5) / height * 2)[:, None] / self.projection[1, 1]
        seen = np.stack([right * ahead, up * ahead, ahead], axis=-1)
        return np.asarray((seen - self.view[3, :3]) @ self.view[:3, :3].T)


def look(library: str) -> Camera:
    """The camera of the newest frame.

    Args:
        library: path of the pystk2 extension, loaded and with a race in it that was drawn.

    Raises:
        GameError: this build of pystk2 does not export what is needed.
    """
    game = ctypes.CDLL(library)
    try:
        node = _find_node(game)
        view, projection = (_matrix(game, name, node) for name in (_VIEW, _PROJECTION))
    except (AttributeError, ValueError, OSError) as error:
        raise GameError(
            f"this build of pystk2 shows no camera ({error}): leave depth and labels = False"
        ) from None
    return Camera(view, projection)


def _find_node(game: ctypes.CDLL) -> int:
    """The scene node of the first camera: the part of it that has the type of one."""
    node_type = ctypes.addressof(ctypes.c_char.in_dll(game, _NODE_TYPE))
    cameras = ctypes.addressof(ctypes.c_char.in_dll(game, _CAMERAS))
    # Unlike a pointer, this file may be read at any address: a wrong one is an error.
    memory = os.open("/proc/self/mem", os.O_RDONLY)
    try:

        def words(address: int, count: int = 1) -> tuple[int, ...]:
            return struct.unpack(f"{count}Q", os.pread(memory, 8 * count, address))

        (first,) = words(*words(cameras))
        for word in words(first, _WORDS):
            try:
                (its_type,) = words(word)
            except (OSError, OverflowError, struct.error):
                continue
            if 0 <= its_type - node_type < _NODE_TYPE_BYTES:
                return word
    finally:
        os.close(memory)
    raise ValueError("its scene node was not found")


def _matrix(game: ctypes.CDLL, name: str, node: int) -> Floats:
    function = game[name]
    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.POINTER(ctypes.c_float * 16)
    return np.array(function(node).contents, np.float64).reshape(4, 4)
