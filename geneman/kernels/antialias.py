"""Soften silhouettes by how much of a pixel they cover, so that covering has a gradient.

Laine et al. 2020, section 3.4: between two neighbouring pixels that see different triangles,
the nearer surface ends at a silhouette edge; where that edge crosses the line between the two
centres says how far it covers the pixels. Their method looks only at edges of the triangle that
the nearer pixel sees. Ours walks from there over the mesh to the edge: the triangles of a
sculpted person are about as large as a pixel, and most silhouettes would be missed.

F triangles, S pixels along a side, P pairs of neighbouring pixels, C channels.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from geneman.kernels.accelerators.choice import accelerated
from geneman.kernels.incidence import neighbours
from geneman.kernels.launch import launch
from geneman.kernels.rasterise import Raster
from geneman.kernels.scatter import gather, scatter_sum

wp.set_module_options({"enable_backward": False})

WALK = 16
"""Triangles crossed between two pixel centres before a silhouette is given up."""


@dataclass(frozen=True)
class Silhouette:
    """Pairs of neighbouring pixels between whose centres a silhouette edge passes."""

    near: Int[Tensor, "p"]
    """Flat index of the pixel that sees the nearer surface, which ends at the edge."""
    far: Int[Tensor, "p"]
    edge: Int[Tensor, "p 2"]
    """The two vertices of the edge."""


@wp.func
@no_type_check
def _seen_from(place: wp.vec3, origin: wp.vec2, axis: int, sign: float) -> wp.vec2:
    """Pixels along the pair's direction and across it, seen from the near pixel's centre."""
    right = place[0] - origin[0]
    down = place[1] - origin[1]
    if axis == 0:
        return wp.vec2(right * sign, down)
    return wp.vec2(down * sign, right)


@wp.func
@no_type_check
def _side(a: wp.vec2, b: wp.vec2, p: wp.vec2) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


@wp.func
@no_type_check
def _may_end(
    places: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    beyond: int,
    a: wp.vec3,
    right: float,
    down: float,
    tip: wp.vec3,
) -> bool:
    """Say unless both triangles lie clearly on different sides of their edge."""
    if beyond < 0:
        return True
    there = places[faces[beyond / 3, beyond % 3]]
    own_x, own_y = tip[0] - a[0], tip[1] - a[1]
    far_x, far_y = there[0] - a[0], there[1] - a[1]
    own = right * own_y - down * own_x
    other = right * far_y - down * far_x
    # The walk sees places from a pixel's centre, at most a triangle and a pixel away: its areas
    # differ from these by a few times 1e-7 of such lengths' products.
    length = 1.0 + wp.abs(right) + wp.abs(down)
    tiny = 2.0e-6 * length
    clear_own = wp.abs(own) > tiny * (length + wp.abs(own_x) + wp.abs(own_y))
    clear_other = wp.abs(other) > tiny * (length + wp.abs(far_x) + wp.abs(far_y))
    return not (clear_own and clear_other and own * other < 0.0)


@wp.func
@no_type_check
def _last_before(value: float, size: int) -> int:
    """Give the last pixel whose centre lies before a place; from -1 to the picture's end."""
    return wp.int32(wp.clamp(wp.floor(value - 0.5), -1.0, float(size)))


@wp.func
@no_type_check
def _mark_line(
    a: wp.vec3,
    b: wp.vec3,
    axis: int,
    line: int,
    slack: float,
    size: int,
    marks: wp.array(dtype=wp.uint8),
):
    """Mark the pairs of a row or column of pixels that an edge passes between."""
    share = (float(line) + 0.5 - a[1 - axis]) / (b[1 - axis] - a[1 - axis])
    # An edge of nearly no length is as good as a point.
    share = wp.clamp(wp.where(wp.isfinite(share), share, 0.5), 0.0, 1.0)
    at = a[axis] + share * (b[axis] - a[axis])
    for place in range(_last_before(at - slack, size), _last_before(at + slack, size) + 1):
        if place >= 0 and place < size - 1:
            near = wp.where(axis == 0, line * size + place, place * size + line)
            far = wp.where(axis == 0, near + 1, near + size)
            marks[4 * near + axis] = wp.uint8(1)
            marks[4 * far + 2 + axis] = wp.uint8(1)


@wp.kernel
@no_type_check
def _mark(
    places: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    across: wp.array2d(dtype=wp.int32),
    size: int,
    marks: wp.array(dtype=wp.uint8),
    begin: int,
) -> None:
    """Mark the pairs of pixels between which an edge that may be a silhouette passes.

    Whatever the walk could end at is marked; what else is marked costs no more than a walk. Two
    threads may mark the same pair, with the same.
    """
    face = begin + wp.tid()
    slack = 0.01  # pixels: far more than the rounding of a crossing, less than costs anything
    for c in range(3):
        beyond = across[face, c]
        tip = places[faces[face, c]]
        a = places[faces[face, (c + 1) % 3]]
        b = places[faces[face, (c + 2) % 3]]
        # Of both triangles at an edge one is enough; nothing is found behind the camera.
        if beyond / 3 <= face and a[2] > 0.0 and b[2] > 0.0 and tip[2] > 0.0:
            right, down = b[0] - a[0], b[1] - a[1]
            for axis in range(2):
                low = wp.min(a[1 - axis], b[1 - axis]) - slack
                high = wp.max(a[1 - axis], b[1 - axis]) + slack
                first = _last_before(low, size) + 1
                last = wp.min(_last_before(high, size), size - 1)
                steep = wp.abs(down) - wp.abs(right)
                if axis == 1:
                    steep = -steep
                if (
                    first <= last
                    and steep >= -slack
                    and _may_end(places, faces, beyond, a, right, down, tip)
                ):
                    for line in range(first, last + 1):
                        _mark_line(a, b, axis, line, slack, size, marks)


@wp.kernel
@no_type_check
def _find(  # noqa: C901, PLR0911, PLR0912, PLR0915 (one walk; each buffer by itself)
    places: wp.array(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    across: wp.array2d(dtype=wp.int32),
    triangle: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float32),
    pixels: wp.array(dtype=wp.int64),
    marks: wp.array(dtype=wp.uint8),
    size: int,
    steps: int,
    edges: wp.array2d(dtype=wp.int32),
    begin: int,
) -> None:
    """Walk from each covered pixel, if it is the nearer one, to its neighbours' silhouettes."""
    index = begin + wp.tid()
    near = int(pixels[index / 4])
    if marks[4 * near + index % 4] == wp.uint8(0):
        return
    axis = index % 2
    ahead = (index / 2) % 2 == 0
    place = near % size
    step = 1
    if axis == 1:
        place = near / size
        step = size
    if (ahead and place == size - 1) or (not ahead and place == 0):
        return
    far = wp.where(ahead, near + step, near - step)
    if triangle[near] == triangle[far]:
        return
    # Of two as near, the first of the pair counts as the nearer one.
    if triangle[far] >= 0 and (
        depth[far] < depth[near] or (not ahead and depth[far] == depth[near])
    ):
        return
    sign = wp.where(ahead, 1.0, -1.0)
    origin = wp.vec2(float(near % size) + 0.5, float(near / size) + 0.5)
    face = triangle[near]
    entry = wp.int32(-1)
    for _ in range(steps):
        p = places[faces[face, 0]]
        q = places[faces[face, 1]]
        r = places[faces[face, 2]]
        if p[2] <= 0.0 or q[2] <= 0.0 or r[2] <= 0.0:
            return
        corners = wp.matrix_from_rows(
            _seen_from(p, origin, axis, sign),
            _seen_from(q, origin, axis, sign),
            _seen_from(r, origin, axis, sign),
        )
        leave = wp.int32(-1)
        reach = wp.float32(-1.0e30)
        for c in range(3):
            a = corners[(c + 1) % 3]
            b = corners[(c + 2) % 3]
            if c != entry and (a[1] >= 0.0) != (b[1] >= 0.0):
                crossing = a[0] - (b[0] - a[0]) * a[1] / (b[1] - a[1])
                if crossing > reach:
                    reach = crossing
                    leave = c
        if leave < 0 or reach > 1.0:
            return
        a = corners[(leave + 1) % 3]
        b = corners[(leave + 2) % 3]
        beyond = across[face, leave]
        ends = beyond < 0
        if beyond >= 0:
            tip = places[faces[beyond / 3, beyond % 3]]
            if tip[2] <= 0.0:
                return
            there = _side(a, b, _seen_from(tip, origin, axis, sign))
            ends = there * _side(a, b, corners[leave]) >= 0.0
        if ends:
            # An edge that runs more along the pair than across it is the other axis' affair.
            if wp.abs(b[1] - a[1]) >= wp.abs(b[0] - a[0]):
                edges[index, 0] = faces[face, (leave + 1) % 3]
                edges[index, 1] = faces[face, (leave + 2) % 3]
            return
        face = beyond / 3
        entry = beyond % 3


def silhouette(
    raster: Raster,
    clip: Float[Tensor, "v 4"],
    faces: Int[Tensor, "f 3"],
    across: Int[Tensor, "f 3"] | None = None,
) -> Silhouette:
    """Find where silhouettes pass between the centres of neighbouring pixels.

    Args:
        raster: What was seen of `clip` and `faces`.
        clip: Homogeneous positions; not differentiated here.
        faces: Corners of the triangles.
        across: Their `neighbours`, if known.
    """
    size, faces = raster.size, faces.to(torch.int32).contiguous()
    edges = torch.full((4 * len(raster.pixels), 2), -1, dtype=torch.int32, device=clip.device)
    seen = (raster.triangle.reshape(-1), raster.depth.reshape(-1), raster.pixels)
    across = neighbours(faces) if across is None else across
    mesh = (_places(clip.detach(), size), faces, across)
    marks = torch.zeros(4 * size * size, dtype=torch.uint8, device=clip.device)
    launch(_mark, len(faces), (*mesh, size, marks), clip.device)
    launch(_find, len(edges), (*mesh, *seen, marks, size, WALK, edges), clip.device)
    pairs = (edges[:, 0] >= 0).nonzero()[:, 0]
    near = raster.pixels[pairs // 4]
    steps = torch.tensor([1, size, -1, -size], device=clip.device)
    return Silhouette(near, near + steps[pairs % 4], edges[pairs].long())


def _places(clip: Tensor, size: int) -> Tensor:
    """Give column and row in pixels, once for each vertex, and w (V x 3)."""
    x, y, w = clip[:, 0], clip[:, 1], clip[:, 3]
    half = 0.5 * size
    return torch.stack([(x / w + 1.0) * half, (1.0 - y / w) * half, w], dim=1)


def _reach(found: Silhouette, clip: Tensor, size: int) -> Tensor:
    """Say how far the nearer surface reaches from its pixel's centre, 1 at the other centre."""
    ends = gather(clip, found.edge)
    on_screen = ends[..., :2] / ends[..., 3:] * clip.new_tensor([size / 2, -size / 2])
    row, column = found.near // size, found.near % size
    centre = torch.stack([column, row], dim=1) + 0.5 - size / 2
    offset = on_screen - centre[:, None].to(clip)
    step = found.far - found.near
    vertical = (step.abs() == size)[:, None]
    along = torch.where(vertical, offset[..., 1], offset[..., 0]) * step.sign()[:, None]
    aside = torch.where(vertical, offset[..., 0], offset[..., 1])
    share = aside[:, 0] / (aside[:, 0] - aside[:, 1])
    return (along[:, 0] + share * (along[:, 1] - along[:, 0])).clamp(0.0, 1.0)


@accelerated
def antialias(
    image: Float[Tensor, "s s c"],
    raster: Raster,
    clip: Float[Tensor, "v 4"],
    faces: Int[Tensor, "f 3"],
    across: Int[Tensor, "f 3"] | None = None,
) -> Float[Tensor, "s s c"]:
    """Blend pixels across silhouettes by the share that the nearer surface covers.

    Gradients flow to the image and, through the shares, to the x, y and w of `clip`.

    Args:
        image: One value for each pixel, as if its centre stood for all of it.
        raster: What was seen of `clip` and `faces`.
        clip: Homogeneous positions of the vertices.
        faces: Corners of the triangles.
        across: Their `neighbours`, if known.
    """
    found = silhouette(raster, clip, faces, across)
    reach = _reach(found, clip, raster.size)
    spills = reach > 0.5  # noqa: PLR2004 (the border between two pixels)
    target = torch.where(spills, found.far, found.near)
    source = torch.where(spills, found.near, found.far)
    colours = image.reshape(-1, image.shape[2])
    change = (reach - 0.5).abs()[:, None] * (gather(colours, source) - gather(colours, target))
    return image + scatter_sum(change, target, len(colours)).reshape(image.shape)
