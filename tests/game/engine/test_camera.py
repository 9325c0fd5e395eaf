import subprocess
import sys

import numpy as np
import pytest

from kart_jax.game.engine.camera import look, view_of
from kart_jax.game.errors import GameError

NEAR, FAR = 1.0, 1000.0


def perspective(width: float, height: float) -> np.ndarray:
    """The game's projection of points up to `width` aside and `height` above at one metre."""
    scale = FAR / (FAR - NEAR)
    return np.array(
        [[1 / width, 0, 0, 0], [0, 1 / height, 0, 0], [0, 0, scale, 1], [0, 0, -scale * NEAR, 0]]
    )


def placed(eye: np.ndarray, heading: float) -> np.ndarray:
    """Of a camera at a point [3] that looks level: 0 = +z, growing towards +x."""
    sin, cos = np.sin(heading), np.cos(heading)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]).T
    matrix[3, :3] = -eye @ matrix[:3, :3]
    return matrix


def buffer_of(metres: np.ndarray) -> np.ndarray:
    """What a graphics card keeps of distances between the near plane and the far one."""
    screen = FAR / (FAR - NEAR) * (1 - NEAR / metres)
    return ((screen + 1) / 2).astype(np.float32)


def test_distances_come_back_from_the_depth_buffer() -> None:
    metres = np.array([[1.0, 2.0, 10.0], [100.0, 400.0, 1000.0]])
    view = view_of(buffer_of(metres), np.eye(4), perspective(1.0, 1.0))
    np.testing.assert_allclose(view.metres, metres, rtol=1e-2)
    assert buffer_of(metres)[0, 0] == 0.5


def test_pixels_lie_where_the_camera_projects_them_from() -> None:
    rng = np.random.default_rng(0)
    eye, heading = np.array([3.0, 5.0, -7.0]), 0.7
    to_camera, to_screen = placed(eye, heading), perspective(1.5, 1.0)
    metres = rng.uniform(2.0, 30.0, (6, 9))
    points = view_of(buffer_of(metres), to_camera, to_screen).points()
    seen = np.concatenate([points, np.ones((6, 9, 1))], -1) @ to_camera @ to_screen
    screen = seen[..., :2] / seen[..., 3:]
    np.testing.assert_allclose(screen[0, :, 0], (np.arange(9) + 0.5) / 9 * 2 - 1, atol=1e-9)
    np.testing.assert_allclose(screen[:, 0, 1], 1 - (np.arange(6) + 0.5) / 6 * 2, atol=1e-9)
    middle = view_of(buffer_of(np.full((1, 1), 10.0)), to_camera, to_screen).points()[0, 0]
    ahead = eye + 10 * np.array([np.sin(heading), 0, np.cos(heading)])
    np.testing.assert_allclose(middle, ahead, atol=1e-3)


def test_another_library_shows_no_camera() -> None:
    with pytest.raises(GameError, match="leave depth and labels = False"):
        look("libc.so.6", np.ones((1, 1), np.float32))


@pytest.mark.real_game
def test_the_game_without_a_race_shows_no_camera() -> None:
    """Reading where no camera is must be an error, not the process's end."""
    program = "import numpy, pystk2; from kart_jax.game.engine.camera import look; "
    program += "look(pystk2.__file__, numpy.ones((1, 1), numpy.float32))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "GameError: this build of pystk2 shows no camera" in done.stderr
