"""The square that all maps share: the person's longest side fills 90 % of it (METHOD section 1)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray
from PIL import Image
from scipy import ndimage

FILL = 0.9
"""Share of the square's side that the person's longest side takes."""


@dataclass(frozen=True)
class Frame:
    """Where a picture's pixels lie in the square: scaled, then moved; nothing is turned."""

    scale: float
    """Pixels of the square per pixel of the picture."""
    x: float
    y: float
    """Where the picture's upper left corner comes to lie, in pixels of the square."""
    size: int
    """Side of the square in pixels."""

    @classmethod
    def around(cls, inside: Bool[ndarray, "h w"], size: int) -> "Frame":
        """Centre the tight box of a mask, its longest side at `FILL` of the square."""
        columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
        left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        scale = FILL * size / float(max(right - left, bottom - top))
        x, y = (size / 2 - scale * float(a + b) / 2 for a, b in ((left, right), (top, bottom)))
        return cls(scale, x, y, size)

    def points(self, places: Float32[ndarray, "n 2"]) -> Float32[ndarray, "n 2"]:
        """Give image coordinates (x right, y up, in [-1, 1]) of places in the picture (y down)."""
        moved = (places * self.scale + (self.x, self.y)) * (2 / self.size) - 1
        return (moved * (1, -1)).astype(np.float32)

    def colours(self, values: Float32[ndarray, "H W 3"]) -> Float32[ndarray, "h w 3"]:
        """Resample a picture; its border goes on outside it."""
        return self._resample(values, Image.Resampling.BICUBIC, border=True).clip(0, 1)

    def cover(self, values: Float32[ndarray, "H W"]) -> Float32[ndarray, "h w"]:
        """Resample a mask; nothing is outside the picture."""
        return self._resample(values, Image.Resampling.BILINEAR, border=False).clip(0, 1)

    def inside_map(
        self, values: Float32[ndarray, "H W *c"], inside: Bool[ndarray, "H W"]
    ) -> Float32[ndarray, "h w *c"]:
        """Resample a map that means something only inside a mask, without mixing in the rest."""
        return self._resample(continued(values, inside), Image.Resampling.BILINEAR, border=True)

    def of_larger(self, times: int) -> "Frame":
        """Give the frame of the same picture with `times` as many pixels along each side."""
        return Frame(self.scale / times, self.x, self.y, self.size)

    def resized(self, size: int) -> "Frame":
        """Give the frame that brings the picture into a square of another size."""
        share = size / self.size
        return Frame(self.scale * share, self.x * share, self.y * share, size)

    def _resample(
        self, values: Float32[ndarray, "H W *c"], kernel: Image.Resampling, *, border: bool
    ) -> Float32[ndarray, "h w *c"]:
        """Read the square's window; Pillow widens the kernel by the scale, so none is skipped.

        Outside the picture its border goes on, or there is 0.
        """
        height, width = values.shape[:2]
        side, left, top = (length / self.scale for length in (self.size, -self.x, -self.y))
        pad = 4 + int(4 / self.scale)
        x0, y0 = int(np.floor(left)) - pad, int(np.floor(top)) - pad
        columns = np.arange(x0, int(np.ceil(left + side)) + pad)
        rows = np.arange(y0, int(np.ceil(top + side)) + pad)
        part = values[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)]
        if not border:
            part[(rows < 0) | (rows >= height)] = 0
            part[:, (columns < 0) | (columns >= width)] = 0
        box = (left - x0, top - y0, left - x0 + side, top - y0 + side)
        planes = part.reshape(*part.shape[:2], -1)
        resized = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(planes[..., channel])).resize(
                    (self.size, self.size), kernel, box=box
                )
            )
            for channel in range(planes.shape[2])
        ]
        square = np.stack(resized, axis=-1)
        return square.reshape(self.size, self.size, *values.shape[2:])


def continued(
    values: Float32[ndarray, "h w *c"], inside: Bool[ndarray, "h w"]
) -> Float32[ndarray, "h w *c"]:
    """Give every pixel outside the mask the value of the nearest one inside it."""
    rows, columns = ndimage.distance_transform_edt(
        ~inside, return_distances=False, return_indices=True
    )
    carried: Float32[ndarray, "h w *c"] = values[rows, columns]
    return carried


def unit(vectors: Float32[ndarray, "h w 3"]) -> Float32[ndarray, "h w 3"]:
    """Scale vectors to length 1; those without length look at the viewer."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    towards = np.array([0, 0, 1], np.float32)
    # 1e-3: far below 8-bit rounding of a unit vector, far above float32 noise.
    return np.where(length > 1e-3, vectors / length.clip(1e-3), towards)  # noqa: PLR2004
