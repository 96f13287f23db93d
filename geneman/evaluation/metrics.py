"""How close a reconstruction is to a photo, and to the truth where there is one.

Pictures are H x W x 3, sRGB in [0, 1]; lengths in results are shares of the body's height.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, normalize

from geneman.mesh import Mesh, TexturedMesh, face_normals
from geneman.renderers.shading import draw
from geneman.view import ReferenceView

SIDE = 512
"""Pixels along the side at which a photo is compared."""
COVERED = 0.5
"""A pixel belongs to the person if they cover more than this share of it."""
NO_ERROR_DB = 100.0
"""Said of equal pictures, whose ratio has no bound (8-bit pictures that differ reach 99)."""
SSIM_SIGMA, SSIM_K1, SSIM_K2 = 1.5, 0.01, 0.03
"""Wang et al. 2004, section III.C."""


@dataclass(frozen=True)
class ReferenceFidelity:
    """How well the reconstruction repeats the photo that it was made from."""

    psnr: float
    """dB over the photo's person, uncovered pixels counting as white; higher is better."""
    mask_iou: float
    """Overlap of the silhouettes, 1 when equal."""
    normal_deg: float
    """Mean angle to the view's normals where both have the person."""


def reference_fidelity(view: ReferenceView, textured: TexturedMesh) -> ReferenceFidelity:
    """Compare the bare texture, seen by the reference camera, with the photo at 512 x 512.

    Both are laid on white with their own cover, so a pixel of the photo's person that the
    render misses counts as wrong. Normals are the estimates or the given ones of the view.

    Args:
        view: The photo; averaged down to 512 x 512.
        textured: In the scene's units, before `finish` turns them into metres.
    """
    drawing = draw(textured, view.camera, SIDE)
    cover = _shrunk(view.mask[..., None])
    inside = cover[..., 0] > COVERED
    # Averages over covered parts only: colours outside the mask mean nothing.
    photo = _shrunk(view.colour * view.mask[..., None]) + (1 - cover)
    render = drawing.colour * drawing.cover[..., None] + (1 - drawing.cover[..., None])
    expected = normalize(_shrunk(view.normal * view.mask[..., None]), dim=-1)
    found = drawing.cover > COVERED
    return ReferenceFidelity(
        psnr(render, photo, where=inside),
        mask_iou(found, inside),
        normal_angle(drawing.normal, expected, where=inside & found),
    )


def psnr(
    a: Float[Tensor, "h w 3"], b: Float[Tensor, "h w 3"], *, where: Bool[Tensor, "h w"]
) -> float:
    """Give the peak signal-to-noise ratio in dB over the chosen pixels, at most 100.

    Returns:
        -10 log10 of the mean squared error; NaN if no pixel is chosen.
    """
    if not where.any():
        return math.nan
    error = (a[where].double() - b[where].double()).square().mean().item()
    return NO_ERROR_DB if error == 0 else min(-10 * math.log10(error), NO_ERROR_DB)


def ssim(
    a: Float[Tensor, "h w 3"], b: Float[Tensor, "h w 3"], *, where: Bool[Tensor, "h w"]
) -> float:
    """Give the mean structural similarity of the luma over the chosen pixels.

    Wang et al. 2004: Gaussian windows of 11 pixels, sigma 1.5; the border repeats nothing, so
    pixels nearer than five to it are left out. NaN if no pixel is left.
    """
    radius = 5
    x, y = (_luma(picture) for picture in (a, b))
    mean_x, mean_y = _blurred(x, radius), _blurred(y, radius)
    variance_x = _blurred(x * x, radius) - mean_x**2
    variance_y = _blurred(y * y, radius) - mean_y**2
    covariance = _blurred(x * y, radius) - mean_x * mean_y
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    value = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    value = value / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    chosen = where[radius:-radius, radius:-radius]
    return value[chosen].mean().item() if chosen.any() else math.nan


def mask_iou(a: Bool[Tensor, "h w"], b: Bool[Tensor, "h w"]) -> float:
    """Give the area that two masks share over the area that either has; 1 if both are empty."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0


def normal_angle(
    a: Float[Tensor, "h w 3"], b: Float[Tensor, "h w 3"], *, where: Bool[Tensor, "h w"]
) -> float:
    """Give the mean angle in degrees between unit normals; NaN if no pixel is chosen."""
    if not where.any():
        return math.nan
    x, y = a[where].double(), b[where].double()
    # atan2 stays exact for small angles, where the arc cosine of 1 - epsilon is all noise.
    sine = torch.linalg.cross(x, y).norm(dim=-1)
    return math.degrees(torch.atan2(sine, (x * y).sum(dim=-1)).mean().item())


@dataclass(frozen=True)
class ShapeAccuracy:
    """How close a surface is to the true one."""

    chamfer: float
    """Mean of the mean distances from either surface to the other; a share of the height."""
    normal_consistency: float
    """Mean of |cosine| between the normals of nearest points, both ways."""
    f_score: float
    """Harmonic mean of the shares of either surface nearer to the other than `F_DISTANCE`."""


F_DISTANCE = 0.01
"""Share of the true height within which a point counts as right."""


def shape_accuracy(
    mesh: Mesh,
    truth: Mesh,
    *,
    generator: torch.Generator,
    samples: int = 50_000,
    height: float | None = None,
) -> ShapeAccuracy:
    """Compare surfaces by points spread evenly over each.

    Args:
        mesh: What was reconstructed, aligned to the truth.
        truth: In the same unit.
        generator: Chooses the points.
        samples: Points on each surface: 50,000 lie about 0.3 % of the height apart.
        height: Of the whole body, if `truth` is only a part of it; else its extent in z.
    """
    points, normals = surface_samples(mesh, samples, generator)
    true_points, true_normals = surface_samples(truth, samples, generator)
    if height is None:
        height = float(truth.vertices[:, 2].max() - truth.vertices[:, 2].min())
    there = _nearest(points, true_points)
    back = _nearest(true_points, points)
    distances = [found[0] / height for found in (there, back)]
    agreement = [
        (normals * true_normals[there[1]]).sum(dim=-1).abs().mean().item(),
        (true_normals * normals[back[1]]).sum(dim=-1).abs().mean().item(),
    ]
    precision, recall = ((d <= F_DISTANCE).double().mean().item() for d in distances)
    total = precision + recall
    return ShapeAccuracy(
        chamfer=sum(d.mean().item() for d in distances) / 2,
        normal_consistency=sum(agreement) / 2,
        f_score=2 * precision * recall / total if total else 0.0,
    )


def surface_samples(
    mesh: Mesh, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Give points spread evenly by area, and the unit normals of their faces."""
    normals = face_normals(mesh)
    chosen = torch.multinomial(normals.norm(dim=-1), count, replacement=True, generator=generator)
    u, v = torch.rand(2, count, 1, generator=generator, device=generator.device).to(normals)
    # The square root makes the density even (Turk 1990, Graphics Gems, "Generating random points").
    a, b, c = mesh.vertices[mesh.faces[chosen].long()].unbind(dim=1)
    root = u.sqrt()
    points = (1 - root) * a + root * (1 - v) * b + root * v * c
    return points, normalize(normals[chosen], dim=-1)


def _nearest(
    points: Float[Tensor, "n 3"], among: Float[Tensor, "m 3"]
) -> tuple[Float[Tensor, "n"], Tensor]:
    """Give for each point the distance to the nearest of the others, and which it is."""
    distance, index = cKDTree(among.cpu().numpy()).query(points.cpu().numpy())
    return torch.from_numpy(distance), torch.from_numpy(index)


def _luma(picture: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w"]:
    """Weigh the channels as Rec. 601 does, which SSIM was defined on."""
    return picture.double() @ torch.tensor([0.299, 0.587, 0.114]).to(picture.device).double()


def _blurred(image: Float[Tensor, "h w"], radius: int) -> Float[Tensor, "a b"]:
    """Blur with a Gaussian, giving only the pixels whose whole window is inside."""
    steps = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    bell = torch.exp(-(steps**2) / (2 * SSIM_SIGMA**2))
    bell = bell / bell.sum()
    across = conv2d(image[None, None], bell[None, None, None])
    return conv2d(across, bell[None, None, :, None])[0, 0]


def _shrunk(image: Float[Tensor, "h w c"]) -> Float[Tensor, "s s c"]:
    """Average down to `SIDE` pixels a side; smaller images repeat their pixels."""
    return adaptive_avg_pool2d(image.movedim(-1, 0)[None], SIDE)[0].movedim(0, -1)
