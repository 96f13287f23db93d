"""Normals of a mesh's vertices, and how smooth it is: each vertex gathers from its triangles.

V vertices, F triangles. Every operation is differentiable once, with hand-written adjoints that
gather too, so all have the same bits for any number of threads.
"""

from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from geneman.kernels.incidence import Incidence
from geneman.kernels.launch import launch

wp.set_module_options({"enable_backward": False})

SHORTEST = wp.constant(1.0e-12)
"""Normals shorter than this are divided by it, as torch's `normalize` does."""
ROUNDED = wp.constant(1.0e-12)
"""Added to squared distances: the root is smooth at 0. A thousandth of the finest cell, squared."""


@wp.kernel
@no_type_check
def _flat_normals(
    vertices: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    flat: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    face = begin + wp.tid()
    a = vertices[faces[face, 0]]
    flat[face] = wp.cross(vertices[faces[face, 1]] - a, vertices[faces[face, 2]] - a)


@wp.kernel
@no_type_check
def _smooth(
    flat: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    corners: wp.array(dtype=wp.int32),
    normals: wp.array(dtype=wp.vec3),
    lengths: wp.array(dtype=wp.float32),
    begin: int,
) -> None:
    vertex = begin + wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for place in range(starts[vertex], starts[vertex + 1]):
        total = total + flat[corners[place] / 3]
    length = wp.max(wp.length(total), SHORTEST)
    normals[vertex] = total / length
    lengths[vertex] = length


@wp.kernel
@no_type_check
def _smooth_backward(
    normals: wp.array(dtype=wp.vec3),
    lengths: wp.array(dtype=wp.float32),
    towards: wp.array(dtype=wp.vec3),
    totals: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    """Give the gradient at each vertex's sum of normals."""
    vertex = begin + wp.tid()
    normal, slope = normals[vertex], towards[vertex]
    # A length that was cut off does not change with the sum.
    along = wp.where(lengths[vertex] > SHORTEST, wp.dot(normal, slope), 0.0)
    totals[vertex] = (slope - along * normal) / lengths[vertex]


@wp.kernel
@no_type_check
def _flat_backward(
    totals: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    flat: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    """Give the gradient at each triangle's normal, which all three corners have summed."""
    face = begin + wp.tid()
    flat[face] = totals[faces[face, 0]] + totals[faces[face, 1]] + totals[faces[face, 2]]


@wp.kernel
@no_type_check
def _turn_backward(
    vertices: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    corners: wp.array(dtype=wp.int32),
    ring: wp.array2d(dtype=wp.int32),
    flat: wp.array(dtype=wp.vec3),
    out: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    """Move each vertex so that its triangles turn: g . (b - a) x (c - a) has g x (c - b) at a."""
    vertex = begin + wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for place in range(starts[vertex], starts[vertex + 1]):
        side = vertices[ring[place, 1]] - vertices[ring[place, 0]]
        total = total + wp.cross(flat[corners[place] / 3], side)
    out[vertex] = total


def _gathered(
    kernel: wp.Kernel, values: Tensor, around: Incidence, towards: Tensor
) -> Float[Tensor, "v 3"]:
    """Let each vertex gather a gradient from its triangles."""
    out = torch.empty_like(values)
    mesh = (values, around.starts, around.corners, around.ring)
    launch(kernel, len(out), (*mesh, towards.contiguous(), out), out.device)
    return out


class _SmoothNormals(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, around):  # type: ignore[no-untyped-def]
        faces, count, device = around.faces, len(vertices), vertices.device
        vertices = vertices.detach().contiguous()
        flat = vertices.new_empty(len(faces), 3)
        launch(_flat_normals, len(faces), (vertices, faces, flat), device)
        normals, lengths = torch.empty_like(vertices), vertices.new_empty(count)
        listed = (around.starts, around.corners)
        launch(_smooth, count, (flat, *listed, normals, lengths), device)
        ctx.save_for_backward(vertices, normals, lengths)
        ctx.around = around
        return normals

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, towards):  # type: ignore[no-untyped-def]
        vertices, normals, lengths = ctx.saved_tensors
        around, count, device = ctx.around, len(vertices), vertices.device
        totals = torch.empty_like(vertices)
        flat = vertices.new_empty(len(around.faces), 3)
        launch(_smooth_backward, count, (normals, lengths, towards.contiguous(), totals), device)
        launch(_flat_backward, len(flat), (totals, around.faces, flat), device)
        return _gathered(_turn_backward, vertices, around, flat), None


def smooth_normals(vertices: Float[Tensor, "v 3"], around: Incidence) -> Float[Tensor, "v 3"]:
    """Give area-weighted unit normals at the vertices; 0 where there is no triangle.

    Args:
        vertices: Places of a mesh's vertices.
        around: Its `incidence`.
    """
    normals: Tensor = _SmoothNormals.apply(vertices, around)  # type: ignore[no-untyped-call]
    return normals


@wp.kernel
@no_type_check
def _agree(
    normals: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    agreement: wp.array(dtype=wp.float32),
    begin: int,
) -> None:
    face = begin + wp.tid()
    a, b, c = normals[faces[face, 0]], normals[faces[face, 1]], normals[faces[face, 2]]
    agreement[face] = wp.dot(a, c) + wp.dot(b, a) + wp.dot(c, b)


@wp.kernel
@no_type_check
def _agree_backward(
    normals: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    corners: wp.array(dtype=wp.int32),
    ring: wp.array2d(dtype=wp.int32),
    towards: wp.array(dtype=wp.float32),
    out: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    vertex = begin + wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for place in range(starts[vertex], starts[vertex + 1]):
        others = normals[ring[place, 0]] + normals[ring[place, 1]]
        total = total + towards[corners[place] / 3] * others
    out[vertex] = total


class _Agreement(torch.autograd.Function):
    @staticmethod
    def forward(ctx, normals, around):  # type: ignore[no-untyped-def]
        normals, faces = normals.detach().contiguous(), around.faces
        agreement = normals.new_empty(len(faces))
        launch(_agree, len(faces), (normals, faces, agreement), normals.device)
        ctx.save_for_backward(normals)
        ctx.around = around
        return agreement

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, towards):  # type: ignore[no-untyped-def]
        (normals,) = ctx.saved_tensors
        return _gathered(_agree_backward, normals, ctx.around, towards), None


def agreement(normals: Float[Tensor, "v 3"], around: Incidence) -> Float[Tensor, "f"]:
    """Sum the products of the normals at both ends of each triangle's three edges.

    Args:
        normals: One for each vertex; gradients flow to them.
        around: The mesh's `incidence`.
    """
    products: Tensor = _Agreement.apply(normals, around)  # type: ignore[no-untyped-call]
    return products


@wp.kernel
@no_type_check
def _stand_off(
    vertices: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    ring: wp.array2d(dtype=wp.int32),
    distances: wp.array(dtype=wp.float32),
    slopes: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    vertex = begin + wp.tid()
    first, last = starts[vertex], starts[vertex + 1]
    total = wp.vec3(0.0, 0.0, 0.0)
    for place in range(first, last):
        total = total + 0.5 * (vertices[ring[place, 0]] + vertices[ring[place, 1]])
    away = total / float(wp.max(last - first, 1)) - vertices[vertex]
    distance = wp.sqrt(wp.dot(away, away) + ROUNDED)
    distances[vertex] = distance
    slopes[vertex] = away / distance


@wp.kernel
@no_type_check
def _pull(
    slopes: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    towards: wp.array(dtype=wp.float32),
    pulls: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    """Give what moves each of a vertex's neighbours, whose mean its distance is measured to."""
    vertex = begin + wp.tid()
    count = wp.max(starts[vertex + 1] - starts[vertex], 1)
    pulls[vertex] = (towards[vertex] / float(count)) * slopes[vertex]


@wp.kernel
@no_type_check
def _stand_off_backward(
    slopes: wp.array(dtype=wp.vec3),
    pulls: wp.array(dtype=wp.vec3),
    starts: wp.array(dtype=wp.int32),
    ring: wp.array2d(dtype=wp.int32),
    towards: wp.array(dtype=wp.float32),
    out: wp.array(dtype=wp.vec3),
    begin: int,
) -> None:
    """Each vertex pulls its neighbours' means, and is itself what its own mean is measured from."""
    vertex = begin + wp.tid()
    total = -towards[vertex] * slopes[vertex]
    for place in range(starts[vertex], starts[vertex + 1]):
        total = total + 0.5 * (pulls[ring[place, 0]] + pulls[ring[place, 1]])
    out[vertex] = total


class _StandOff(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, around):  # type: ignore[no-untyped-def]
        vertices, count = vertices.detach().contiguous(), len(vertices)
        distances, slopes = vertices.new_empty(count), torch.empty_like(vertices)
        given = (vertices, around.starts, around.ring)
        launch(_stand_off, count, (*given, distances, slopes), vertices.device)
        ctx.save_for_backward(slopes)
        ctx.around = around
        return distances

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, towards):  # type: ignore[no-untyped-def]
        (slopes,) = ctx.saved_tensors
        around, towards, count = ctx.around, towards.contiguous(), len(slopes)
        pulls, out = torch.empty_like(slopes), torch.empty_like(slopes)
        launch(_pull, count, (slopes, around.starts, towards, pulls), slopes.device)
        given = (slopes, pulls, around.starts, around.ring, towards, out)
        launch(_stand_off_backward, count, given, slopes.device)
        return out, None


def stand_off(vertices: Float[Tensor, "v 3"], around: Incidence) -> Float[Tensor, "v"]:
    """Give each vertex's distance from the mean of its triangles' other corners.

    In a closed mesh each neighbour of a vertex is met twice, once in each of the two triangles
    on their edge, so the mean over triangles is the mean over neighbours.

    Args:
        vertices: Places of a mesh's vertices; gradients flow to them.
        around: Its `incidence`.
    """
    distances: Tensor = _StandOff.apply(vertices, around)  # type: ignore[no-untyped-call]
    return distances
