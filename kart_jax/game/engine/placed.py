"""A track's scene as triangles in the world: which parts of it stand still, and where."""

import math
import os
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kart_jax.game.engine import spm

Floats = npt.NDArray[np.float64]
Element = ElementTree.Element
Groups = Mapping[str | None, list[Element]]

_UP = np.uint32(0x1FF << 10)
"""The normal of a vertex that has none, as the game packs it."""
BOUNDS = "lean_bounds.spm"
"""The mesh, of no triangles to see, that stands for the track's; a lean track has it."""
LEVEL = 30.0
"""Metres from the road after which an object is drawn with its next level of detail."""


@dataclass(frozen=True)
class Placed:
    """A mesh that stands somewhere in the world."""

    mesh: spm.Mesh
    folder: Path
    """Where its textures may lie, beside those that the game has for all."""
    matrix: Floats
    """[4, 4]: a point [x, y, z, 1] times it is one of the world."""


def place(element: Element) -> Floats:
    """Return the matrix [4, 4] of an element's `xyz`, `hpr` (degrees) and `scale`."""
    x, y, z = (math.radians(angle) for angle in _numbers(element, "hpr", "0 0 0"))
    rotation = np.eye(4)
    # The game turns about x first, then y, then z; a point is a row on the matrix's left.
    for angle, (i, j) in ((x, (1, 2)), (y, (2, 0)), (z, (0, 1))):
        turn = np.eye(4)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = math.sin(angle), -math.sin(angle)
        rotation = rotation @ turn
    matrix = np.diag([*_numbers(element, "scale", "1 1 1"), 1.0]) @ rotation
    matrix[3, :3] = _numbers(element, "xyz", "0 0 0")
    return np.asarray(matrix)


def _numbers(element: Element, name: str, default: str) -> list[float]:
    return [float(number) for number in element.get(name, default).split()]


def groups(root: Element) -> dict[str | None, list[Element]]:
    """Return the models of each group of levels of detail, the finest first."""
    return {group.get("name"): list(group) for group in root.iterfind("lod/group")}


def stands_still(element: Element, script: str) -> bool:
    """Whether an object is part of the picture alone, and always the same."""
    name = element.get("id")
    return (
        element.get("interaction") in ("ghost", "none")
        and element.get("type", "static") in ("static", "animation")
        and all(child.tag == "animated-texture" for child in element)
        and not any(element.get(key) for key in ("if", "renderpass", "displacing", "glow"))
        and element.get("enabled", "true").lower() in ("true", "y", "1")
        and not (name and f'"{name}"' in script)
    )


def model(element: Element, levels: Groups, away: float) -> str:
    """Return the file of the mesh of an object that is `away` metres from the road.

    Raises:
        MeshError: it depends on the game's settings, or the object has none.
    """
    if element.get("lod_instance") != "true":
        return element.get("model", "")
    group = levels.get(element.get("lod_group"), [])
    if not group or any(one.get("geometry-level") for one in group):
        raise spm.MeshError("levels of detail that depend on the settings")
    chosen = min(int(away / LEVEL), len(group) - 1)
    return group[chosen].get("model", "")


def drawn_up_to(mesh: spm.Mesh, matrix: Floats) -> float:
    """Return the metres up to which the game draws an object with levels of detail, at least.

    The rule is that of `LODNode::autoComputeLevel` at the lowest of the settings.
    """
    wide, high, deep = np.ptp(mesh.box.astype(np.float64), axis=0)
    scale = np.linalg.norm(np.linalg.norm(matrix[:3, :3], axis=1))
    area = float(2 * (wide * high + high * deep + deep * wide) * scale)
    near, far = 20 + 7 * math.sqrt(area + 10), 50 + 22 * (area + 2) ** 0.25
    share = far / 220 if far < 210 else min((105 + far / 2) / 220, 1.0)
    return share * far + (1 - share) * near


def world_buffers(placed: Placed) -> Iterator[tuple[tuple[str, str], spm.Buffer]]:
    """Yield the textures and the buffers, in the world's coordinates, all of one vertex format:
    normals, colours, and texture coordinates without tangents."""
    mesh, matrix = placed.mesh, placed.matrix
    turn = matrix[:3, :3] / np.maximum(np.linalg.norm(matrix[:3, :3], axis=1, keepdims=True), 1e-9)
    for buffer in mesh.buffers:
        count = len(buffer.positions)
        textures = mesh.materials[buffer.material]
        normals = buffer.normals
        if not normals.size:
            normals = np.broadcast_to(_UP, count).astype("<u4").view(np.uint8).reshape(count, 4)
        colours = buffer.colours
        if not colours.size:
            colours = np.full((count, 3), 255, np.uint8)
        coordinates = (4 + 4 * bool(textures[1])) if textures[0] else 0
        positions = buffer.positions.astype(np.float64) @ matrix[:3, :3] + matrix[3, :3]
        yield (
            textures,
            replace(
                buffer,
                positions=positions.astype(np.float32),
                normals=_turned(normals, turn),
                colours=colours,
                rest=buffer.rest[:, :coordinates],
            ),
        )


def _turned(normals: npt.NDArray[np.uint8], turn: Floats) -> npt.NDArray[np.uint8]:
    """Packed normals [V, 4] turned by a rotation [3, 3]."""
    if np.allclose(turn, np.eye(3), atol=1e-6):
        return normals
    packed = np.ascontiguousarray(normals).view("<u4").ravel()
    parts = np.stack([packed >> shift & 1023 for shift in (0, 10, 20)], axis=1).astype(np.int64)
    signed = np.where(parts > 511, parts - 1024, parts) @ turn
    turned = np.clip(np.rint(signed), -511, 511).astype(np.int64) & 1023
    words = turned[:, 0] | turned[:, 1] << 10 | turned[:, 2] << 20
    words = words.astype(np.uint32) | packed & np.uint32(3 << 30)
    return words.astype("<u4").view(np.uint8).reshape(-1, 4)


def link_all(source: Path, target: Path) -> None:
    """Link each entry of a folder that another one does not have."""
    for entry in os.scandir(source):
        if not os.path.lexists(target / entry.name):
            (target / entry.name).symlink_to(Path(entry.path).resolve())


def share(source: Path, target: Path) -> None:
    """Give a file another name, or copy it to another disk.

    A link would not do: the game finds a mesh's materials by the paths of its textures, which it
    follows to where links lead.
    """
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def share_all(source: Path, target: Path) -> None:
    """Share each file of a folder, and link each folder, that another folder does not have."""
    for entry in os.scandir(source):
        if not os.path.lexists(target / entry.name):
            if entry.is_file():
                share(Path(entry.path), target / entry.name)
            else:
                (target / entry.name).symlink_to(Path(entry.path).resolve())
