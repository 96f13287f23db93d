"""What a reconstruction is worth beside the truth: at the photo, from all around, and in space."""

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from geneman.camera import Orbit
from geneman.evaluation.alignment import aligned
from geneman.evaluation.benchmark_cases import Case
from geneman.evaluation.flip import flip
from geneman.evaluation.metrics import (
    COVERED,
    SIDE,
    mask_iou,
    normal_angle,
    psnr,
    reference_fidelity,
    shape_accuracy,
    ssim,
)
from geneman.mesh import TexturedMesh
from geneman.renderers.shading import Drawing, draw, fitted
from geneman.view import ReferenceView

AZIMUTHS = (45, 90, 135, 180, 225, 270, 315)
"""Degrees from the photo's own azimuth, at the height of the person's middle."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Measures:
    """All figures of one reconstruction of one case."""

    input: Figures
    """psnr (dB) and mask_iou as in `run.json`; normal_deg to the true normals."""
    views: dict[str, Figures]
    """By azimuth: psnr, ssim, flip, mask_iou, normal_deg."""
    geometry: Figures
    """chamfer, normal_consistency, f_score; lengths are shares of the body's height."""


def measured(case: Case, view: ReferenceView, textured: TexturedMesh) -> Measures:
    """Compare a reconstruction with the truth: views as placed best, shapes as turned best besides.

    Args:
        case: Photo and truth.
        view: The photo as the stages saw it.
        textured: In scene units, as the view's camera saw it.
    """
    generator = torch.Generator().manual_seed(0)
    truth = case.truth
    placed, turned = (
        aligned(
            textured.mesh,
            view.camera,
            truth.mesh,
            case.camera,
            turning=turning,
            generator=generator,
        )
        for turning in (False, True)
    )
    moved = placed.moved(textured)
    fidelity = reference_fidelity(view, textured)
    own, true = (draw(mesh, case.camera, SIDE) for mesh in (moved, truth))
    both = (own.cover > COVERED) & (true.cover > COVERED)
    given = {
        "psnr": fidelity.psnr,
        "mask_iou": fidelity.mask_iou,
        "normal_deg": normal_angle(own.normal, true.normal, where=both),
    }
    around = _around(case)
    views = {}
    for azimuth in AZIMUTHS:
        orbit = replace(around, azimuth_deg=case.camera.azimuth_deg + azimuth)
        views[str(azimuth)] = view_figures(draw(moved, orbit, SIDE), draw(truth, orbit, SIDE))
    best = turned.moved(textured).mesh
    shape = shape_accuracy(best, truth.mesh, generator=generator, height=case.height)
    return Measures(given, views, asdict(shape))


def view_figures(found: Drawing, truth: Drawing) -> Figures:
    """Compare two drawings, on white, over the pixels that either covers."""
    seen, wanted = found.cover > COVERED, truth.cover > COVERED
    either, pair = seen | wanted, (_on_white(found), _on_white(truth))
    return {
        "psnr": psnr(*pair, where=either),
        "ssim": ssim(*pair, where=either),
        "flip": flip(pair[1], pair[0], where=either),
        "mask_iou": mask_iou(seen, wanted),
        "normal_deg": normal_angle(found.normal, truth.normal, where=seen & wanted),
    }


def _around(case: Case) -> Orbit:
    """Give a camera that has all of the truth in its frame at every azimuth."""
    azimuths = [case.camera.azimuth_deg + azimuth for azimuth in AZIMUTHS]
    return fitted(case.truth.mesh, azimuths)


def _on_white(drawing: Drawing) -> Tensor:
    cover = drawing.cover[..., None]
    return drawing.colour * cover + 1 - cover
