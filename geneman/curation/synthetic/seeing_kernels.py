"""Pose and see people with Warp's kernels, on one core.

Many processes make samples side by side, so the kernels want neither tiles nor threads: each runs
through its triangles or pixels in order. `seeing_plain` says the same in torch alone.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneman.curation.synthetic.surfaces import Look, Surface, Textures
from geneman.kernels.launch import initialise

wp.set_module_options({"enable_backward": False})

FARTHEST = 1.0e9
"""Inverse depth that every surface is farther than: where the hidden side's search begins."""


@wp.kernel
@no_type_check
def _carry(
    vertices: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    joints: wp.array2d(dtype=wp.int32),
    weights: wp.array2d(dtype=wp.float32),
    turns: wp.array(dtype=wp.mat33),
    shifts: wp.array(dtype=wp.vec3),
    points: wp.array(dtype=wp.vec3),
    turned: wp.array(dtype=wp.vec3),
) -> None:
    """Blend the bones' maps and apply them to one vertex."""
    v = wp.tid()
    turn = wp.mat33()
    shift = wp.vec3()
    for k in range(joints.shape[1]):
        share = weights[v, k]
        if share != 0.0:
            turn += share * turns[joints[v, k]]
            shift += share * shifts[joints[v, k]]
    points[v] = turn * vertices[v] + shift
    turned[v] = wp.normalize(turn * normals[v])


@wp.kernel
@no_type_check
def _draw(
    screen: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    size: int,
    seen: wp.array2d(dtype=wp.int32),
    nearness: wp.array2d(dtype=wp.float32),
) -> None:
    """Keep a triangle where it is the nearest, and where it is the farthest."""
    face = wp.tid()
    p = screen[faces[face, 0]]
    q = screen[faces[face, 1]]
    r = screen[faces[face, 2]]
    area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
    if area == 0.0:
        return
    last = float(size - 1)
    left = int(wp.ceil(wp.max(wp.min(p[0], wp.min(q[0], r[0])), 0.0)))
    right = int(wp.floor(wp.min(wp.max(p[0], wp.max(q[0], r[0])), last)))
    top = int(wp.ceil(wp.max(wp.min(p[1], wp.min(q[1], r[1])), 0.0)))
    bottom = int(wp.floor(wp.min(wp.max(p[1], wp.max(q[1], r[1])), last)))
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            x = float(column)
            y = float(row)
            u = ((q[0] - x) * (r[1] - y) - (q[1] - y) * (r[0] - x)) / area
            v = ((r[0] - x) * (p[1] - y) - (r[1] - y) * (p[0] - x)) / area
            w = 1.0 - u - v
            if u >= 0.0 and v >= 0.0 and w >= 0.0:
                near = u * p[2] + v * q[2] + w * r[2]
                at = row * size + column
                if near > nearness[0, at]:
                    nearness[0, at] = near
                    seen[0, at] = face
                if near < nearness[1, at]:
                    nearness[1, at] = near
                    seen[1, at] = face


@wp.func
@no_type_check
def _texel(
    texels: wp.array3d(dtype=wp.uint8), linear: wp.array(dtype=wp.float32), row: int, column: int
) -> wp.vec3:
    return wp.vec3(
        linear[int(texels[row, column, 0])],
        linear[int(texels[row, column, 1])],
        linear[int(texels[row, column, 2])],
    )


@wp.kernel
@no_type_check
def _read(  # noqa: PLR0913, PLR0915, PLR0917 (a kernel takes each buffer by itself)
    pixels: wp.array(dtype=wp.int64),
    seen: wp.array(dtype=wp.int32),
    size: int,
    facing: float,
    screen: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    normals: wp.array(dtype=wp.vec3),
    uv: wp.array(dtype=wp.vec2),
    rest: wp.array(dtype=wp.vec3),
    texels: wp.array3d(dtype=wp.uint8),
    labels: wp.array2d(dtype=wp.uint8),
    linear: wp.array(dtype=wp.float32),
    shades: int,
    normal: wp.array(dtype=wp.vec3),
    depth: wp.array(dtype=wp.float32),
    albedo: wp.array(dtype=wp.vec3),
    label: wp.array(dtype=wp.int32),
    places: wp.array(dtype=wp.vec3),
) -> None:
    """Blend what the corners of the seen triangle carry, and read its texture."""
    index = wp.tid()
    at = int(pixels[index])
    face = seen[at]
    i = faces[face, 0]
    j = faces[face, 1]
    k = faces[face, 2]
    p = screen[i]
    q = screen[j]
    r = screen[k]
    x = float(at % size)
    y = float(at / size)
    area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
    u = ((q[0] - x) * (r[1] - y) - (q[1] - y) * (r[0] - x)) / area
    v = ((r[0] - x) * (p[1] - y) - (r[1] - y) * (p[0] - x)) / area
    w = 1.0 - u - v
    near = u * p[2] + v * q[2] + w * r[2]
    # Under perspective, what is linear on the triangle is linear over depth on the screen.
    u = u * p[2] / near
    v = v * q[2] / near
    w = w * r[2] / near
    n = wp.normalize(u * normals[i] + v * normals[j] + w * normals[k])
    # Hair and skirts are sheets: their inside, when it is seen, faces the viewer as well.
    if n[2] * facing < -0.2:  # noqa: PLR2004
        n = -n
    normal[index] = n
    depth[index] = 1.0 / near
    places[index] = u * rest[i] + v * rest[j] + w * rest[k]
    if uv[i][0] < 0.0:
        albedo[index] = wp.vec3(1.0, 1.0, 1.0)
        label[index] = shades + int(-uv[i][0] - 0.5)
        return
    t = u * uv[i] + v * uv[j] + w * uv[k]
    rows = texels.shape[0]
    columns = texels.shape[1]
    s = wp.clamp(t[0] * float(columns) - 0.5, 0.0, float(columns) - 1.001)
    d = wp.clamp(t[1] * float(rows) - 0.5, 0.0, float(rows) - 1.001)
    column = int(s)
    row = int(d)
    s -= float(column)
    d -= float(row)
    upper = wp.lerp(_texel(texels, linear, row, column), _texel(texels, linear, row, column + 1), s)
    lower = wp.lerp(
        _texel(texels, linear, row + 1, column), _texel(texels, linear, row + 1, column + 1), s
    )
    albedo[index] = wp.lerp(upper, lower, d)
    label[index] = int(labels[row + int(d + 0.5), column + int(s + 0.5)])


def _run(kernel: wp.Kernel, size: int, *inputs: Tensor | int | float) -> None:
    initialise()
    arguments = [
        # A bare descriptor takes a third of an array object's time; the tensors outlive the launch.
        wp.from_torch(value, dtype=declared.type.dtype, return_ctype=True)  # type: ignore[attr-defined]  # an array's
        if isinstance(value, Tensor)
        else value
        for value, declared in zip(inputs, kernel.adj.args, strict=True)
    ]
    wp.launch(kernel, dim=size, inputs=arguments, device="cpu")


def carried(
    surface: Surface, moves: Float[Tensor, "b 3 4"]
) -> tuple[Float[Tensor, "v 3"], Float[Tensor, "v 3"]]:
    """Blend the bones' maps at each vertex and apply them; see `seeing.posed`."""
    points = torch.empty_like(surface.vertices)
    turned = torch.empty_like(surface.normals)
    turns, shifts = moves[:, :, :3].contiguous(), moves[:, :, 3].contiguous()
    held = (surface.vertices, surface.normals, surface.joints, surface.weights)
    _run(_carry, len(points), *held, turns, shifts, points, turned)
    return points, turned


def drawn(screen: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], size: int) -> Int[Tensor, "2 q"]:
    """Give the nearest and the farthest triangle at each pixel, -1 where there is none.

    Args:
        screen: Column, row and inverse depth of each vertex; pixel centres have whole numbers.
        faces: Triangles.
        size: Pixels along a side.
    """
    seen = torch.full((2, size * size), -1, dtype=torch.int32)
    nearness = torch.zeros(2, size * size)
    nearness[1] = FARTHEST
    _run(_draw, len(faces), screen, faces, size, seen, nearness)
    return seen


def read(
    pixels: Int[Tensor, "p"],
    seen: Int[Tensor, "q"],
    facing: float,
    screen: Float[Tensor, "v 3"],
    normals: Float[Tensor, "v 3"],
    surface: Surface,
    textures: Textures,
) -> Look:
    """Give what the seen triangles show at some pixels.

    Args:
        pixels: Where.
        seen: The triangle at each pixel of the image.
        facing: 1 for the visible side, -1 for the hidden one.
        screen: As for `drawn`.
        normals: Camera frame.
        surface: Whose.
        textures: Its colours.
    """
    count, size = len(pixels), round(len(seen) ** 0.5)
    look = Look(
        pixels,
        normal=torch.empty(count, 3),
        depth=torch.empty(count),
        albedo=torch.empty(count, 3),
        label=torch.empty(count, dtype=torch.int32),
        places=torch.empty(count, 3),
    )
    shape = (screen, surface.faces, normals, surface.uv, surface.vertices)
    colours = (textures.texels, textures.label, textures.linear, textures.shades)
    out = (look.normal, look.depth, look.albedo, look.label, look.places)
    _run(_read, count, pixels, seen, size, facing, *shape, *colours, *out)
    return look
