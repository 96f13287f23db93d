"""How well the view prior does on people it has never seen: figures, and a sheet to look at."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from geneman.camera import Orbit
from geneman.curation.rings import Rings
from geneman.device import quick_products
from geneman.priors.bundled.view_model import ViewModel
from geneman.priors.bundled.view_network import NOISY, ViewNetwork, folded
from geneman.priors.diffusion import Diffusion
from geneman.training.view_batches import Pairs, pair_of

TIMES = (200, 500, 800)
"""Diffusion times at which the error of v is measured."""
SHOWN = 6
"""Most views that are to be looked at."""


@dataclass(frozen=True)
class HeldOut:
    """One view each of some held-out rings, the same at every examination."""

    pairs: Pairs
    orbits: tuple[Orbit, ...]
    seed: int
    device: torch.device

    @staticmethod
    def of(rings: Rings, count: int, device: torch.device, seed: int) -> "HeldOut":
        """Render or read the rings; view 0 of the first, view 1 of the second, and so on."""
        chosen = [(rings.ring(index), index % rings.count) for index in range(count)]
        pairs = Pairs.joined([pair_of(ring, view, device) for ring, view in chosen])
        orbits = tuple(ring.orbits[view] for ring, view in chosen)
        return HeldOut(pairs, orbits, seed, device)

    @torch.no_grad()
    def examine(self, network: ViewNetwork, diffusion: Diffusion) -> tuple[dict[str, float], bytes]:
        """Measure, and draw some views.

        Returns:
            Figures by name, those of the sketches beside those of the drawn views, and a PNG:
            photo, true view, sketch, drawn view, and the normals of the last three.
        """
        network.eval()
        figures = {f"v_at_{time}": self._error(network, diffusion, time) for time in TIMES}
        drawn = self._drawn(network)
        truth, sketch = self.pairs.picture, self.pairs.sketched
        figures |= compared(drawn, truth)
        figures |= {f"sketch_{name}": value for name, value in compared(sketch, truth).items()}
        network.train()
        return figures, self._sheet(drawn)

    def _error(self, network: ViewNetwork, diffusion: Diffusion, time: int) -> float:
        """Mean squared error of v on whole pictures, with the same noise each time."""
        generator = torch.Generator(self.device).manual_seed(self.seed + time)
        total = 0.0
        for index in range(len(self.pairs.camera)):
            clean = folded(self.pairs.picture[index : index + 1], network.shape.patch)
            noise = torch.randn(clean.shape, generator=generator, device=self.device)
            times = torch.tensor([time], device=self.device)
            left = diffusion.share_left(times).to(clean)
            with quick_products(self.device):
                tokens, patches = network.look(self.pairs.photo[index : index + 1])
                found = network(
                    diffusion.noised(clean, noise, times),
                    times,
                    tokens=tokens,
                    patches=patches,
                    sketch=folded(self.pairs.sketched[index : index + 1], network.shape.patch),
                    camera=self.pairs.camera[index : index + 1],
                    present=torch.full((1, 3), NOISY, device=self.device),
                )
            wanted = left.sqrt() * noise - (1 - left).sqrt() * clean
            total += float((found.float() - wanted).square().mean())
        return total / len(self.pairs.camera)

    def _drawn(self, network: ViewNetwork) -> Float[Tensor, "b 7 s s"]:
        """Draw the views from noise."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        model = ViewModel(network)
        views = []
        for index, orbit in enumerate(self.orbits):
            sketch = self.pairs.sketched[index : index + 1]
            photo = model.looked(self.pairs.photo[index : index + 1], partial(_same, sketch))
            views.append(photo.drawn([orbit], generator))
        return torch.cat(views)

    def _sheet(self, drawn: Float[Tensor, "b 7 s s"]) -> bytes:
        colours = (self.pairs.photo[:SHOWN, :3] + 1) / 2  # on grey, as the network sees them
        small = interpolate(colours, size=drawn.shape[2:], mode="area").clamp(0, 1)
        pictures = [each[:SHOWN] for each in (self.pairs.picture, self.pairs.sketched, drawn)]
        return laid_out([small, *(p[:, :3] for p in pictures), *(p[:, 4:] for p in pictures)])


def _same(sketch: Float[Tensor, "1 7 s s"], _: Sequence[Orbit]) -> Float[Tensor, "1 7 s s"]:
    """Give the sketch of the one camera that is asked for."""
    return sketch


def laid_out(columns: Sequence[Float[Tensor, "b 3 s s"]]) -> bytes:
    """Lay pictures in [0, 1] out as a PNG, a row for each of B and a column for each batch."""
    rows = torch.cat([torch.cat(column.unbind(), dim=1) for column in columns], dim=2)
    buffer = io.BytesIO()
    pixels = (rows.movedim(0, -1).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def compared(drawn: Float[Tensor, "b 7 s s"], truth: Float[Tensor, "b 7 s s"]) -> dict[str, float]:
    """Compare drawn views with true ones, where both show the person.

    Returns:
        `mask_iou`, `normal_deg` (mean angle) and `colour_error` (mean absolute difference).
    """
    inside, wanted = drawn[:, 3] > 0.5, truth[:, 3] > 0.5  # noqa: PLR2004 (half a pixel)
    both = inside & wanted
    directions = [
        picture[:, 4:] / picture[:, 3:4].clamp_min(1e-3) * 2 - 1 for picture in (drawn, truth)
    ]
    cosine = cosine_similarity(directions[0], directions[1], dim=1).clamp(-1, 1)
    shared = both.sum().clamp_min(1)
    return {
        "mask_iou": float(both.sum() / (inside | wanted).sum().clamp_min(1)),
        "normal_deg": float((cosine.acos().rad2deg() * both).sum() / shared),
        "colour_error": float(
            ((drawn[:, :3] - truth[:, :3]).abs().mean(dim=1) * both).sum() / shared
        ),
    }
