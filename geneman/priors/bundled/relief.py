"""The relief of one side of a person: its depth from normals, from a depth map, or from both.

Maps are float64, H x W, row 0 at the top, seen by the reference camera. Depth is in scene units
along the viewing axis, larger = farther; normals are in the camera's frame and face it.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from geneman.camera import REFERENCE, pixel_grid
from geneman.priors.bundled.membranes import Map, Pixels, Slopes, blurred, integrate, resized


def array_of(tensor: Tensor) -> NDArray[np.float64]:
    """Give a tensor of any device as the float64 array that the sparse solves work on."""
    array: NDArray[np.float64] = tensor.detach().cpu().numpy().astype(np.float64)
    return array


def carried_out(image: Map, inside: Pixels) -> Map:
    """Give every outside pixel the value of the nearest inside one."""
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    carried: Map = image[tuple(nearest)]
    return carried


def enlarged(image: Map, inside: Pixels, size: int) -> Map:
    """Resize so that the outline mixes with nothing outside."""
    return resized(carried_out(image, inside), size)


def relief(
    inside: Pixels,
    bulge: Map,
    normal: NDArray[np.float64] | None = None,
    depth: Map | None = None,
) -> Map:
    """Give a side's depth: a coarse guess, corrected by what is known.

    Args:
        inside: The person's pixels, S x S.
        bulge: The guess, S x S, scene units; kept where nothing is known.
        normal: Normals to follow, any square size.
        depth: Depth up to scale and shift to follow, any square size.
    """
    size = inside.shape[0]
    if normal is None and depth is None:
        return bulge
    known = None if depth is None else resized(depth, size)
    if normal is None:
        assert known is not None  # by the case before
        return _aligned(known, bulge, inside)
    slopes = _log_slopes(_unit(resized(normal, size)))
    if known is None:
        logs = integrate(inside, slopes, np.log(np.maximum(bulge, 0.1)), pull=3e-4)
    else:
        scaled = _scaled_by_slopes(known, slopes, inside)
        slopes = _distrust_jumps(slopes, scaled, inside)
        logs = integrate(inside, slopes, scaled, pull=1e-3)
    side: Map = np.exp(logs)
    return side


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = vectors / np.maximum(length, 1e-6)
    return unit


def _log_slopes(normal: NDArray[np.float64]) -> Slopes:
    """Turn normals into the slopes of log depth between pixels, exact under perspective.

    A point is P = z r with r = (x / f, y / f, -1); n . dP/dx = 0 gives
    d(log z)/dx = -n_x / (f n . r), and likewise for y.
    """
    size = normal.shape[0]
    grid = pixel_grid(size).numpy().astype(np.float64)
    rays = np.concatenate([grid / REFERENCE.focal, -np.ones((size, size, 1))], axis=-1)
    facing = -(normal * rays).sum(axis=-1)
    # Below 0.12 (83 degrees) estimated normals say little and slopes explode.
    steady = np.maximum(facing, 0.12) * REFERENCE.focal
    step = 2.0 / size
    return Slopes(
        across=normal[..., 0] / steady * step,
        down=-normal[..., 1] / steady * step,
        trust=np.clip(facing, 0.0, 1.0) ** 2,
    )


def _scaled_by_slopes(depth: Map, slopes: Slopes, inside: Pixels) -> Map:
    """Turn depth up to scale and shift into log depth whose slopes agree with the normals'."""
    # The blur takes away the stairs of an 8-bit map.
    smooth = blurred(depth, 2.0)
    down, across = np.gradient(smooth, axis=0), np.gradient(smooth, axis=1)
    core = ndimage.binary_erosion(inside, iterations=6) & (slopes.trust > 0.25)  # noqa: PLR2004 (60 degrees)
    given = np.concatenate([across[core], down[core]])
    wanted = np.concatenate([slopes.across[core], slopes.down[core]])
    trust = np.tile(slopes.trust[core], 2)
    weight, scale = trust, np.float64(0.0)
    # Where depth jumps its slope says nothing of the surface's: Cauchy's reweighting drops it.
    for _ in range(12):
        strength = np.maximum((weight * given**2).sum(), 1e-12)
        scale = np.maximum((weight * given * wanted).sum() / strength, 0.0)
        excess = np.abs(wanted - scale * given)
        weight = trust / (1 + (excess / max(float(np.median(excess)), 1e-9)) ** 2)
    # Nothing of a person is farther off the middle than an outstretched arm.
    centred = np.clip(scale * (depth - np.median(depth[inside])), -0.2, 0.2)
    logs: Map = centred + np.log(REFERENCE.distance)
    return logs


def _distrust_jumps(slopes: Slopes, log_depth: Map, inside: Pixels) -> Slopes:
    """Let the sheet tear where the depth map jumps: an arm before the chest."""
    down, across = np.gradient(log_depth)
    excess = np.hypot(across - slopes.across, down - slopes.down)
    # A jump of 1.2 cm on a standing adult between neighbouring pixels halves the trust.
    tear = 0.0022 * 512 / inside.shape[0]
    trust = slopes.trust / (1 + (excess / tear) ** 4)
    return Slopes(slopes.across, slopes.down, trust)


def _aligned(depth: Map, bulge: Map, inside: Pixels) -> Map:
    """Scale and shift a depth map to the bulge's mean and spread."""
    spread = depth[inside].std()
    scale = bulge[inside].std() / spread if spread > 0 else 0.0
    return np.where(inside, bulge[inside].mean() + scale * (depth - depth[inside].mean()), 0.0)


def normals_of(depth: Map) -> Float[Tensor, "h w 3"]:
    """Differentiate a depth map into unit normals that face the camera."""
    z = torch.from_numpy(depth).float()
    grid = pixel_grid(depth.shape[0])
    points = torch.cat([grid * (z / REFERENCE.focal)[..., None], -z[..., None]], dim=-1)
    down, across = torch.gradient(points, dim=(0, 1))
    return torch.nn.functional.normalize(torch.linalg.cross(across, -down), dim=-1)
