"""How rough a mesh is, as losses with deterministic gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.kernels.scatter import gather, scatter_sum
from geneman.renderers.raster import Surface


def normal_consistency(seen: Surface) -> Float[Tensor, ""]:
    """Give the mean of 1 - cos between the normals at the two ends of each edge."""
    normals = gather(seen.normals, seen.mesh.faces)
    return 1 - (normals * normals.roll(1, dims=1)).sum(dim=-1).mean()


def uniform_laplacian(seen: Surface) -> Float[Tensor, ""]:
    """Give the mean distance of the vertices from the mean of their neighbours, in scene units.

    In a closed mesh each neighbour of a vertex is met twice, once in each of the two triangles
    on their edge, so the mean over triangles is the mean over neighbours.
    """
    vertices, faces = seen.mesh.vertices, seen.mesh.faces
    corners = gather(vertices, faces)
    others = (corners.roll(1, dims=1) + corners.roll(-1, dims=1)) / 2
    counted = torch.cat([others, torch.ones_like(others[..., :1])], dim=-1).reshape(-1, 4)
    total = scatter_sum(counted, faces.reshape(-1), len(vertices))
    mean = total[:, :3] / total[:, 3:].clamp(min=1.0)
    # The root is smooth at 0: the epsilon is a thousandth of the finest cell.
    return ((mean - vertices).square().sum(dim=-1) + 1e-12).sqrt().mean()
