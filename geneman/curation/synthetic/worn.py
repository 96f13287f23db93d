"""What a person wears over their clothes and holds, drawn at random: each of one extra material."""

import numpy as np

from geneman.curation.synthetic.figure import Figure
from geneman.curation.synthetic.loose_cloth import jacket, scarf, skirt
from geneman.curation.synthetic.props import carried, hat, held
from geneman.curation.synthetic.rigged import Pose
from geneman.curation.synthetic.surfaces import Surface

SKIRTED, COATED, SCARFED, HATTED, HOLDING, CARRYING = 0.22, 0.12, 0.1, 0.14, 0.2, 0.1
"""Shares of samples."""

TAILED = 0.8
"""Share of coats that are long."""

SEATED = -40.0
"""Degrees that a thigh is lifted beyond which no skirt is worn: it would stick out stiffly."""


def draw_extras(random: np.random.Generator, figure: Figure, pose: Pose) -> list[Surface]:
    """Draw what somebody wears over their clothes and holds in a pose."""
    parts: list[Surface] = []
    if random.random() < COATED:
        parts.append(jacket(random, figure, 0))
    seated = any(
        side in pose and pose[side].degrees[-1] < SEATED for side in ("LeftUpLeg", "RightUpLeg")
    )
    # A coat's tails are of its own cloth.
    if not seated and random.random() < (TAILED if parts else SKIRTED):
        parts.append(skirt(random, figure, 0))
    if random.random() < SCARFED:
        parts += scarf(random, figure, 2)
    if random.random() < HATTED:
        parts.append(hat(random, figure, 3))
    if random.random() < HOLDING:
        parts.append(held(random, figure, 4))
    if random.random() < CARRYING:
        parts.append(carried(random, figure, 5))
    return parts
