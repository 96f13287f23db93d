"""FLIP: how much two pictures seem to differ when one flips between them (Andersson et al. 2020).

The owner of the optional package flip-evaluator, which is NVIDIA's own implementation.
"""

import math
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.errors import MissingComponentError


def require_flip() -> None:
    """Refuse to begin where the package is absent.

    Raises:
        MissingComponentError: It is not installed.
    """
    if find_spec("flip_evaluator") is None:
        raise MissingComponentError(
            "a benchmark needs flip-evaluator",
            value="no such package",
            remedy="install it with: pip install 'geneman[evaluate]'",
        )


def flip(
    a: Float[Tensor, "h w 3"], b: Float[Tensor, "h w 3"], *, where: Bool[Tensor, "h w"]
) -> float:
    """Give the mean FLIP error over the chosen pixels, 0 for equal pictures; NaN if none is chosen.

    Args:
        a: The truth, sRGB in [0, 1].
        b: What is compared with it.
        where: The pixels that count; all of them are looked at. 67 pixels a degree, the default.
    """
    if not where.any():
        return math.nan
    from flip_evaluator import evaluate

    pair = [np.ascontiguousarray(image.clamp(0, 1).numpy(), np.float32) for image in (a, b)]
    errors = evaluate(*pair, "LDR", applyMagma=False, computeMeanError=False)[0]
    return float(torch.from_numpy(np.asarray(errors)).reshape(where.shape)[where].mean())
