# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays become datablocks: meshes, materials, images; and back, for what was edited by hand.

Everything here runs on Blender's main thread and touches each datablock by the fastest way that
was measured. What is ours carries the job's id as a custom property; nobody keeps a reference to
a datablock, because undo and file loading replace them.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

from .arrays import (
    EditedImage,
    EditedMesh,
    Floats,
    Pixels,
    Topology,
)
from .placement import to_units
from .protocol import MeshFrame, Placement
from .translations import told

JOB, ROLE, RUN = "geneman_job", "geneman_role", "geneman_run"
"""Custom properties: the job's id, what the datablock is for, the run's settings and seed."""
SHOWN, STAGE = "geneman_shown", "geneman_stage"
"""Of a person: which stage's result it shows; of a copy for comparison: which it is of."""
ELEVATION = "geneman_camera_elevation"
"""Of a person: how far above them the photo's camera stood, in degrees."""
METRES, FLOOR, TOPOLOGY = "geneman_metres_per_unit", "geneman_floor", "geneman_topology"
"""Of a person: how its vertices came to metres; of its mesh: which topology it has."""
SHAPE = "geneman_shape"
"""Of a person: which shape its last result has; what was sculpted since is another."""
PACKED = "geneman_packed"
"""Of a texture: which file was packed into it; what was painted and packed since is another."""
PERSON, ALBEDO, NORMAL = "person", "albedo", "normal"
"""Roles; others lie beside their users."""
LIVE_IMAGE = "GeneMAN Live"
UV_MAP = "UVMap"
ELBOW_ROOM = 0.8
"""Metres from the edge of what stands there to the middle of the next person."""
_HEAD, _ANKLE = 2.0, 0.1
"""Metres between which something is in a person's way: floors and lamps are not."""
_ROOM = 4.0
"""Metres of what is a place to stand in rather than a thing that stands there."""
_SOLID = ("MESH", "CURVE", "SURFACE", "META", "FONT")
_XYZ = 3


class SceneError(Exception):
    """Something in the scene cannot be used; the text is one sentence."""


# ---- finding ----------------------------------------------------------------------------------


def of_job(collection: Any, job: str, role: str) -> Iterator[Any]:
    """Give the datablocks of a job in one of `bpy.data`'s collections."""
    for found in collection:
        if found.get(JOB) == job and found.get(ROLE) == role:
            yield found


def person_of(job: str) -> Any:
    """Give the person's object, if a scene still shows it, else None."""
    for found in of_job(bpy.data.objects, job, PERSON):
        if found.type == "MESH" and found.users_scene and STAGE not in found:
            return found
    return None


def job_of(found: Any | None) -> str:
    """Give the id of the job that made an object, or nothing."""
    if found is None or found.get(ROLE) != PERSON:
        return ""
    return str(found.get(JOB, ""))


def marked(found: Any, job: str, role: str) -> Any:
    """Write on a datablock whose it is."""
    found[JOB], found[ROLE] = job, role
    return found


def placement_of(found: Any) -> Placement | None:
    """Give the placement that a person's vertices were written with."""
    if METRES not in found or FLOOR not in found:
        return None
    x, y, z = (float(value) for value in found[FLOOR])
    return Placement(float(found[METRES]), (x, y, z), float(found.get(ELEVATION, 0.0)))


def place(found: Any, placement: Placement) -> None:
    """Note on a person which placement its vertices have."""
    found[METRES], found[FLOOR] = placement.metres_per_unit, placement.floor
    found[ELEVATION] = placement.camera_elevation_deg


# ---- meshes -----------------------------------------------------------------------------------


def new_person(job: str, label: str, scene: Any) -> Any:
    """Add an empty person to a scene: at the origin, or beside what stands there."""
    x = free_place(scene)
    mesh = marked(bpy.data.meshes.new(label), job, PERSON)
    found = marked(bpy.data.objects.new(label, mesh), job, PERSON)
    found.location.x = x
    scene.collection.objects.link(found)
    return found


def free_place(scene: Any) -> float:
    """Give the first x from the origin to the right where a person stands in nothing."""
    things = sorted(_in_the_row(scene))
    x = 0.0
    for left, right in things:  # from the left: a later one cannot free what was taken
        if left < x + ELBOW_ROOM and right > x - ELBOW_ROOM:
            x = right + ELBOW_ROOM
    return x


def _in_the_row(scene: Any) -> Iterator[tuple[float, float]]:
    """Give left and right ends, in metres, of what stands in the row of people."""
    for one in scene.objects:
        if one.type not in _SOLID:
            continue
        corners = np.array([one.matrix_world @ Vector(corner) for corner in one.bound_box])
        low, high = corners.min(axis=0), corners.max(axis=0)
        stands = low[2] < _HEAD and high[2] > _ANKLE
        near = low[1] < ELBOW_ROOM and high[1] > -ELBOW_ROOM
        if stands and near and max(high[:2] - low[:2]) < _ROOM:
            yield float(low[0]), float(high[0])


def write_surface(mesh: Any, positions: Floats, topology: Topology) -> bool:
    """Give a mesh this surface; say whether its faces were replaced, or only its vertices moved.

    Args:
        mesh: A `bpy.types.Mesh` that is not in Edit Mode.
        positions: (3V,), in the object's coordinates.
        topology: The faces, and a number that tells whether the mesh has them already.
    """
    if _has(mesh, topology):
        _move(mesh, positions)
        return False
    mesh.clear_geometry()
    mesh.vertices.add(topology.vertices)
    mesh.edges.add(topology.edges)
    mesh.loops.add(len(topology.corner_vert))
    mesh.polygons.add(topology.faces)
    attributes = mesh.attributes
    attributes["position"].data.foreach_set("vector", positions)
    attributes[".edge_verts"].data.foreach_set("value", topology.edge_verts)
    attributes[".corner_vert"].data.foreach_set("value", topology.corner_vert)
    attributes[".corner_edge"].data.foreach_set("value", topology.corner_edge)
    mesh.polygons.foreach_set("loop_start", topology.loop_start)
    mesh[TOPOLOGY] = str(topology.number)
    mesh.update()
    return True


def _has(mesh: Any, topology: Topology) -> bool:
    """Compare counts too: sculpting with dynamic topology or a modifier may have changed them."""
    return (
        mesh.get(TOPOLOGY) == str(topology.number)
        and len(mesh.vertices) == topology.vertices
        and len(mesh.loops) == len(topology.corner_vert)
        and len(mesh.polygons) == topology.faces
    )


def _move(mesh: Any, positions: Floats) -> None:
    mesh.attributes["position"].data.foreach_set("vector", positions)
    mesh.update()


def remember_shape(found: Any) -> None:
    """Note on a person which shape a result has given it."""
    found[SHAPE] = _shape(found.data)


def reshaped(found: Any) -> bool:
    """Say whether a person that is not in Edit Mode has another shape than its result gave it."""
    return SHAPE in found and found[SHAPE] != _shape(found.data)


def _shape(mesh: Any) -> str:
    """Give what tells one shape from another; a millisecond for a hundred thousand vertices."""
    positions = np.empty(len(mesh.vertices) * _XYZ, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", positions)
    return f"{len(mesh.polygons)} {zlib.crc32(positions.data):08x}"


def write_uv(mesh: Any, corner_uv: Floats) -> None:
    """Give a mesh's corners their places in the texture, (6F,)."""
    layer = mesh.uv_layers.get(UV_MAP) or mesh.uv_layers.new(name=UV_MAP, do_init=False)
    layer.uv.foreach_set("vector", corner_uv)


def edited_mesh(found: Any, placement: Placement | None) -> EditedMesh:
    """Give an object's mesh, modifiers applied, as triangles for the backend.

    Args:
        found: A mesh object that is not in Edit Mode (its mesh would be an old one).
        placement: Of a person of ours, whose vertices go back to the scene's units. None: any
            mesh; it goes as it stands in the world, and the backend fits it to the photo.

    Raises:
        SceneError: It has no faces.
    """
    evaluated = found.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    try:
        mesh.calc_loop_triangles()
        count = len(mesh.loop_triangles)
        if not count:
            text = "A mesh must have faces, but '{name}' has none: choose another"
            raise SceneError(told(text, name=found.name))
        positions = np.empty(len(mesh.vertices) * _XYZ, np.float32)
        mesh.attributes["position"].data.foreach_get("vector", positions)
        triangles = np.empty(count * _XYZ, np.int32)
        mesh.loop_triangles.foreach_get("vertices", triangles)
        corner_uv = corners = None
        if mesh.uv_layers.active is not None and placement is None:
            corner_uv = np.empty(len(mesh.loops) * 2, np.float32)
            mesh.uv_layers.active.uv.foreach_get("vector", corner_uv)
            corners = np.empty(count * _XYZ, np.int32)
            mesh.loop_triangles.foreach_get("loops", corners)
    finally:
        evaluated.to_mesh_clear()
    if placement is not None:
        return EditedMesh(to_units(positions, placement), triangles)
    turned = positions.reshape(-1, 3) @ np.array(found.matrix_world.to_3x3(), np.float32).T
    turned += np.array(found.matrix_world.translation, np.float32)
    flat = np.ascontiguousarray(turned, np.float32).reshape(-1)
    return EditedMesh(flat, triangles, MeshFrame.ANYWHERE, corner_uv, corners)


# ---- images -----------------------------------------------------------------------------------


def write_image(image: Any, pixels: Pixels) -> None:
    """Show pixels in an image, whatever it showed before."""
    if image.packed_file is not None:
        image.unpack(method="REMOVE")
    if image.source != "GENERATED":
        image.source, image.filepath_raw = "GENERATED", ""
    if tuple(image.size) != (pixels.width, pixels.height):
        image.scale(pixels.width, pixels.height)
    image.pixels.foreach_set(pixels.flat)
    image.update()


def edited_image(image: Any) -> EditedImage:
    """Give an image's pixels for the backend.

    Raises:
        SceneError: The image has no pixels, as when its file is gone.
    """
    width, height = image.size
    if not width or not height:
        text = "An image must have pixels, but '{name}' has none: see whether its file is there"
        raise SceneError(told(text, name=image.name))
    flat = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(flat)
    return EditedImage(width, height, flat, image.channels)


def live_image() -> Any:
    """Give the image in which the newest picture of a running job is shown."""
    return bpy.data.images.get(LIVE_IMAGE) or bpy.data.images.new(LIVE_IMAGE, 128, 128)


def pack_file(image: Any, data: bytes) -> None:
    """Let an image keep a file's pixels in undo steps and the .blend file: nothing is encoded here.

    Pixels that were only set are in neither.
    """
    image.pack(data=data, data_len=len(data))
    image.source = "FILE"
    image.buffers_free()  # it would go on showing those of the file before
    image[PACKED] = f"{len(data)} {zlib.crc32(data):08x}"


def painted(image: Any) -> bool:
    """Say whether somebody has painted on a texture, saved or not, since it was packed."""
    if image.is_dirty or image.packed_file is None:
        return bool(image.is_dirty)
    return PACKED in image and int(image[PACKED].split()[0]) != image.packed_file.size


def empty(image: Any) -> bool:
    """Say whether a texture has lost its pixels: they were set, and are in no file."""
    return image.source == "GENERATED" and image.packed_file is None and not image.is_dirty


def texture_of(job: str, role: str) -> Any | None:
    """Give one of the person's textures."""
    return next(of_job(bpy.data.images, job, role), None)


def albedo_of(job: str) -> Any | None:
    """Give the texture that the person can be painted on."""
    return texture_of(job, ALBEDO)
