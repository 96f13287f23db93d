"""Where a mesh of any size and place must stand for the photo's camera to see it as in the photo.

The mesh keeps its shape and direction (z up, facing -y); only one size and a shift are found. The
first guess brings the boxes of the two outlines together, the search then makes the outlines
overlap as far as they do.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.camera import pixel_grid
from geneman.fields.atlas import decimate
from geneman.mesh import Mesh
from geneman.renderers.textured import look
from geneman.view import ReferenceView

SIZE = 128
"""Side in pixels at which outlines are compared: half a percent of the person."""
FACES = 20_000
"""Enough for an outline at that size."""
FIRST_STEP, LAST_STEP = 0.08, 0.002
"""Of the search: as shares of the size, and of half the frame's side."""


@dataclass(frozen=True)
class _Pose:
    scale: float
    x: float
    z: float

    def moved(self, points: Float[Tensor, "v 3"]) -> Float[Tensor, "v 3"]:
        return points * self.scale + points.new_tensor([self.x, 0.0, self.z])

    def around(self, step: float, reach: float) -> list["_Pose"]:
        """Give the neighbours: larger, smaller, and moved either way."""
        larger = [replace(self, scale=self.scale * f) for f in (1 + step, 1 / (1 + step))]
        aside = [replace(self, x=self.x + d * step * reach) for d in (1, -1)]
        return [*larger, *aside, *(replace(self, z=self.z + d * step * reach) for d in (1, -1))]


def aligned(mesh: Mesh, view: ReferenceView) -> Mesh:
    """Scale and move a mesh to where its outline covers the photo's person best.

    Args:
        mesh: In any unit; z up, facing -y. A subclass keeps what it adds.
        view: The camera, and the mask that is to be covered.
    """
    vertices = mesh.vertices.cpu()
    centre = (vertices.amax(dim=0) + vertices.amin(dim=0)) / 2
    centred = vertices - centre
    small = decimate(Mesh(centred, mesh.faces.cpu()), FACES)
    inside = _mask(view)
    reach = view.camera.distance / view.camera.focal

    def agreement(pose: _Pose) -> float:
        seen = look(replace(small, vertices=pose.moved(small.vertices)), view.camera, SIZE)
        shown = torch.zeros(SIZE * SIZE, dtype=torch.bool)
        shown[seen.pixels.cpu().long()] = True
        return float((shown & inside).sum()) / max(float((shown | inside).sum()), 1.0)

    best = max(_guesses(centred, inside, reach), key=agreement)
    score, step = agreement(best), FIRST_STEP
    while step > LAST_STEP:
        found = max(best.around(step, reach), key=agreement)
        if (better := agreement(found)) > score:
            best, score = found, better
        else:
            step /= 2
    return replace(mesh, vertices=best.moved(centred).to(mesh.vertices))


def _mask(view: ReferenceView) -> Bool[Tensor, "p"]:
    """Give the photo's outline at the size of comparison."""
    small = torch.nn.functional.interpolate(view.mask.cpu()[None, None], (SIZE, SIZE), mode="area")
    return small.flatten() > 0.5  # noqa: PLR2004 (a half is a half)


def _guesses(centred: Float[Tensor, "v 3"], inside: Bool[Tensor, "p"], reach: float) -> list[_Pose]:
    """Bring the boxes together: by height, by width, and by width from the top (a cut person)."""
    covered = pixel_grid(SIZE).reshape(-1, 2)[inside] * reach
    low, high = covered.amin(dim=0), covered.amax(dim=0)
    x, z = ((low + high) / 2).tolist()
    width, height = (high - low).tolist()
    extent = (2 * centred.amax(dim=0)).clamp_min(1e-9).tolist()
    by_height, by_width = height / extent[2], width / extent[0]
    from_top = float(high[1]) - by_width * extent[2] / 2
    return [_Pose(by_height, x, z), _Pose(by_width, x, z), _Pose(by_width, x, from_top)]
