"""One picture of many people: each row a photo and its reconstruction from front, side and back."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from geneman.mesh import TexturedMesh
from geneman.renderers.pictures import strip, write_picture
from geneman.renderers.shading import STUDIO, Look, seated

GAP = 0.06
"""Paper between two people, as a share of a row's height."""


def contact_sheet(
    people: Sequence[tuple[Float[Tensor, "_ _ 3"], TexturedMesh]],
    *,
    columns: int = 2,
    size: int = 384,
) -> Float[Tensor, "h w 3"]:
    """Lay out photos beside their reconstructions, textured and as clay.

    Args:
        people: Photos (sRGB, any shape) and meshes in any unit.
        columns: People side by side.
        size: Height of a row in pixels.
    """
    cards = [_card(photo, textured, size) for photo, textured in people]
    paper = torch.tensor(STUDIO.background)
    gap, width = round(GAP * size), max(card.shape[1] for card in cards)
    across = columns * (width + gap) + gap
    rows = [paper.expand(gap, across, 3)]
    for first in range(0, len(cards), columns):
        row = paper.expand(size, across, 3).clone()
        for place, card in enumerate(cards[first : first + columns]):
            begin = gap + place * (width + gap) + (width - card.shape[1]) // 2
            row[:, begin : begin + card.shape[1]] = card
        rows += [row, paper.expand(gap, across, 3)]
    return torch.cat(rows, dim=0)


def write_contact_sheet(
    people: Sequence[tuple[Path, TexturedMesh]], path: Path, *, columns: int = 2, size: int = 384
) -> None:
    """Read the photos, lay them out and write the sheet as PNG."""
    loaded = []
    for photo, textured in people:
        with Image.open(photo) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
        paper = tuple(round(255 * value) for value in STUDIO.background)
        flat = Image.alpha_composite(Image.new("RGBA", upright.size, (*paper, 255)), upright)
        pixels = np.asarray(flat.convert("RGB"), np.float32) / 255
        loaded.append((torch.from_numpy(pixels), textured))
    write_picture(contact_sheet(loaded, columns=columns, size=size), path)


def _card(photo: Float[Tensor, "a b 3"], textured: TexturedMesh, size: int) -> Tensor:
    """Put a photo, cut to at most its height in width, before the views of its person."""
    height, width, _ = photo.shape
    # A landscape photo shows its middle: the person is seldom at its edge.
    cut = max((width - height) // 2, 0)
    photo = photo[:, cut : width - cut]
    scale = size / photo.shape[0]
    pixels = (photo.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
    small = Image.fromarray(pixels).resize(
        (max(round(photo.shape[1] * scale), 1), size), Image.Resampling.LANCZOS
    )
    shown = torch.from_numpy(np.asarray(small, np.float32) / 255)
    subject = seated(textured)
    views = [
        strip(subject, azimuths=azimuths, looks=[look], size=size).cpu()
        for look, azimuths in ((Look.ALBEDO, (0.0, 90.0, 180.0)), (Look.CLAY, (30.0,)))
    ]
    return torch.cat([shown, *views], dim=1)
