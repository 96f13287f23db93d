"""Background removal by `rembg`, for those who have installed it and its weights.

This file alone imports `rembg`. It is no dependency: its weights are hundreds of megabytes and
are not fetched behind the user's back, so a missing model means that our own cut-out is used.
"""

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from PIL import Image

MODELS = ("birefnet-portrait", "isnet-general-use", "u2net_human_seg", "u2net")
"""rembg's models that cut out people, the best first."""


def installed_model() -> str | None:
    """Name the best model whose weights lie where rembg keeps them; nothing without rembg."""
    if importlib.util.find_spec("rembg") is None:
        return None
    home = Path(os.environ.get("U2NET_HOME", Path.home() / ".u2net"))
    return next((name for name in MODELS if (home / f"{name}.onnx").is_file()), None)


def remove_background(photo: Image.Image) -> Float32[ndarray, "h w"] | None:
    """Give the cover of everything that is no background; nothing if rembg cannot be used."""
    model = installed_model()
    if model is None:
        return None
    rembg: Any = importlib.import_module("rembg")
    mask = rembg.remove(photo, session=rembg.new_session(model), only_mask=True)
    return np.asarray(mask.convert("L"), np.float32) / 255
