"""A leaner version of a track: the same physics, and nearly the same picture for less.

The game draws a track's mesh as one, however little of it is in view, and each tree as a node of
its own. Here the physics keep all meshes as they are, undrawn; what is drawn is all that stands
still, divided by place and texture, so that what the camera does not look at is left out. Details
too small to see are simplified. Textures do not move, so that equal states look equal.
"""

import copy
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kart_jax.game.engine import placed, simplify, spm
from kart_jax.game.engine.driveline import Cameras
from kart_jax.game.engine.placed import BOUNDS, Element, Placed, link_all, share, share_all
from kart_jax.game.errors import DataError

NOTHING, LEVELS = "lean_nothing.spm", 13
"""A mesh of no triangles to see, and how many levels of detail show it: so many that the first
level, by the game's rule (`LODNode::autoComputeLevel`), is never drawn at any setting."""
TOLERANCE = 0.006
"""Metres that a point may be off for each metre to the road: half a pixel at 128 x 96."""
NEAREST = 4.0
"""Metres that the camera is always away from what it sees."""
COVER = 4.0
"""How many times foliage hides what is behind it, if it is not transparent."""
FAR = 150.0
"""Metres: an object that the game draws only nearer than that is left to the game."""
DRAW, NODE = 80, 10
"""What a mesh costs where it is in view, and where it is not, in triangles' time (measured)."""
LEAST = 60
"""Triangles below which a mesh is not divided."""
UNSEEN = "lean_unseen.png"
"""A texture that is not there, whose triangles take no part in collisions: the game finds the
material by the name alone only where there is no such file."""
PLACE = {"xyz": "0 0 0", "hpr": "0 0 0", "scale": "1 1 1"}

Integers = npt.NDArray[np.int64]


def build_track(track: Path, data: Path, target: Path, home: Path) -> None:
    """Write the lean version of a track's folder.

    Args:
        track: the folder of the original.
        data: the game's `data/`.
        target: the folder to write, which exists and is empty.
        home: where the game finds that folder later.

    Raises:
        DataError: a file of the track can't be read.
    """
    try:
        scene = _Scene(track, data, target, home)
        scene.take_track()
        scene.take_objects()
        scene.draw()
        scene.write()
    except (spm.MeshError, ElementTree.ParseError, OSError, KeyError) as error:
        raise DataError(f"no lean version of {track.name} can be made: {error}") from None
    share_all(track, target)


def build_models(folder: Path, target: Path, tolerance: float) -> None:
    """Write simplified versions of the meshes in a folder, and link the rest of it.

    Their boxes stay the same, from which the game takes the size of a kart.
    """
    for path in sorted(folder.glob("*.spm")):
        mesh = spm.read(path)
        buffers = [simplify.in_the_same_box(buffer, tolerance) for buffer in mesh.buffers]
        spm.write(replace(mesh, buffers=tuple(buffers)), target / path.name)
    share_all(folder, target)


class _Scene:
    """A track's scene on its way from the original to the lean version."""

    def __init__(self, track: Path, data: Path, target: Path, home: Path) -> None:
        self.track, self.data, self.target, self.home = track, data, target, home
        self.root = ElementTree.parse(track / "scene.xml").getroot()
        self.cameras = Cameras.along(track / "quads.xml")
        script = track / "scripting.as"
        self.script = script.read_text(errors="replace") if script.exists() else ""
        self.still: list[Placed] = []
        self.libraries: dict[str, Element] = {}
        self.materials = [Element("material", name=UNSEEN, ignore="Y")]
        own = track / "materials.xml"
        if own.exists():
            self.materials += ElementTree.parse(own).getroot()

    def take_track(self) -> None:
        """Leave the track's mesh and static objects to the physics, and keep what to draw."""
        main = self.root.find("track")
        if main is None:
            raise spm.MeshError("scene.xml has no track")
        name = main.get("model", "")
        mesh = spm.read(self.track / name)
        spm.write(spm.bounds(mesh.box, UNSEEN), self.target / BOUNDS)
        spm.write(spm.bounds(np.zeros((2, 3), np.float32), UNSEEN), self.target / NOTHING)
        main.set("model", BOUNDS)
        main.insert(0, Element("static-object", {"model": name, **PLACE}))
        self._hide(main)

    def _hide(self, main: Element) -> None:
        """Leave static objects to the physics, in the same order, undrawn.

        Of an object with levels of detail, the game takes the first level for its physics, and
        never draws it where the last one is too small to tell from further away.
        """
        levels = self.root.find("lod")
        if levels is None:
            levels = ElementTree.SubElement(self.root, "lod")
        known: set[str] = set()
        for one in main.findall("static-object"):
            if one.get("interaction") == "physics-only" or one.get("lod_instance") == "true":
                continue
            name = one.attrib.pop("model")
            self.still.append(Placed(spm.read(self.track / name), self.track, placed.place(one)))
            group = f"kart_jax_{name}"
            one.set("lod_instance", "true")
            one.set("lod_group", group)
            if group in known:
                continue
            known.add(group)
            parent = ElementTree.SubElement(levels, "group", name=group)
            for level, model in enumerate((str(self.home / name), *(NOTHING,) * LEVELS), start=1):
                ElementTree.SubElement(
                    parent,
                    "static-object",
                    {"skeletal-animation": "false"},
                    lod_group=group,
                    lod_distance=str(level),
                    model=model,
                )

    def take_objects(self) -> None:
        """Take all objects that are part of the picture alone out of the scene."""
        restless: set[str] = set()
        self._find_restless(self.root, self.script, restless, moving=False)
        self._take(self.root, self.track, np.eye(4), placed.groups(self.root), restless)
        for name, root in self.libraries.items():
            folder = self.target / "library" / name
            folder.mkdir(parents=True, exist_ok=True)
            self._write_tree(root, folder / "node.xml")
            link_all(self._library(name), folder)

    def _library(self, name: str) -> Path:
        own = self.track / "library" / name
        return own if own.is_dir() else self.data / "library" / name

    def _library_root(self, name: str) -> Element:
        return ElementTree.parse(self._library(name) / "node.xml").getroot()

    def _find_restless(self, root: Element, script: str, found: set[str], moving: bool) -> None:
        """Find the names of libraries of which some instance moves or is up to a script."""
        for one in root.findall("library"):
            name = one.get("name", "")
            restless = moving or bool(
                len(one) or one.get("if") or (one.get("id") and f'"{one.get("id")}"' in script)
            )
            if restless:
                found.add(name)
            if (self._library(name) / "node.xml").exists():
                self._find_restless(self._library_root(name), "", found, restless)

    def _take(
        self,
        root: Element,
        folder: Path,
        matrix: placed.Floats,
        levels: placed.Groups,
        restless: set[str],
    ) -> None:
        """Keep the still objects under `root` for drawing, instead of in the scene."""
        taken = []
        for one in root.findall("object"):
            if placed.stands_still(one, self.script) and self._place(one, folder, matrix, levels):
                taken.append(one)
        for one in root.findall("library"):
            name = one.get("name", "")
            if name not in restless and (self._library(name) / "node.xml").exists():
                self._take_library(name, placed.place(one) @ matrix, restless)
        for one in taken:
            root.remove(one)

    def _take_library(self, name: str, matrix: placed.Floats, restless: set[str]) -> None:
        root = self._library_root(name)
        self._take(root, self._library(name), matrix, placed.groups(root), restless)
        self.libraries[name] = root

    def _place(
        self, one: Element, folder: Path, matrix: placed.Floats, levels: placed.Groups
    ) -> bool:
        """Keep an object for drawing, if its mesh allows it."""
        where = placed.place(one) @ matrix
        try:
            mesh = _thin(folder / placed.model(one, levels, self.cameras.away(where[3, :3])))
        except (spm.MeshError, OSError):
            return False
        if mesh.armature:
            return False
        levelled = one.get("lod_instance") == "true"
        # All instances of a library must be taken alike: the place within it decides.
        if levelled and placed.drawn_up_to(mesh, placed.place(one)) < FAR:
            return False
        self.still.append(Placed(mesh, folder, where))
        return True

    def draw(self) -> None:
        """Write the meshes to draw, and the objects that show them, which the physics ignore."""
        pools: dict[tuple[str, str], list[spm.Buffer]] = defaultdict(list)
        for one in self.still:
            for textures, buffer in placed.world_buffers(one):
                if one.folder != self.track:
                    textures = (self._own(textures[0], one.folder), textures[1])
                pools[textures].append(buffer)
        number = 0
        for textures, buffers in sorted(pools.items()):
            for part in _pieces(spm.joined(buffers), self.cameras):
                name = f"lean_{number}.spm"
                spm.write(spm.Mesh(spm.PLAIN, 3, (textures,), (part,)), self.target / name)
                self.root.append(_ghost(f"kart_jax_{number}", str(self.home / name)))
                number += 1

    def _own(self, texture: str, library: Path) -> str:
        """Return a name for a library's texture, which must not change what the track's mean."""
        materials = _materials(library / "materials.xml")
        material = materials.get(texture.lower())
        folders = (library, self.data / "textures")
        files = [path for path in (folder / texture for folder in folders) if path.is_file()]
        if not texture or not files or (material is None and files[0].parent != library):
            return texture
        own = f"lean_{library.name}_{texture}"
        if not (self.target / own).exists():
            share(files[0], self.target / own)
            if material is not None:
                self.materials.append(Element("material", {**material.attrib, "name": own}))
                mask = library / material.get("mask", "")
                if mask.is_file() and not (self.track / mask.name).exists():
                    share(mask, self.target / mask.name)
        return own

    def write(self) -> None:
        """Write the scene and the materials."""
        self._write_tree(self.root, self.target / "scene.xml")
        root = Element("materials")
        root.extend(self.materials)
        self._write_tree(root, self.target / "materials.xml")

    @staticmethod
    def _write_tree(root: Element, path: Path) -> None:
        root = copy.deepcopy(root)
        for parent in list(root.iter()):
            for moving in parent.findall("animated-texture"):
                parent.remove(moving)
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


@cache
def _materials(path: Path) -> dict[str, Element]:
    """What a file says of textures, by their names in small letters."""
    if not path.exists():
        return {}
    return {one.get("name", "").lower(): one for one in ElementTree.parse(path).getroot()}


@cache
def _thin(path: Path) -> spm.Mesh:
    """Read a mesh, and thin its foliage."""
    mesh = spm.read(path)
    return replace(mesh, buffers=tuple(simplify.thinned(one, COVER) for one in mesh.buffers))


def _ghost(name: str, model: str) -> Element:
    """An object that takes no part in the physics."""
    return Element(
        "object",
        {"id": name, "type": "static", "skeletal-animation": "false"},
        model=model,
        interaction="ghost",
        **PLACE,
    )


def _pieces(buffer: spm.Buffer, cameras: Cameras) -> Iterator[spm.Buffer]:
    """Divide a buffer by place; simplify each piece by how far it is from the road."""
    centres = buffer.positions[buffer.triangles].mean(axis=1)
    for chosen in _divided(buffer, centres, np.arange(len(centres)), cameras)[1]:
        tolerance = TOLERANCE * max(NEAREST, cameras.away(centres[chosen]))
        simple = simplify.simplified(buffer.part(buffer.triangles[chosen]), tolerance)
        if simple is not None:
            yield from spm.small(simple)


def _divided(
    buffer: spm.Buffer, centres: npt.NDArray[np.floating], chosen: Integers, cameras: Cameras
) -> tuple[float, list[Integers]]:
    """Halve triangles by place wherever that saves time; return what they cost, and the parts."""
    corners = buffer.positions[buffer.triangles[chosen]].reshape(-1, 3)
    whole = NODE + cameras.share(corners.min(axis=0), corners.max(axis=0)) * (DRAW + len(chosen))
    if len(chosen) <= LEAST:
        return whole, [chosen]
    sides = np.ptp(centres[chosen][:, [0, 2]], axis=0)
    along = centres[chosen, (0, 2)[int(sides.argmax())]]
    low = along <= (along.min() + along.max()) / 2
    if low.all():
        return whole, [chosen]
    halves = [_divided(buffer, centres, some, cameras) for some in (chosen[low], chosen[~low])]
    cost = halves[0][0] + halves[1][0]
    return (cost, halves[0][1] + halves[1][1]) if cost < whole else (whole, [chosen])
