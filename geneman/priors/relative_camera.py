"""How a view-conditioned prior is told where a picture is taken from (METHOD section 9)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import Orbit

CAMERA = 8
"""Numbers that describe a camera relative to the photo's."""


def relative_camera(reference: Orbit, targets: Sequence[Orbit]) -> Float[Tensor, "b 8"]:
    """Describe cameras relative to the photo's.

    Returns:
        Zero-1-to-3's four numbers: the polar angle in radians measured from the up axis
        (so a higher camera has a smaller one), sine and cosine of the azimuth, the distance in
        scene units, each the target's minus the reference's. Then ours, 0 where the paper's
        cameras differ in nothing else: the logarithm of the focal lengths' ratio, and where the
        camera looks in the reference's frame, in scene units.
    """
    rows = []
    for target in targets:
        polar = math.radians(reference.elevation_deg - target.elevation_deg)
        azimuth = math.radians(target.azimuth_deg - reference.azimuth_deg)
        rows.append(
            [
                polar,
                math.sin(azimuth),
                math.cos(azimuth),
                target.distance - reference.distance,
                math.log(target.focal / reference.focal),
            ]
        )
    centres = torch.tensor([target.centre for target in targets])
    aside = reference.turn_to_camera(centres - torch.tensor(reference.centre))
    return torch.cat([torch.tensor(rows), aside], dim=1)
