"""The loss terms of stage 1, without their weights (METHOD section 3).

Each gives a scalar; R pixels with their targets are a `Side`.
"""

from torch import Tensor
from torch.nn import functional

from geneman.camera import Rays
from geneman.renderers.volume import Rendering
from geneman.stages.nerf_init.targets import Side


def axial(distance: Tensor, side: Side) -> Tensor:
    """Turn distances along the rays into depth along the camera's axis."""
    return (side.start + side.sign * distance) * side.cosine


def mean_inside(values: Tensor, side: Side) -> Tensor:
    """Mean over the person's pixels."""
    inside = side.inside.to(values.dtype)
    return (values * inside).sum() / inside.sum().clamp_min(1)


def aligned_error(depth: Tensor, side: Side) -> Tensor:
    """Squared error after the target's best scale and shift (METHOD section 3)."""
    target, ours = side.depth[side.inside], depth[side.inside].detach()
    if len(target) == 0:
        return depth.sum() * 0
    centred = target - target.mean()
    # The floor decides for flat targets, whose scale is free.
    scale = (centred * (ours - ours.mean())).sum() / centred.square().sum().clamp_min(1e-9)
    aligned = scale * (side.depth - target.mean()) + ours.mean()
    return mean_inside((depth - aligned).square(), side)


def decorrelation(depth: Tensor, side: Side) -> Tensor:
    """One minus Pearson's correlation over the person's pixels."""
    ours, target = depth[side.inside], side.depth[side.inside]
    return 1 - functional.cosine_similarity(ours - ours.mean(), target - target.mean(), dim=0)


def metric_error(depth: Tensor, side: Side) -> Tensor:
    """Mean squared error of the depth along the axis, in scene units."""
    return mean_inside((depth - side.depth).square(), side)


def normal_errors(seen: Rendering, side: Side) -> Tensor:
    """Squared error of each pixel's unit normal."""
    normal = functional.normalize(seen.normal, dim=-1, eps=1e-3)
    return (normal - side.normal).square().sum(dim=-1)


def normal_error(seen: Rendering, side: Side) -> Tensor:
    """Mean squared error of the unit normals."""
    return mean_inside(normal_errors(seen, side), side)


def sparsity(seen: Rendering) -> Tensor:
    """Mean opacity, smoothed at 0."""
    return (seen.opacity.square() + 0.01).sqrt().mean()


def half_transparent(seen: Rendering) -> Tensor:
    """Mean entropy of the opacity."""
    opacity = seen.opacity.clamp(1e-3, 1 - 1e-3)
    return functional.binary_cross_entropy(opacity, opacity)


def orientation(seen: Rendering, rays: Rays) -> Tensor:
    """Mean squared cosine of normals that face away from where they are seen from."""
    facing = (seen.point_normals * rays.directions[seen.point_rays]).sum(dim=-1)
    total = (seen.point_weights.detach() * facing.clamp_min(0).square()).sum()
    return total / (seen.opacity > 0).sum().clamp_min(1)


def roughness(normal: Tensor, patch: int) -> Tensor:
    """Mean squared difference of the normals of neighbours within squares of pixels."""
    squares = normal.reshape(-1, patch, patch, 3)
    down, across = squares.diff(dim=1), squares.diff(dim=2)
    return down.square().mean() + across.square().mean()
