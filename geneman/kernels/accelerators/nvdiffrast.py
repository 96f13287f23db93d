"""nvdiffrast (NVIDIA Source Code License, non-commercial): pixels. Its interface as of 0.4.0.

V vertices, F triangles, S pixels along a side, C channels, N samples.

Its conventions beside ours: a batch axis in front; row 0 of images and textures at the bottom,
ours at the top; a pixel is (u, v, z / w, triangle + 1) in four floats, zeros where it sees
nothing. Clip coordinates, centres of pixels, the order of barycentrics and the direction of
texture coordinates are the same. It rounds vertices to 1/16 of a pixel before it decides what
they cover, and adds gradients up in any order: two runs agree to rounding, not to the bit.
"""

import functools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.errors import OptionError
from geneman.kernels.rasterise import Raster
from geneman.kernels.texture import Footprints

MOST_TRIANGLES = 1 << 24
"""Up to here a float32 holds a triangle's number plus 1 as it is."""


def rasterise(clip: Float[Tensor, "v 4"], faces: Int[Tensor, "f 3"], size: int) -> Raster:
    """Find the nearest triangle at each pixel's centre: see `kernels.rasterise.rasterise`.

    Args:
        clip: Homogeneous positions; the barycentrics carry gradients to their x, y and w.
        faces: Corners of the triangles; those that hold a value that is not finite cover nothing.
        size: Pixels along a side.

    Raises:
        OptionError: There are more triangles than float32 can number.
    """
    if len(faces) > MOST_TRIANGLES:
        raise OptionError(
            f"nvdiffrast needs at most {MOST_TRIANGLES} triangles",
            value=len(faces),
            remedy="set GENEMAN_ACCELERATORS=none",
        )
    if len(faces) == 0:
        return _nothing(size, clip.device)
    # All three corners in one place: such a triangle covers nothing.
    broken = ~torch.isfinite(clip.detach()).all(dim=1)[faces.long()].all(dim=1)
    corners = torch.where(broken[:, None], faces[:, :1], faces)
    positions = clip.nan_to_num(0.0, 0.0, 0.0)
    context = _context(clip.device)
    resolution = (size, size)
    seen, _ = _package().rasterize(
        context, _batch(positions), _corners(corners), resolution, grad_db=False
    )
    seen = seen[0].flip(0)
    triangle = seen[..., 3].detach().to(torch.int32) - 1
    covered = triangle >= 0
    depth = torch.where(covered, seen[..., 2].detach(), 1.0)
    return Raster(triangle, seen[..., :2], depth, covered.flatten().nonzero()[:, 0])


def interpolate(
    attributes: Float[Tensor, "v c"], faces: Int[Tensor, "f 3"], raster: Raster
) -> Float[Tensor, "s s c"]:
    """Blend what the corners carry: see `kernels.rasterise.interpolate`.

    Args:
        attributes: One row for each index that `faces` names.
        faces: Corners as `raster` numbers the triangles.
        raster: Where each pixel looks, found by whomever.
    """
    if len(faces) == 0:
        return attributes.new_zeros(raster.size, raster.size, attributes.shape[1])
    image, _ = _package().interpolate(_batch(attributes), _pixels(raster), _corners(faces))
    blended: Tensor = image[0].flip(0)
    return blended


def antialias(
    image: Float[Tensor, "s s c"],
    raster: Raster,
    clip: Float[Tensor, "v 4"],
    faces: Int[Tensor, "f 3"],
    across: Int[Tensor, "f 3"] | None = None,
) -> Float[Tensor, "s s c"]:
    """Blend pixels across silhouettes: see `kernels.antialias.antialias`.

    Only edges of the triangle that the nearer pixel sees count: where triangles are as small as
    pixels, most silhouettes are missed.

    Args:
        image: One value for each pixel.
        raster: What was seen of `clip` and `faces`.
        clip: Homogeneous positions of the vertices.
        faces: Corners of the triangles.
        across: Not needed: nvdiffrast finds neighbours by itself.
    """
    if len(faces) == 0:
        return image
    pixels = _pixels(raster).detach()
    soft = _package().antialias(_batch(image.flip(0)), pixels, _batch(clip), _corners(faces))
    blended: Tensor = soft[0].flip(0)
    return blended


def read_texture(texture: Float[Tensor, "s s c"], prints: Footprints) -> Float[Tensor, "n c"]:
    """Read a square texture at the samples of `prints`: see `kernels.texture.read_texture`.

    Raises:
        ValueError: The footprints belong to a texture of another size.
    """
    if texture.shape[0] != prints.size:
        raise ValueError(f"Footprints of size {prints.size} cannot read {texture.shape[0]} texels.")
    if len(prints.level) == 0:
        return texture.new_zeros(0, texture.shape[2])
    # The samples are one row of pixels; without derivatives of uv, the bias is the level.
    values: Tensor = _package().texture(
        _batch(texture.flip(0)),
        prints.uv[None, None].contiguous(),
        mip_level_bias=prints.level[None, None].contiguous(),
        filter_mode="linear-mipmap-linear",
        boundary_mode="clamp",
        max_mip_level=prints.levels - 1,
    )
    return values[0, 0]


def _package() -> Any:
    import nvdiffrast.torch

    return nvdiffrast.torch


@functools.cache
def _context(device: torch.device) -> Any:
    """Make the buffers that nvdiffrast draws with, once a device: they grow as needed."""
    return _package().RasterizeCudaContext(device)


def _batch(values: Tensor) -> Tensor:
    """Put a batch of one in front."""
    return values[None].contiguous()


def _corners(faces: Tensor) -> Tensor:
    return faces.to(torch.int32).contiguous()


def _pixels(raster: Raster) -> Tensor:
    """Give a raster in nvdiffrast's form (1 S S 4); gradients flow to the barycentrics."""
    found = torch.stack([raster.depth, (raster.triangle + 1).to(raster.depth)], dim=-1)
    return _batch(torch.cat([raster.barycentric, found], dim=-1).flip(0))


def _nothing(size: int, device: torch.device) -> Raster:
    """Give what is seen where there are no triangles."""
    return Raster(
        torch.full((size, size), -1, dtype=torch.int32, device=device),
        torch.zeros(size, size, 2, device=device),
        torch.ones(size, size, device=device),
        torch.zeros(0, dtype=torch.int64, device=device),
    )
