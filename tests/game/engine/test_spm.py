"""The game's mesh format, on made-up meshes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kart_jax.game.engine import spm


def buffer(vertices: int, seed: int = 0, rest: int = 4) -> spm.Buffer:
    """Random triangles; a third of the vertices are white."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (vertices, 3), np.uint8)
    colours[::3] = 255
    return spm.Buffer(
        0,
        random.normal(size=(vertices, 3)).astype(np.float32),
        random.integers(0, 256, (vertices, 4), np.uint8),
        colours,
        random.integers(0, 256, (vertices, rest), np.uint8),
        random.integers(0, vertices, (vertices, 3)),
    )


@pytest.mark.parametrize("vertices", [7, 300])
def test_a_mesh_is_read_as_it_was_written(vertices: int, tmp_path: Path) -> None:
    mesh = spm.Mesh(spm.SKINNED, 3, (("a.png", ""),), (buffer(vertices, rest=20),), b"joints")
    spm.write(mesh, tmp_path / "mesh.spm")
    found = spm.read(tmp_path / "mesh.spm")
    assert (found.kind, found.flags, found.materials) == (spm.SKINNED, 3, (("a.png", ""),))
    assert found.armature == b"joints"
    for name in ("positions", "normals", "colours", "rest", "triangles"):
        np.testing.assert_array_equal(
            getattr(found.buffers[0], name), getattr(mesh.buffers[0], name)
        )


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    spm.write(spm.bounds(np.array([[0, 0, 0], [1, 2, 3]], np.float32), "a"), tmp_path / "mesh.spm")
    data = (tmp_path / "mesh.spm").read_bytes()
    box = np.array([0, 0, 0, 1, 2, 3], "<f4").tobytes()
    head = b"SP\x0a\x00" + box + b"\x01\x00\x01a\x00" + b"\x01\x00\x01\x00"
    vertices = box[:12] + b"\0" * 4 + box[12:] + b"\0" * 4
    assert data == head + b"\x02\0\0\0\x03\0\0\0\0\0" + vertices + b"\x00\x01\x01"


def test_a_part_has_no_other_vertices() -> None:
    whole = buffer(50)
    part = whole.part(whole.triangles[:4])
    assert len(part.positions) == len(np.unique(whole.triangles[:4]))
    np.testing.assert_array_equal(
        part.positions[part.triangles], whole.positions[whole.triangles[:4]]
    )


def test_joined_buffers_have_all_triangles_and_are_divided_again() -> None:
    joined = spm.joined([buffer(40_000, seed) for seed in range(2)])
    assert len(joined.triangles) == 80_000
    small = list(spm.small(joined))
    assert all(len(one.positions) <= spm.MAX_VERTICES for one in small)
    np.testing.assert_array_equal(
        np.concatenate([one.positions[one.triangles] for one in small]),
        joined.positions[joined.triangles],
    )


def test_what_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    large = replace(buffer(8), positions=np.zeros((70_000, 3), np.float32))
    with pytest.raises(ValueError, match="70000 vertices"):
        spm.write(spm.Mesh(spm.PLAIN, 3, (("a", ""),), (large,)), tmp_path / "mesh.spm")


@pytest.mark.parametrize("data", [b"", b"PNG and more", b"SP\x0a\x00" + b"\0" * 20])
def test_another_file_is_no_mesh(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "mesh.spm").write_bytes(data)
    with pytest.raises(spm.MeshError, match=r"mesh\.spm is no mesh of the known format"):
        spm.read(tmp_path / "mesh.spm")
