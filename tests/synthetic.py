"""A person whose shape and colours are known everywhere: capsule limbs, smoothly joined.

The figure stands in an A pose, faces -y, spans about +-0.47 along z, and is asymmetric in y (face,
feet) and in colour (a badge on the left of the chest, another back than front), so that a
mirrored or swapped side cannot pass a test.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import skimage.measure
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from geneman.camera import REFERENCE, Orbit, Rays, pixel_grid
from geneman.mesh import Box, Mesh
from geneman.priors.bundle import Views
from geneman.view import Framing, HiddenSide, ReferenceView

BOX = Box((-0.33, -0.16, -0.49), (0.33, 0.16, 0.49))
"""Holds the whole figure."""

SKIN, HAIR, SHIRT, BACK = (
    (0.85, 0.62, 0.50),
    (0.20, 0.12, 0.08),
    (0.75, 0.15, 0.15),
    (0.2, 0.5, 0.3),
)
BADGE, TROUSERS, SHOES = (0.95, 0.85, 0.2), (0.15, 0.2, 0.5), (0.1, 0.1, 0.1)

JOINTS = {
    "head": (0.0, -0.005, 0.385),
    "crown": (0.0, 0.005, 0.405),
    "nose": (0.0, -0.075, 0.385),
    "neck": (0.0, 0.005, 0.30),
    "chest": (0.0, 0.0, 0.22),
    "belly": (0.0, 0.0, 0.05),
    "shoulder": (0.115, 0.0, 0.265),
    "elbow": (0.19, 0.015, 0.13),
    "wrist": (0.245, -0.015, 0.01),
    "hand": (0.265, -0.025, -0.03),
    "hip": (0.06, 0.0, 0.0),
    "knee": (0.075, -0.01, -0.22),
    "ankle": (0.085, 0.015, -0.425),
    "heel": (0.085, 0.025, -0.45),
    "toe": (0.095, -0.075, -0.455),
}
BONES = [  # from, to, radius there, radius here; limbs are mirrored
    ("head", "crown", 0.066, 0.063),
    ("head", "nose", 0.03, 0.009),
    ("head", "neck", 0.04, 0.038),
    ("neck", "chest", 0.036, 0.06),
    ("shoulder", "elbow", 0.038, 0.031),
    ("elbow", "wrist", 0.031, 0.022),
    ("wrist", "hand", 0.022, 0.026),
    ("hip", "knee", 0.062, 0.043),
    ("knee", "ankle", 0.043, 0.028),
    ("heel", "toe", 0.026, 0.02),
]
TORSO = ((0.12, 0.078, 0.145), (0.0, 0.0, 0.15)), ((0.105, 0.075, 0.10), (0.0, 0.0, 0.02))
LANDMARKS = (  # MediaPipe's order: name of a joint, or of the point it is measured from
    [("nose", 1)]
    + [("eye", s) for s in (1, 1, 1, -1, -1, -1)]
    + [(n, s) for n in ("ear", "mouth") for s in (1, -1)]
    + [(n, s) for n in ("shoulder", "elbow", "wrist") for s in (1, -1)]
    + [("hand", s) for _ in range(3) for s in (1, -1)]
    + [(n, s) for n in ("hip", "knee", "ankle", "heel", "toe") for s in (1, -1)]
)
FACE = {"eye": (0.025, -0.06, 0.405), "ear": (0.065, 0.0, 0.39), "mouth": (0.02, -0.06, 0.355)}


def figure_sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Signed distance, positive outside; a lower bound away from the surface."""
    folded = torch.cat([points[:, :1].abs(), points[:, 1:]], dim=-1)
    parts = [_bone(folded, *bone) for bone in BONES] + [_ellipsoid(folded, *e) for e in TORSO]
    return _smooth_minimum(torch.stack(parts, dim=-1), 0.012)


def figure_normal(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Outward unit normals at surface points, world frame."""
    steps = 1e-3 * torch.eye(3).to(points)
    slopes = [figure_sdf(points + step) - figure_sdf(points - step) for step in steps]
    return torch.nn.functional.normalize(torch.stack(slopes, dim=-1), dim=-1)


def figure_colour(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Colour of the figure at (or near) its surface, sRGB."""
    x, y, z = points.unbind(dim=-1)
    stripes = 0.5 + 0.5 * torch.sin(z * 90.0)
    shirt = points.new_tensor(SHIRT) * (0.7 + 0.3 * stripes[:, None])
    colour = torch.where((y > 0)[:, None], points.new_tensor(BACK), shirt)

    def paint(where: Tensor, value: tuple[float, float, float]) -> None:
        nonlocal colour
        colour = torch.where(where[:, None], points.new_tensor(value), colour)

    paint((x - 0.05).square() + (z - 0.2).square() < 0.022**2, BADGE)
    colour = torch.where(((y > 0) & (z > 0))[:, None], points.new_tensor(BACK), colour)
    paint(z < 0.03, TROUSERS)
    paint(z < -0.425, SHOES)
    paint(z > 0.295, SKIN)
    paint((z > 0.42) | ((z > 0.33) & (y > 0.015)), HAIR)
    paint((x.abs() > 0.17) & (z < 0.05) & (z > -0.2), SKIN)
    return colour


@functools.cache
def figure_mesh(resolution: int = 96) -> Mesh:
    """The surface by marching cubes, `resolution` cells along the height; closed, outward."""
    cell = BOX.size[2] / resolution
    axes = [
        torch.arange(low, high + cell, cell)
        for low, high in zip(BOX.minimum, BOX.maximum, strict=True)
    ]
    lattice = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    values = figure_sdf(lattice.reshape(-1, 3)).reshape(lattice.shape[:3])
    vertices, faces, _, _ = skimage.measure.marching_cubes(
        values.numpy(), 0.0, gradient_direction="descent"
    )
    corner = torch.tensor(BOX.minimum)
    return Mesh(torch.from_numpy(vertices.copy()) * cell + corner, torch.from_numpy(faces.copy()))


@functools.cache
def figure_view(size: int = 128, camera: Orbit = REFERENCE) -> ReferenceView:
    """What the reference camera (or another) sees of the figure: exact up to pixels.

    Outside the mask colours are white and the other maps zero.
    """
    image_points = pixel_grid(size).reshape(-1, 2)
    front, back, hit = _surfaces(camera, image_points)
    mask = _cover(camera, hit.reshape(size, size))
    seen = (mask > 0).flatten()
    nearest = ndimage.distance_transform_edt(
        ~hit.reshape(size, size).numpy(), return_distances=False, return_indices=True
    )
    source = torch.from_numpy(nearest[0] * size + nearest[1]).long().flatten()

    def maps(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points = points[source]
        depth = camera.project(points)[:, 2]
        normal = camera.turn_to_camera(figure_normal(points))
        colour = torch.where(seen[:, None], figure_colour(points), torch.ones(3))
        depth, normal = depth * seen, normal * seen[:, None]
        square = (size, size)
        return depth.reshape(square), normal.reshape(*square, 3), colour.reshape(*square, 3)

    depth, normal, colour = maps(front)
    hidden = HiddenSide(*maps(back))
    return ReferenceView(
        colour=colour,
        mask=mask,
        normal=normal,
        depth=depth,
        hidden=hidden,
        landmarks=figure_landmarks(camera),
        framing=Framing.FULL_BODY,
        prompt="a person in a striped shirt",
        camera=camera,
    )


def figure_landmarks(camera: Orbit = REFERENCE) -> Float[Tensor, "33 4"]:
    """MediaPipe's 33 points, all visible; the person's left lies on +x."""
    places = {**JOINTS, **FACE}
    points = torch.tensor([places[name] for name, _ in LANDMARKS])
    points[:, 0] *= torch.tensor([float(side) for _, side in LANDMARKS])
    seen = camera.project(points)
    depth = (seen[:, 2] - seen[[23, 24], 2].mean()) * camera.focal / camera.distance
    return torch.cat([seen[:, :2], depth[:, None], torch.full((33, 1), 0.99)], dim=-1)


def _bone(points: Tensor, start: str, stop: str, wide: float, narrow: float) -> Tensor:
    """Distance to a capsule whose radius goes from `wide` to `narrow`."""
    a, b = points.new_tensor(JOINTS[start]), points.new_tensor(JOINTS[stop])
    along = ((points - a) @ (b - a) / (b - a).square().sum()).clamp(0, 1)
    return (points - a - along[:, None] * (b - a)).norm(dim=-1) - (wide + along * (narrow - wide))


def _ellipsoid(
    points: Tensor, radii: tuple[float, float, float], centre: tuple[float, float, float]
) -> Tensor:
    """Distance to an ellipsoid, to first order at its surface."""
    scaled = (points - points.new_tensor(centre)) / points.new_tensor(radii)
    length = scaled.norm(dim=-1)
    slope = (scaled / points.new_tensor(radii)).norm(dim=-1)
    return length * (length - 1) / slope.clamp_min(1e-9)


def _smooth_minimum(values: Tensor, width: float) -> Tensor:
    """Blend distances where two are within `width`; never above the minimum."""
    return -width * torch.logsumexp(-values / width, dim=-1)


def _surfaces(camera: Orbit, image_points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First and last surface points along the rays, and whether there are any."""
    rays = camera.rays(image_points)
    near, hit = _trace(rays, camera.distance - 0.6, camera.distance + 0.6)
    away = Rays(rays.origins + 2 * camera.distance * rays.directions, -rays.directions)
    far, found = _trace(away, camera.distance - 0.6, camera.distance + 0.6)
    return near, far, hit & found  # grazing rays may run out of steps on one way


def _trace(rays: Rays, begin: float, end: float) -> tuple[Tensor, Tensor]:
    """Walk along rays by the distance to the figure; give the points and which have hit."""
    travelled = torch.full_like(rays.origins[:, 0], begin)
    active = torch.arange(len(travelled))
    hit = torch.zeros_like(travelled, dtype=torch.bool)
    for _ in range(160):
        points = rays.origins[active] + travelled[active, None] * rays.directions[active]
        distance = figure_sdf(points)
        travelled[active] += 0.8 * distance
        reached = distance < 5e-5
        hit[active[reached]] = True
        active = active[~reached & (travelled[active] < end)]
        if len(active) == 0:
            break
    return rays.origins + travelled[:, None] * rays.directions, hit


def _cover(camera: Orbit, hit: Tensor) -> Tensor:
    """Share of each pixel that the figure covers, from 4 x 4 rays in the pixels at the edge."""
    size, inside = len(hit), hit.numpy()
    square = np.ones((3, 3), dtype=bool)
    edge = torch.from_numpy(
        ndimage.binary_dilation(inside, square) & ~ndimage.binary_erosion(inside, square)
    )
    inner = pixel_grid(4).reshape(1, 16, 2) / size
    image_points = (pixel_grid(size)[edge][:, None] + inner).reshape(-1, 2)
    rays = camera.rays(image_points)
    _, found = _trace(rays, camera.distance - 0.6, camera.distance + 0.6)
    mask = hit.float()
    mask[edge] = found.reshape(-1, 16).float().mean(dim=-1)
    return mask


def figure_views(orbits: Sequence[Orbit], size: int = 64) -> Views:
    """What the figure truly looks like from cameras, as a prior that is sure would draw it."""
    seen = [figure_view(size, orbit) for orbit in orbits]
    mask = torch.stack([view.mask for view in seen])
    colour = torch.stack([view.colour for view in seen])
    return Views(
        orbits=tuple(orbits),
        colour=colour * mask[..., None] + 1 - mask[..., None],
        mask=mask,
        normal=torch.stack([view.normal for view in seen]),
        colour_confidence=torch.ones_like(mask),
        normal_confidence=torch.ones_like(mask),
    )


class KnownViews:
    """A prior of views that knows the figure; keeps what it was asked, and jitters if told to."""

    def __init__(self, size: int = 64, jitter: float = 0.0) -> None:
        self.size, self.jitter = size, jitter
        self.asked: list[tuple[tuple[Orbit, ...], Tensor | None, Tensor | None]] = []

    def condition(self, view: ReferenceView) -> "KnownViews":
        return self

    def __call__(
        self,
        orbits: Sequence[Orbit],
        *,
        generator: torch.Generator,
        normals: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> Views:
        self.asked.append((tuple(orbits), normals, masks))
        truth = figure_views(orbits, self.size)
        noise = torch.randn(truth.colour.shape, generator=generator)
        return dataclasses.replace(truth, colour=truth.colour + self.jitter * noise)
