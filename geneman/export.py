"""The finished person in other programs' formats, and in fewer triangles.

.glb (glTF's axes, textures inside), .obj (y up like glTF, with its .mtl and .png beside it) and
.ply (z up as here, one colour a vertex: the format has no agreed textures).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, grid_sample, normalize

from geneman.errors import OptionError
from geneman.fields.atlas import UvMap, decimate, unwrap
from geneman.fields.texels import Texels, fill_gaps, lay_out
from geneman.gltf import encode_image, replace_file, split_at_seams, to_gltf_axes, write_glb
from geneman.mesh import TexturedMesh, smooth_normals
from geneman.tangents import to_tangent_space

FORMATS = (".glb", ".obj", ".ply")
COARSEST = 6
"""Each level of detail has half the triangles of the one before: 1/64 at the last."""
SMALLEST_TEXTURE, GUTTER = 256, 4
NEIGHBOURS = 4
"""Old texels that are blended into a new one: as many as a bilinear look-up reads."""
TURN = 0.02
"""How far apart surfaces that face opposite ways count, as half a share of the height: a sleeve's
two sides lie closer together than that, and must not lend each other colours."""


def export(textured: TexturedMesh, path: Path, *, lod: int = 0) -> None:
    """Write the person in the format that the name ends in.

    Args:
        textured: In metres, world axes.
        path: Ends in .glb, .obj or .ply; existing files are replaced.
        lod: How often to halve the triangles; 0 keeps them all.

    Raises:
        OptionError: Another ending, or a level of detail outside 0 to 6.
    """
    check_export(path, lod)
    reduced = level_of_detail(textured, lod)
    match path.suffix.lower():
        case ".glb":
            write_glb(path, reduced, name=path.stem)
        case ".obj":
            _write_obj(path, reduced)
        case _:
            _write_ply(path, reduced)


def check_export(path: Path, lod: int) -> None:
    """Refuse, before any work, what `export` could not write.

    Raises:
        OptionError: The ending is unknown, or the level of detail is outside 0 to 6.
    """
    if path.suffix.lower() not in FORMATS:
        raise OptionError(
            "an exported file's name must end in .glb, .obj or .ply",
            value=path.name,
            remedy="change its ending",
        )
    if not 0 <= lod <= COARSEST:
        raise OptionError(
            f"the level of detail must lie between 0 (all triangles) and {COARSEST}",
            value=lod,
            remedy="each level halves the triangles",
        )


def level_of_detail(textured: TexturedMesh, lod: int) -> TexturedMesh:
    """Give the person with half the triangles and half the texture's side for each level.

    The reduced mesh is as closed as the full one and has charts of its own, painted with the
    colours and finer normals of the nearest old surface that faces the same way.
    """
    if lod == 0:
        return textured
    mesh = decimate(textured.mesh, len(textured.mesh.faces) >> lod)
    size = max(min(textured.albedo.shape[:2]) >> lod, SMALLEST_TEXTURE)
    atlas = unwrap(mesh, size=size, gutter=GUTTER)
    texels = lay_out(mesh, atlas, size)
    maps = [textured.albedo] if textured.normals is None else [textured.albedo, textured.normals]
    near = _near(textured, maps, texels, size).split(3, dim=1)
    albedo, *normals = (fill_gaps(texels.image(values), texels.inside()) for values in near)
    finer = normalize(normals[0], dim=-1) if normals else None
    return TexturedMesh(mesh, atlas.uv, atlas.faces, albedo, finer)


def _near(
    textured: TexturedMesh, maps: Sequence[Float[Tensor, "_ _ 3"]], texels: Texels, size: int
) -> Float[Tensor, "t c"]:
    """Blend the old texels of all maps nearest in place and direction to each new one."""
    pooled = [adaptive_avg_pool2d(image.movedim(-1, 0)[None], size)[0] for image in maps]
    old = lay_out(textured.mesh, UvMap(textured.uv, textured.uv_faces, 0), size)
    values = torch.cat(pooled).flatten(1).T[old.pixels.long()].cpu().numpy()
    heights = textured.mesh.vertices[:, 2]
    turn = TURN * float(heights.max() - heights.min())
    known, wanted = (
        torch.cat([place.points, turn * place.normals], dim=1).cpu().numpy()
        for place in (old, texels)
    )
    distance, index = cKDTree(known).query(wanted, k=NEIGHBOURS, workers=-1)
    # A texel that lies on an old one takes its values alone; the floor only avoids 0 / 0.
    weight = 1 / np.maximum(distance, 1e-9)
    blended = (values[index] * (weight / weight.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)
    return torch.from_numpy(blended).to(textured.albedo)


def _write_obj(path: Path, textured: TexturedMesh) -> None:
    """Write positions, uv and normals with indices of their own, so that seams stay closed."""
    material, picture = path.with_suffix(".mtl"), path.with_suffix(".png")
    replace_file(picture, encode_image(textured.albedo))
    text = f"newmtl Person\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n"
    normal_map = to_tangent_space(textured)
    if normal_map is not None:
        relief = path.with_name(f"{path.stem}_normal.png")
        replace_file(relief, encode_image(normal_map))
        # 'norm' is the PBR extension's word; Blender reads and writes normal maps as 'map_Bump'
        # (4.5 takes the picture for sRGB, and somebody must set its colour space to Non-Color).
        text += f"norm {relief.name}\nmap_Bump -bm 1 {relief.name}\n"
    replace_file(material, text.encode())
    mesh = textured.mesh
    blocks = [
        ("v", to_gltf_axes(mesh.vertices)),
        ("vt", textured.uv),
        ("vn", to_gltf_axes(smooth_normals(mesh))),
    ]
    lines = [f"mtllib {material.name}\no {path.stem}\nusemtl Person"]
    for name, rows in blocks:
        lines += [f"{name} " + " ".join(f"{x:.7g}" for x in row) for row in rows.tolist()]
    corners = torch.stack([mesh.faces.long(), textured.uv_faces.long()], dim=-1) + 1
    lines += [
        "f " + " ".join(f"{vertex}/{uv}/{vertex}" for vertex, uv in face)
        for face in corners.tolist()
    ]
    replace_file(path, ("\n".join(lines) + "\n").encode())


def _write_ply(path: Path, textured: TexturedMesh) -> None:
    """Write binary little-endian vertices with normal and colour; the surface stays closed."""
    mesh = textured.mesh
    fields = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    fields += [(name, "u1") for name in ("red", "green", "blue")]
    kinds = {"<f4": "float", "u1": "uchar"}
    vertices = np.empty(len(mesh.vertices), dtype=fields)
    values = torch.cat([mesh.vertices, smooth_normals(mesh)], dim=1).cpu().numpy()
    colours = (vertex_colours(textured) * 255 + 0.5).clamp(0, 255).cpu().numpy()
    for (name, _), column in zip(fields, [*values.T, *colours.T], strict=True):
        vertices[name] = column
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces.cpu().numpy()
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    text = "\n".join([*header, "end_header", ""]).encode()
    replace_file(path, text + vertices.tobytes() + faces.tobytes())


def vertex_colours(textured: TexturedMesh) -> Float[Tensor, "v 3"]:
    """Read the texture at each vertex, averaged over the charts that meet there; sRGB."""
    _, vertex, uv = split_at_seams(textured)
    at = textured.uv[uv]
    grid = torch.stack([2 * at[:, 0] - 1, 1 - 2 * at[:, 1]], dim=-1)[None, None]
    image = textured.albedo.movedim(-1, 0)[None]
    seen = grid_sample(image, grid, align_corners=False, padding_mode="border")[0, :, 0].T
    total = torch.zeros_like(textured.mesh.vertices).index_add(0, vertex, seen)
    count = torch.zeros_like(total[:, :1]).index_add(0, vertex, torch.ones_like(seen[:, :1]))
    return total / count.clamp(min=1)
