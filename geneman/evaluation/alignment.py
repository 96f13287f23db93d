"""Bring a reconstruction to the truth: turned, scaled and moved, never bent.

N points. One photo leaves size and distance open, so views are compared after the scale and the
shift that fit best; the photo's camera says how the person is turned. Shapes in space are compared
after the whole similarity that fits best, found from there.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from geneman.camera import Orbit
from geneman.evaluation.metrics import surface_samples
from geneman.mesh import Mesh, TexturedMesh

SAMPLES = 8000
"""Points on either surface: a centimetre and a half apart on a body."""

ROUNDS, SETTLED = 60, 1e-6
"""Most rounds, and the change of the scale below which nothing moves any more."""


@dataclass(frozen=True)
class Similarity:
    """x -> scale turn x + shift."""

    scale: float
    turn: Float[Tensor, "3 3"]
    shift: Float[Tensor, "3"]

    def __call__(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Move points."""
        return self.scale * points @ self.turn.T + self.shift

    def moved(self, textured: TexturedMesh) -> TexturedMesh:
        """Move a mesh."""
        mesh = Mesh(self(textured.mesh.vertices), textured.mesh.faces)
        return replace(textured, mesh=mesh)


def best_placement(
    source: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"], turn: Float[Tensor, "3 3"]
) -> Similarity:
    """Give the scale and the shift with the least squared distances between pairs."""
    x, y = source.double() @ turn.double().T, target.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    scale = float((x * y).sum() / x.square().sum())
    return Similarity(scale, turn, (y_mean - scale * x_mean).float())


def best_similarity(source: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"]) -> Similarity:
    """Give the similarity with the least squared distances between pairs (Umeyama 1991)."""
    x, y = source.double(), target.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    u, values, vh = torch.linalg.svd(y.T @ x / len(x))
    signs = torch.ones(3, dtype=torch.float64)
    signs[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vh))  # never a mirror image
    turn = u @ torch.diag(signs) @ vh
    scale = float((values * signs).sum() / x.square().sum(dim=1).mean())
    shift = y_mean - scale * turn @ x_mean
    return Similarity(scale, turn.float(), shift.float())


def as_photographed(mesh: Mesh, taken: Orbit, truth: Mesh, camera: Orbit) -> Similarity:
    """Turn from the reconstruction's camera frame into the true one, and match the boxes there.

    Args:
        mesh: In scene units.
        taken: The photo's camera in the mesh's scene.
        truth: In metres.
        camera: That took the photo.
    """
    turn = camera.rotation() @ taken.rotation().T
    boxes = []
    for points, frame in ((mesh.vertices, taken), (truth.vertices, camera)):
        seen = frame.turn_to_camera(points)
        boxes.append((seen.amin(dim=0), seen.amax(dim=0)))
    (low, high), (true_low, true_high) = boxes
    scale = float((true_high - true_low)[:2].max() / (high - low)[:2].max())
    shift = camera.turn_to_world((true_low + true_high - scale * (low + high)) / 2)
    return Similarity(scale, turn, shift)


def aligned(
    mesh: Mesh,
    taken: Orbit,
    truth: Mesh,
    camera: Orbit,
    *,
    turning: bool,
    generator: torch.Generator,
) -> Similarity:
    """Give the similarity that brings a reconstruction to the truth.

    Pairs of nearest points in both directions are fitted again and again (Besl and McKay 1992):
    with one direction alone a shape would shrink into its nearest part.

    Args:
        mesh: In scene units.
        taken: The photo's camera in the mesh's scene.
        truth: In metres, world axes.
        camera: That took the photo.
        turning: Whether it may turn; else it stands as the camera says.
        generator: Chooses the points.
    """
    found = as_photographed(mesh, taken, truth, camera)
    points, _ = surface_samples(mesh, SAMPLES, generator)
    goals, _ = surface_samples(truth, SAMPLES, generator)
    tree = cKDTree(goals.numpy())
    for _ in range(ROUNDS):
        moved = found(points)
        there = tree.query(moved.numpy())[1]
        back = cKDTree(moved.numpy()).query(goals.numpy())[1]
        pairs = torch.cat([points, points[back]]), torch.cat([goals[there], goals])
        better = best_similarity(*pairs) if turning else best_placement(*pairs, found.turn)
        settled = abs(better.scale / found.scale - 1) < SETTLED
        found = better
        if settled:
            break
    return found
