"""The game's mesh format, SPM version 1: read it, write it, take parts of it.

The format is that of the game's own loader (`src/graphics/sp_mesh_loader.cpp`): materials are
pairs of texture names, and a mesh is a list of buffers of at most 65,535 vertices with one
material each. Numbers are little-endian.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

_VERSION = 1
SKINNED, PLAIN = 1, 2
_WHITE, _COLOURED = 128, 255
"""Marks of a vertex: its colour is white, which takes no more bytes, or the next three bytes."""
MAX_VERTICES = 65535


class MeshError(Exception):
    """A file is no mesh that this module can read."""


@dataclass(frozen=True)
class Buffer:
    """Triangles of one material."""

    material: int
    """Its place in `Mesh.materials`."""
    positions: npt.NDArray[np.float32]
    """[V, 3], metres."""
    normals: npt.NDArray[np.uint8]
    """[V, 4], packed as 10 + 10 + 10 + 2 bits; [V, 0] without."""
    colours: npt.NDArray[np.uint8]
    """[V, 3]; [V, 0] without."""
    rest: npt.NDArray[np.uint8]
    """[V, R]: texture coordinates, tangents and joints, as they stand in the file."""
    triangles: npt.NDArray[np.int64]
    """[N, 3]: places of vertices."""

    def part(self, triangles: npt.NDArray[np.int64]) -> "Buffer":
        """Return a buffer of `triangles` [N, 3] of this one's vertices, and no other vertices."""
        used, places = np.unique(triangles, return_inverse=True)
        return replace(
            self,
            positions=self.positions[used],
            normals=self.normals[used],
            colours=self.colours[used],
            rest=self.rest[used],
            triangles=places.reshape(-1, 3),
        )


@dataclass(frozen=True)
class Mesh:
    """What one file holds."""

    kind: int
    flags: int
    """1: normals, 2: colours, 4: tangents."""
    materials: tuple[tuple[str, str], ...]
    """The names of two textures each; empty where there is none."""
    buffers: tuple[Buffer, ...]
    armature: bytes = field(default=b"", repr=False)
    """Joints and their animation, as they stand in the file."""

    @property
    def triangles(self) -> int:
        """How many triangles it has."""
        return sum(len(buffer.triangles) for buffer in self.buffers)

    @property
    def box(self) -> npt.NDArray[np.float32]:
        """[2, 3]: the lowest and the highest coordinates of its vertices."""
        corners = [f(b.positions, axis=0) for b in self.buffers for f in (np.min, np.max)]
        return np.stack([np.min(corners, axis=0), np.max(corners, axis=0)]).astype(np.float32)


def bounds(box: npt.NDArray[np.float32], texture: str) -> Mesh:
    """Return a mesh that takes up a box [2, 3] and shows nothing: one triangle without area."""
    nothing = np.zeros((2, 0), np.uint8)
    coordinates = np.zeros((2, 4 if texture else 0), np.uint8)
    triangle = np.array([[0, 1, 1]])
    buffer = Buffer(0, box.astype(np.float32), nothing, nothing, coordinates, triangle)
    return Mesh(PLAIN, 0, ((texture, ""),), (buffer,))


def joined(buffers: Sequence[Buffer], material: int = 0) -> Buffer:
    """Return one buffer of several of the same vertex format, which may be too large to write."""
    starts = np.cumsum([0, *(len(buffer.positions) for buffer in buffers)])
    return Buffer(
        material,
        np.concatenate([buffer.positions for buffer in buffers]),
        np.concatenate([buffer.normals for buffer in buffers]),
        np.concatenate([buffer.colours for buffer in buffers]),
        np.concatenate([buffer.rest for buffer in buffers]),
        np.concatenate(
            [buffer.triangles + start for buffer, start in zip(buffers, starts, strict=False)]
        ),
    )


def small(buffer: Buffer) -> Iterator[Buffer]:
    """Divide a buffer into as many as the format needs."""
    step = MAX_VERTICES // 3
    for start in range(0, len(buffer.triangles), step):
        yield buffer.part(buffer.triangles[start : start + step])


def read(path: Path) -> Mesh:
    """Read a mesh.

    Raises:
        MeshError: the file is not of the known format.
    """
    try:
        return _parse(path.read_bytes())
    except (MeshError, struct.error, ValueError, IndexError) as error:
        raise MeshError(f"{path} is no mesh of the known format: {error}") from None


def _parse(data: bytes) -> Mesh:
    kind, flags = data[2] & 7, data[3]
    if data[:2] != b"SP" or data[2] >> 3 != _VERSION or kind not in (SKINNED, PLAIN):
        raise MeshError(f"it begins with {data[:4]!r}")
    place = 4 + 24  # the box, which the game computes anew
    (count,) = struct.unpack_from("<H", data, place)
    place += 2
    materials = []
    for _ in range(count):
        names = []
        for _ in range(2):
            end = place + 1 + data[place]
            names.append(data[place + 1 : end].decode("utf-8", "surrogateescape"))
            place = end
        materials.append((names[0], names[1]))
    (sections,) = struct.unpack_from("<H", data, place)
    place += 2
    buffers = []
    for _ in range(sections):
        (count,) = struct.unpack_from("<H", data, place)
        place += 2
        for _ in range(count):
            buffer, place = _parse_buffer(data, place, kind, flags, materials)
            buffers.append(buffer)
    return Mesh(kind, flags, tuple(materials), tuple(buffers), data[place:])


def _parse_buffer(
    data: bytes, place: int, kind: int, flags: int, materials: list[tuple[str, str]]
) -> tuple[Buffer, int]:
    vertices, indices, material = struct.unpack_from("<IIH", data, place)
    place += 10
    normal = 12 + 4 * (flags & 1)
    rest = _rest_bytes(kind, flags, materials[material])
    colour = 4 if flags & 2 else 0
    starts = np.empty(vertices, np.int64)
    white = np.zeros(vertices, bool)
    for vertex in range(vertices):  # a white vertex is shorter: each place follows from the last
        starts[vertex] = place
        if colour and data[place + normal] == _WHITE:
            white[vertex] = True
            place += normal + 1 + rest
        else:
            place += normal + colour + rest
    every = np.frombuffer(data, np.uint8)
    heads = every[starts[:, None] + np.arange(normal)]
    colours = np.full((vertices, 3 if colour else 0), 255, np.uint8)
    if colour:
        colours[~white] = every[starts[~white][:, None] + np.arange(normal + 1, normal + 4)]
    tails = starts + normal + np.where(white, 1, colour)
    size = 2 if vertices > 255 else 1
    triangles = np.frombuffer(data, f"<u{size}", indices, place).astype(np.int64).reshape(-1, 3)
    buffer = Buffer(
        material,
        heads[:, :12].copy().view("<f4"),
        heads[:, 12:],
        colours,
        every[tails[:, None] + np.arange(rest)],
        triangles,
    )
    return buffer, place + size * indices


def _rest_bytes(kind: int, flags: int, textures: tuple[str, str]) -> int:
    """Bytes of a vertex after its colour."""
    coordinates = (4 + 4 * bool(textures[1]) + (flags & 4)) if textures[0] else 0
    return coordinates + (16 if kind == SKINNED else 0)


def write(mesh: Mesh, path: Path) -> None:
    """Write a mesh.

    Raises:
        ValueError: a buffer has no triangles, or more vertices than the format can count.
    """
    parts = [b"SP", bytes([_VERSION << 3 | mesh.kind, mesh.flags]), mesh.box.tobytes()]
    parts.append(struct.pack("<H", len(mesh.materials)))
    for name in (name for pair in mesh.materials for name in pair):
        encoded = name.encode("utf-8", "surrogateescape")
        parts += [bytes([len(encoded)]), encoded]
    parts.append(struct.pack("<HH", 1, len(mesh.buffers)))
    for buffer in mesh.buffers:
        vertices = len(buffer.positions)
        if not (len(buffer.triangles) and 0 < vertices <= MAX_VERTICES):
            raise ValueError(f"a buffer of {vertices} vertices, {len(buffer.triangles)} triangles")
        parts.append(struct.pack("<IIH", vertices, buffer.triangles.size, buffer.material))
        parts.append(_vertices(buffer, bool(mesh.flags & 2)))
        parts.append(buffer.triangles.astype("<u2" if vertices > 255 else "u1").tobytes())
    path.write_bytes(b"".join(parts) + mesh.armature)


def _vertices(buffer: Buffer, coloured: bool) -> bytes:
    positions = np.ascontiguousarray(buffer.positions, "<f4").view(np.uint8)
    if not coloured:
        return np.concatenate([positions, buffer.normals, buffer.rest], axis=1).tobytes()
    white = (buffer.colours == 255).all(axis=1)
    mark = np.where(white, _WHITE, _COLOURED).astype(np.uint8)[:, None]
    every = np.concatenate([positions, buffer.normals, mark, buffer.colours, buffer.rest], axis=1)
    start = 12 + buffer.normals.shape[1] + 1
    keep = np.ones(every.shape, bool)
    keep[white, start : start + 3] = False  # row by row, as a boolean index takes them
    return every[keep].tobytes()
