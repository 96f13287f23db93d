"""A prepared view as pictures that people can look at, paint on and give back.

They are what `--mask --normal --depth --landmarks` read: recentred maps beside the photo.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from PIL import Image

from geneman.storage import write_whole
from geneman.view import ReferenceView

MASK, NORMAL, DEPTH, LANDMARKS = "mask.png", "normal.png", "depth.png", "landmarks.npy"
CUT_OUT, HIDDEN_NORMAL, HIDDEN_COLOUR = "cut_out.png", "hidden_normal.png", "hidden_colour.png"
PHOTO_MASK = "photo_mask.png"
"""At the photo's own size and place, for a brush."""
_TOP, _TOP_16 = 255, 65535


def save_pictures(
    view: ReferenceView, folder: Path, photo_mask: Float32[ndarray, "H W"] | None = None
) -> None:
    """Write the maps as pictures, black (or transparent) outside the person; each whole or not.

    `photo_mask` lies over the photo itself; the others are those of the square. Depth becomes 16
    bits, 0 the nearest: scale and shift are lost, as in any given depth map.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (view.colour, view.mask, view.normal, view.hidden.normal, view.hidden.colour)
    colour, mask, normal, back_normal, back = (array.cpu().numpy() for array in arrays)
    inside = mask > 0.5  # noqa: PLR2004 (a half is a half)
    shown = inside[..., None].astype(np.float32)
    cut_out = np.concatenate([colour, mask[..., None]], axis=-1)
    _write(_levels(cut_out), folder / CUT_OUT)
    _write(_levels(mask), folder / MASK)
    _write(_levels((normal + 1) / 2 * shown), folder / NORMAL)
    _write(_levels((back_normal + 1) / 2 * shown), folder / HIDDEN_NORMAL)
    _write(_levels(back * shown), folder / HIDDEN_COLOUR)
    if photo_mask is not None:
        _write(_levels(photo_mask), folder / PHOTO_MASK)
    depth = view.depth.cpu().numpy()
    near, far = depth[inside].min(), depth[inside].max()
    share = ((depth - near) / max(far - near, 1e-6)).clip(0, 1) * shown[..., 0]
    _write(np.round(share * _TOP_16).astype(np.uint16), folder / DEPTH)
    partial = folder / f".{LANDMARKS}.npy"
    np.save(partial, view.landmarks.cpu().numpy())
    partial.replace(folder / LANDMARKS)


def _levels(values: Float32[ndarray, "h w *c"]) -> "ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.round(values.clip(0, 1) * _TOP).astype(np.uint8)


def _write(levels: "ndarray[tuple[int, ...], np.dtype[np.generic]]", path: Path) -> None:
    data = BytesIO()
    Image.fromarray(levels).save(data, "PNG", compress_level=1)
    write_whole(path, data.getvalue())
