"""How rough a mesh is, as losses with deterministic gradients."""

from jaxtyping import Float
from torch import Tensor

from geneman.kernels.smoothness import agreement, stand_off
from geneman.renderers.raster import Surface


def normal_consistency(seen: Surface) -> Float[Tensor, ""]:
    """Give the mean of 1 - cos between the normals at the two ends of each edge."""
    return 1 - agreement(seen.normals, seen.around).mean() / 3


def uniform_laplacian(seen: Surface) -> Float[Tensor, ""]:
    """Give the mean distance of the vertices from the mean of their neighbours, in scene units.

    The mesh is closed.
    """
    return stand_off(seen.mesh.vertices, seen.around).mean()
