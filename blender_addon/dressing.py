# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person wears: its material, made once and then kept, and the textures in it."""

from pathlib import Path
from typing import Any

import bpy

from .scene_import import ALBEDO, NORMAL, PERSON, marked, of_job, pack_file, texture_of

RELIEF = "geneman_relief"
"""Of a material: that it was given a normal map; whoever took it out again keeps it so."""
RELIEF_IMAGE, RELIEF_NODE = "GeneMAN Normal Image", "GeneMAN Normal Map"
"""Names of a material's nodes."""


def dress(
    found: Any, job: str, albedo: bytes | Path, normal_map: bytes | Path | None = None
) -> None:
    """Give a person its textures: material and images, each made once and then kept."""
    image = _packed(found, job, ALBEDO, albedo)
    relief = None if normal_map is None else _packed(found, job, NORMAL, normal_map)
    put_relief(clothe(found, job, image), relief)


def _packed(found: Any, job: str, role: str, data: bytes | Path) -> Any:
    image = texture_of(job, role)
    if image is None:
        image = marked(bpy.data.images.new(f"{found.name} {role.title()}", 1, 1), job, role)
    pack_file(image, data if isinstance(data, bytes) else data.read_bytes())
    return image


def clothe(found: Any, job: str, image: Any) -> Any:
    """Let a person wear a texture; the material is made once and then kept, edits included."""
    material = next(of_job(bpy.data.materials, job, PERSON), None)
    if material is None:
        material = marked(new_material(found.name, image), job, PERSON)
    if material.name not in found.data.materials:
        found.data.materials.clear()
        found.data.materials.append(material)
    return material


def new_material(name: str, image: Any) -> Any:
    """Make a material that shows a texture."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes = material.node_tree.nodes
    surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    surface.inputs["Roughness"].default_value = 0.7  # skin and cloth: neither gloss nor chalk
    texture = nodes.new("ShaderNodeTexImage")
    texture.location = surface.location.x - 320, surface.location.y
    texture.image = image
    material.node_tree.links.new(texture.outputs["Color"], surface.inputs["Base Color"])
    nodes.active = texture
    return material


def put_relief(material: Any, image: Any | None) -> None:
    """Let a material show a normal map, or none; what somebody has made of its nodes stays."""
    nodes, links = material.node_tree.nodes, material.node_tree.links
    if image is None:
        for name in (RELIEF_IMAGE, RELIEF_NODE):
            if name in nodes:
                nodes.remove(nodes[name])
        material.pop(RELIEF, None)
        return
    image.colorspace_settings.is_data = True  # directions, not colours
    if material.get(RELIEF):
        if RELIEF_IMAGE in nodes:
            nodes[RELIEF_IMAGE].image = image
        return
    material[RELIEF] = True
    surface = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
    if surface is None or surface.inputs["Normal"].is_linked:
        return  # the material is somebody's own by now
    texture, active = nodes.new("ShaderNodeTexImage"), nodes.active
    texture.name, texture.image = RELIEF_IMAGE, image
    texture.location = surface.location.x - 560, surface.location.y - 320
    relief = nodes.new("ShaderNodeNormalMap")  # tangent space, the active UV map
    relief.name, relief.location = RELIEF_NODE, (surface.location.x - 260, texture.location.y)
    links.new(texture.outputs["Color"], relief.inputs["Color"])
    links.new(relief.outputs["Normal"], surface.inputs["Normal"])
    nodes.active = active  # the one that is painted on


def relief_node(material: Any) -> Any | None:
    """Give the node that holds a material's normal map; None if it has none of ours."""
    tree = material.node_tree if material is not None else None
    return None if tree is None else tree.nodes.get(RELIEF_IMAGE)


def texture_node(material: Any) -> Any | None:
    """Give the node that holds a material's texture; None if it has none."""
    nodes = material.node_tree.nodes if material is not None and material.node_tree else ()
    images = (node for node in nodes if node.type == "TEX_IMAGE" and node.name != RELIEF_IMAGE)
    return next(images, None)
