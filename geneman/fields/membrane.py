"""Spread values over a surface as a membrane that is pinned where they are known.

Values known on one part of a mesh run smoothly into the rest and fade to zero far away
(Pérez et al. 2003, "Poisson image editing", on a graph and with a screening term).
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu
from torch import Tensor

from geneman.mesh import Mesh


def spread(
    values: Float[Tensor, "v c"],
    confidence: Float[Tensor, "v"],
    mesh: Mesh,
    *,
    reach: float,
) -> Float[Tensor, "v c"]:
    """Solve for the smoothest values that keep the confident ones and fade from there.

    Minimises, over x: sum of confidence * area * (x - value)^2, pulled strongly, plus the squared
    differences along the edges, plus a pull to zero that wins at a distance of `reach`.

    Args:
        values: Known values; rows without confidence are ignored.
        confidence: How well each row is known, from 0.
        mesh: Closed surface.
        reach: Distance in scene units after which an unsupported value has fallen to a third.
    """
    faces = mesh.faces.long().cpu().numpy()
    count = len(mesh.vertices)
    points = mesh.vertices.detach().cpu().double().numpy()
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = coo_array((np.ones(len(starts)), (starts, ends)), shape=(count, count)).tocsr()
    edges.data[:] = 1.0  # a pinched edge counts once
    degree = np.asarray(edges.sum(axis=1)).ravel()
    # On a graph with edges of length h, x'' is degree-normalised differences times 4 / h^2.
    lengths = np.linalg.norm(points[starts] - points[ends], axis=1)
    squared = np.bincount(starts, lengths**2, count) / np.bincount(starts, minlength=count).clip(1)
    fade = degree * squared / (4 * reach**2) + 1e-12
    pull = confidence.detach().cpu().double().numpy() * degree.clip(1)
    system = diags_array(degree + fade + pull) - edges
    known = pull[:, None] * values.detach().cpu().double().numpy()
    solved = splu(system.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return torch.from_numpy(solved.solve(known)).to(values)
