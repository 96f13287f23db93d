"""Triangles to pixels and back: which triangle each pixel sees, and how that moves with it.

V vertices, F triangles, S pixels along a side, P covered pixels. Clip coordinates are OpenGL's
(x right, y up, in front of the camera where w > 0); images have row 0 at the top. A pixel sees
the triangle with the smallest z / w at its centre; both sides of a triangle are seen.

Coverage is found with homogeneous edge functions (Olano and Greer 1997), which need no clipping:
a triangle that reaches behind the camera is right wherever it is in front. The parts keep the
contract of Laine et al. 2020, "Modular primitives for high-performance differentiable rendering".
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.kernels.accelerators.choice import accelerated
from geneman.kernels.launch import GRAIN, launch
from geneman.kernels.rasterise_kernels import (
    bound,
    cover,
    cover_backward,
    list_tiles,
    place,
    tally,
)
from geneman.kernels.scatter import gather, scatter_sum

TILE = {"cpu": 32, "cuda": 16}
"""Pixels along the side of a tile, for which the triangles are listed."""
BLOCK = {"cpu": 32, "cuda": 1}
"""Pixels along the side of what one thread owns: a divisor of the tile."""
SHARES = 32
"""Shares of the triangles that are listed one beside the other on the CPU."""
SPREAD = 7919
"""A prime: steps of so many tiles come to each once, as long as their number is no multiple."""


@dataclass(frozen=True)
class Raster:
    """What a camera sees of a mesh, pixel by pixel."""

    triangle: Int[Tensor, "s s"]
    """Index of the seen triangle, -1 where there is none."""
    barycentric: Float[Tensor, "s s 2"]
    """Perspective-correct weights of its first two corners; the third has what is left to 1."""
    depth: Float[Tensor, "s s"]
    """z / w in [-1, 1]; 1 where there is no triangle. Not differentiable."""
    pixels: Int[Tensor, "p"]
    """Flat indices of the covered pixels, ascending."""

    @property
    def size(self) -> int:
        """Pixels along a side."""
        return self.triangle.shape[0]


def _draw(clip: Tensor, faces: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """List the triangles of each tile, then draw each tile by itself."""
    device, count = clip.device, faces.shape[0]
    tile, block = TILE[device.type], BLOCK[device.type]
    tiles, blocks = -(-size // tile), -(-size // block)
    places = clip.new_empty(len(clip), 3)
    launch(place, len(clip), (clip, size, places), device)
    bounds = torch.empty(count, 4, dtype=torch.int32, device=device)
    counts = torch.empty(count, dtype=torch.int64, device=device)
    launch(bound, count, (places, faces, size, tile, bounds, counts), device)
    by_tile = _listed if device.type == "cpu" else _sorted
    listed, starts = by_tile(bounds, counts, tile, tiles)
    triangle = torch.full((size, size), -1, dtype=torch.int32, device=device)
    barycentric = torch.zeros(size, size, 2, device=device)
    # A hair above 1, so that a surface on the far plane itself is still seen.
    depth = torch.full((size, size), 1.0 + 1e-6, device=device)
    drawn = (triangle, barycentric, depth)
    seen = (clip, faces, bounds, listed, starts, size, tile, block)
    spread, grain = (SPREAD, 1) if block > 1 else (1, 2048)
    launch(cover, blocks * blocks, (*seen, spread, *drawn), device, grain=grain)
    return triangle, barycentric, depth.clamp_(max=1.0)


def _listed(bounds: Tensor, counts: Tensor, tile: int, tiles: int) -> tuple[Tensor, Tensor]:
    """List each tile's triangles, ascending, and where its list starts: by counting twice."""
    shares = min(SHARES, -(-len(counts) // GRAIN)) or 1
    share = -(-len(counts) // shares)
    tallies = torch.zeros(shares, tiles * tiles, dtype=torch.int32)
    given = (bounds, counts, share, tile, tiles, tallies)
    launch(tally, shares, (*given, torch.empty(0, dtype=torch.int32)), bounds.device, grain=1)
    ends = tallies.T.reshape(-1).cumsum(0)
    starts = torch.nn.functional.pad(ends[shares - 1 :: shares], (1, 0))
    begins = (ends.reshape(-1, shares).T - tallies).to(torch.int32)
    listed = torch.empty(int(starts[-1]), dtype=torch.int32)
    if len(listed) > 0:
        launch(tally, shares, (*given[:5], begins, listed), bounds.device, grain=1)
    return listed, starts


def _sorted(bounds: Tensor, counts: Tensor, tile: int, tiles: int) -> tuple[Tensor, Tensor]:
    """Give the same by sorting: for devices that have more threads than shares."""
    ends, device = counts.cumsum(0), counts.device
    keys = torch.empty(int(ends[-1]) if len(ends) else 0, dtype=torch.int64, device=device)
    launch(list_tiles, len(counts), (bounds, counts, ends, tile, tiles, keys), device)
    keys = keys.sort().values
    starts = torch.searchsorted(keys, torch.arange(tiles * tiles + 1, device=device) << 32)
    return (keys & 0xFFFFFFFF).to(torch.int32), starts


class _Rasterise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, clip, faces, size):  # type: ignore[no-untyped-def]
        triangle, barycentric, depth = _draw(clip.detach().contiguous(), faces, size)
        pixels = (triangle.reshape(-1) >= 0).nonzero()[:, 0]
        ctx.save_for_backward(clip, faces, triangle, pixels)
        ctx.mark_non_differentiable(triangle, depth, pixels)
        ctx.set_materialize_grads(False)
        return triangle, barycentric, depth, pixels

    @staticmethod
    def backward(ctx, _triangle, towards, _depth, _pixels):  # type: ignore[no-untyped-def]
        if towards is None:
            return None, None, None
        clip, faces, triangle, pixels = ctx.saved_tensors
        size, count = triangle.shape[0], pixels.shape[0]
        out = clip.new_zeros(count, 3, 4)
        towards = towards.reshape(-1, 2).contiguous()
        seen = (clip.contiguous(), faces, triangle.reshape(-1), pixels, size, towards, out)
        launch(cover_backward, count, seen, clip.device)
        corners = faces[triangle.reshape(-1)[pixels].long()]
        return scatter_sum(out.reshape(-1, 4), corners.reshape(-1), clip.shape[0]), None, None


@accelerated
def rasterise(clip: Float[Tensor, "v 4"], faces: Int[Tensor, "f 3"], size: int) -> Raster:
    """Find the nearest triangle at each pixel's centre.

    Args:
        clip: Homogeneous positions (`Orbit.clip_coordinates`); the barycentrics carry gradients
            to their x, y and w.
        faces: Corners of the triangles; none at all is fine. Degenerate triangles, those behind
            the camera and those that hold a value that is not finite cover nothing.
        size: Pixels along a side.
    """
    faces = faces.to(torch.int32).contiguous()
    triangle, barycentric, depth, pixels = _Rasterise.apply(  # type: ignore[no-untyped-call]
        clip, faces, size
    )
    return Raster(triangle, barycentric, depth, pixels)


def corner_weights(raster: Raster) -> Float[Tensor, "p 3"]:
    """Give the weights of all three corners at the covered pixels."""
    first_two = raster.barycentric.reshape(-1, 2)[raster.pixels]
    return torch.cat([first_two, 1 - first_two.sum(dim=1, keepdim=True)], dim=1)


@accelerated
def interpolate(
    attributes: Float[Tensor, "v c"], faces: Int[Tensor, "f 3"], raster: Raster
) -> Float[Tensor, "s s c"]:
    """Blend what the corners carry; 0 where there is no triangle.

    Gradients flow to the attributes and to the raster's barycentrics.

    Args:
        attributes: One row for each index that `faces` names.
        faces: Corners as `raster` numbers the triangles; not necessarily the faces that were
            rasterised (`uv_faces` for texture coordinates).
        raster: Where each pixel looks.
    """
    size = raster.size
    seen = raster.triangle.reshape(-1)[raster.pixels].long()
    corners = gather(attributes, faces[seen])
    blended = (corner_weights(raster)[:, :, None] * corners).sum(dim=1)
    image = blended.new_zeros(size * size, attributes.shape[1])
    return image.index_copy(0, raster.pixels, blended).reshape(size, size, -1)
