"""How far a geometry network is from the truth: what it is trained on, and what is reported.

B images, S pixels along a side.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity

from geneman.curation.synthetic.people import People
from geneman.device import quick_products
from geneman.priors.bundled.geometry_network import DEPTH_UNIT, BothSides, GeometryNetwork, shown
from geneman.training.geometry_batches import Batch
from geneman.training.loop import Losses


def losses(found: BothSides, wanted: Batch) -> Losses:
    """Compare both sides with the truth, over the person's pixels."""
    inside = wanted.inside
    return {
        "normal": 2.0 * angle_loss(found.normal, wanted.normal, inside),
        "hidden_normal": angle_loss(found.hidden_normal, wanted.hidden_normal, inside),
        "depth": 0.3 * _relief_loss(found.depth, wanted.depth, inside),
        "hidden_depth": 0.3 * _relief_loss(found.hidden_depth, wanted.hidden_depth, inside),
        "colour": 0.5
        * _relief_loss(found.hidden_colour * DEPTH_UNIT, wanted.hidden_colour * DEPTH_UNIT, inside),
    }


def angle_loss(found: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    """Compare directions by their distance, which small angles are not too small for."""
    # 1e-4 under the root: below half a degree the gradient fades instead of flickering.
    apart = ((found - wanted).square().sum(dim=1, keepdim=True) + 1e-4).sqrt() - 1e-2
    return _mean(apart, inside)


def step_loss(found: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    """Compare differences over one, two and four pixels, which smooth normals leave out."""
    error, weight = found - wanted, inside.to(found.dtype)
    total = error.new_zeros(())
    for apart in (1, 2, 4):
        for step in _steps(error, weight, apart):
            total = total + step
    return total


def _relief_loss(found: Tensor, wanted: Tensor, inside: Tensor) -> Tensor:
    """Compare values, and their differences over one, four and sixteen pixels."""
    error = (found - wanted) * inside / DEPTH_UNIT
    total = _mean(error.abs(), inside)
    weight = inside.to(error.dtype)
    for _ in range(3):
        for step in _steps(error, weight, 1):
            total = total + step
        share = avg_pool2d(weight, 4)
        error = avg_pool2d(error * weight, 4) / share.clamp_min(1e-3)
        weight = (share > 0.5).to(error.dtype)  # noqa: PLR2004 (mostly inside)
    return total


def _steps(error: Tensor, weight: Tensor, apart: int) -> Iterator[Tensor]:
    """Give the mean difference of an error over so many pixels: across, then down."""
    for axis in (-1, -2):
        length = error.shape[axis] - apart
        both = weight.narrow(axis, apart, length) * weight.narrow(axis, 0, length)
        step = error.narrow(axis, apart, length) - error.narrow(axis, 0, length)
        yield _mean(step.abs(), both)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    planes = values.shape[1]
    return (values * weight).sum() / (weight.sum() * planes).clamp_min(1)


@torch.no_grad()
def validate(network: GeometryNetwork, people: People, count: int) -> dict[str, float]:
    """Measure a network on people it has never seen.

    Returns:
        Mean angles of normals in degrees, mean depth errors in scene units and the mean colour
        error, over the person's pixels.
    """
    device = next(network.parameters()).device
    sums: dict[str, float] = {}
    for index in range(count):
        wanted = Batch.of([people.sample(index)]).on(device)
        with quick_products(device):
            found = network(shown(wanted.colour, wanted.cover), wanted.bones)
        inside = wanted.inside[:, 0]
        figures = {
            "normal_deg": degrees(found.normal, wanted.normal)[inside],
            "hidden_normal_deg": degrees(found.hidden_normal, wanted.hidden_normal)[inside],
            "depth_error": (found.depth - wanted.depth)[:, 0].abs()[inside],
            "hidden_depth_error": (found.hidden_depth - wanted.hidden_depth)[:, 0].abs()[inside],
            "colour_error": (found.hidden_colour - wanted.hidden_colour).abs().mean(1)[inside],
        }
        for name, values in figures.items():
            sums[name] = sums.get(name, 0.0) + float(values.mean()) / count
    return sums


def degrees(found: Float[Tensor, "b 3 s s"], wanted: Float[Tensor, "b 3 s s"]) -> Tensor:
    """Give the angles between directions, B S S."""
    return cosine_similarity(found, wanted, dim=1).clamp(-1, 1).acos().rad2deg()
