# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies that stand beside a person: as it is now, or as one of its stages made it.

A copy has a mesh, a material and a texture of its own, so that nothing that comes later changes it;
nobody takes it for the person.
"""

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .dressing import new_material, put_relief, relief_node, texture_node
from .naming import stage_title
from .placement import to_metres
from .scene_import import (
    JOB,
    PERSON,
    SHOWN,
    STAGE,
    marked,
    of_job,
    pack_file,
    placement_of,
    write_surface,
    write_uv,
)
from .updates import SurfaceShown, TextureShown

COPY = "copy"
"""Role of a copy's material and texture."""
_GAP = 1.3
"""Widths of the person from one copy to the next."""
_LEAST_WIDTH = 0.1


def copy_beside(job: str, person: Any, scene: Any) -> Any:
    """Put a copy of a person, as it is now, beside it."""
    copy = person.copy()
    copy.data = person.data.copy()
    for place, material in enumerate(person.data.materials):
        copy.data.materials[place] = _own_material(job, material)
    return _stand_beside(job, person, scene, copy, stage_title(str(person.get(SHOWN, ""))))


def stage_beside(job: str, person: Any, scene: Any, shown: SurfaceShown | TextureShown) -> Any:
    """Put what a stage made beside a person, in the size that the person has."""
    name, placement = f"{person.name} {shown.stage}", placement_of(person)
    textured = shown if isinstance(shown, TextureShown) else None
    surface = shown.surface if isinstance(shown, SurfaceShown) else shown.texture.surface
    positions = surface.positions
    if placement is not None and (textured is None or textured.placement is None):
        positions = to_metres(positions, placement)
    mesh = marked(bpy.data.meshes.new(name), job, COPY)
    write_surface(mesh, positions, surface.topology)
    if textured is not None:
        write_uv(mesh, textured.texture.corner_uv)
        texture = textured.texture
        material = new_material(name, _new_image(job, name, texture.albedo))
        mesh.materials.append(marked(material, job, COPY))
        if texture.normal_map is not None:
            put_relief(material, _new_image(job, f"{name} Normal", texture.normal_map))
    copy = marked(bpy.data.objects.new(name, mesh), job, PERSON)
    copy.rotation_euler, copy.scale = person.rotation_euler, person.scale
    copy.location = person.location
    return _stand_beside(job, person, scene, copy, stage_title(shown.stage))


def _stand_beside(job: str, person: Any, scene: Any, copy: Any, stage: str) -> Any:
    copy[STAGE], copy.name = stage, f"{person.name} {stage}"
    copies = [found for found in of_job(scene.objects, job, PERSON) if STAGE in found]
    width = max(float(person.dimensions.x), _LEAST_WIDTH) * _GAP
    copy.location.x += width * (len(copies) + 1)
    scene.collection.objects.link(copy)
    return copy


def _own_material(job: str, material: Any) -> Any:
    """Copy a material of ours with its texture; one that somebody else gave is shared."""
    if texture_node(material) is None or material.get(JOB) != job:
        return material
    own = marked(material.copy(), job, COPY)
    for node in (texture_node(own), relief_node(own)):
        if node is not None and node.image is not None:
            node.image = _own_image(job, node.image)
    return own


def _new_image(job: str, name: str, data: bytes | Path) -> Any:
    image = marked(bpy.data.images.new(name, 1, 1), job, COPY)
    pack_file(image, data if isinstance(data, bytes) else data.read_bytes())
    return image


def _own_image(job: str, image: Any) -> Any:
    own = marked(image.copy(), job, COPY)
    if image.is_dirty:  # painted since it was packed: the copy has only the file
        pixels = np.empty(len(image.pixels), np.float32)
        image.pixels.foreach_get(pixels)
        own.pixels.foreach_set(pixels)
        own.update()
    return own
