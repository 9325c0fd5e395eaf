"""The camera that follows the observed kart: how far away a pixel is, and where in the world.

pystk2 0.7.4 has a class for it and leaves it empty. So the game is asked directly, through the
functions that pystk2's library exports.
"""

import ctypes
import os
import sys
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
"""Their length at most; an object of the type points into them."""
_VIEW = "_ZNK3irr5scene16CCameraSceneNode13getViewMatrixEv"
"""irr::scene::CCameraSceneNode::getViewMatrix() const"""
_PROJECTION = "_ZNK3irr5scene16CCameraSceneNode19getProjectionMatrixEv"
"""irr::scene::CCameraSceneNode::getProjectionMatrix() const"""
_WORDS = 64
"""Words of a Camera among which the pointer to its scene node is looked for."""


@dataclass(frozen=True)
class View:
    """What the camera saw when the newest frame was drawn."""

    metres: Floats
    """[H, W]: how far ahead of the camera a pixel lies."""
    slopes: tuple[float, float]
    """Metres to the right, and up, at a metre ahead: of the frame's right and upper edge."""
    to_camera: Floats
    """[4, 4]: a point of the world, as a row [x, y, z, 1], times this is one as the camera sees
    it: metres to the right, up and ahead."""

    def points(self) -> Floats:
        """Return the points of the world that the pixels show: [H, W, 3], metres."""
        height, width = self.metres.shape
        right = ((np.arange(width) + 0.5) / width * 2 - 1) * self.slopes[0]
        up = (1 - (np.arange(height) + 0.5) / height * 2)[:, None] * self.slopes[1]
        seen = np.stack([right * self.metres, up * self.metres, self.metres], axis=-1)
        return np.asarray((seen - self.to_camera[3, :3]) @ self.to_camera[:3, :3].T)


def look(library: str, buffer: npt.NDArray[np.float32]) -> View:
    """Return the view of the newest frame.

    Args:
        library: path of the pystk2 extension, loaded and with a race in it that was drawn.
        buffer: the frame's depth buffer, [H, W], 0 to 1.

    Raises:
        GameError: this build of pystk2 does not export what is needed.
    """
    game = ctypes.CDLL(library)
    try:
        node = _find_node(game)
        to_camera, to_screen = (_matrix(game, name, node) for name in (_VIEW, _PROJECTION))
    except (AttributeError, ValueError, OSError) as error:
        raise GameError(
            f"this build of pystk2 shows no camera ({error}): leave depth and labels = False"
        ) from None
    return view_of(buffer, to_camera, to_screen)


def view_of(buffer: npt.NDArray[np.float32], to_camera: Floats, to_screen: Floats) -> View:
    """Return the view that a depth buffer [H, W] and the camera's matrices [4, 4] make.

    A row [x, y, z, 1] before the camera times `to_screen` is a point of the screen times its last
    entry, the metres ahead; its third part is -1 to 1 where the buffer is 0 to 1.
    """
    metres = to_screen[3, 2] / (2.0 * buffer.astype(np.float64) - 1.0 - to_screen[2, 2])
    return View(metres, (1 / to_screen[0, 0], 1 / to_screen[1, 1]), to_camera)


def _find_node(game: ctypes.CDLL) -> int:
    """The scene node of the first camera: the part of it that has the type of one."""
    node_type = ctypes.addressof(ctypes.c_char.in_dll(game, _NODE_TYPE))
    cameras = ctypes.addressof(ctypes.c_char.in_dll(game, _CAMERAS))
    # Unlike a pointer, this file may be read at any address: a wrong one is an error.
    memory = os.open("/proc/self/mem", os.O_RDONLY)

    def word(address: int) -> int:
        """8 bytes as a pointer; 0 where nothing can be read."""
        try:
            return int.from_bytes(os.pread(memory, 8, address), sys.byteorder)
        except (OSError, OverflowError):
            return 0

    try:
        first = word(word(cameras))
        for place in range(_WORDS):
            node = word(first + 8 * place)
            if 0 <= word(node) - node_type < _NODE_TYPE_BYTES:
                return node
    finally:
        os.close(memory)
    raise ValueError("its scene node was not found")


def _matrix(game: ctypes.CDLL, name: str, node: int) -> Floats:
    function = game[name]
    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.POINTER(ctypes.c_float * 16)
    return np.array(function(node).contents, np.float64).reshape(4, 4)
