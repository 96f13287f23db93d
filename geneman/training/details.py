"""What the detail network learns: the normals that the geometry prior's smooth ones leave out.

B samples of S pixels along a side, K windows of them with C pixels along a side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from geneman.curation.synthetic.people import People
from geneman.curation.synthetic.sample import Sample
from geneman.device import quick_products
from geneman.priors.bundled.bones import bone_maps
from geneman.priors.bundled.detail_network import DetailNetwork
from geneman.priors.bundled.geometry_network import (
    BLOCK,
    GeometryNetwork,
    quick,
    shown,
    unit,
)
from geneman.priors.bundled.geometry_prior import GeometryPrior
from geneman.training.geometry_batches import Batch
from geneman.training.geometry_card import detail_card
from geneman.training.geometry_losses import angle_loss, degrees, step_loss
from geneman.training.loop import Losses

CROP = 128
"""Pixels along a window's side at most."""

CORRECTED, CELLS, WRONG = 0.75, (8, 16, 32), 0.12
"""Share of batches in which the smooth normals' errors larger than a cell of so many pixels are
taken away, and how far unit normals are bent besides: those errors are larger than any detail, and
nothing near a pixel mends them."""


@dataclass(frozen=True)
class SmoothBatch(Batch):
    """Samples, and what the geometry prior makes of them."""

    DIRECTIONS: ClassVar[tuple[str, ...]] = (*Batch.DIRECTIONS, "smooth")
    smooth: Float[Tensor, "b 3 s s"]


@dataclass(frozen=True)
class DetailLesson:
    """A photo and what the geometry prior makes of it at its own size, beside the true normals."""

    smooth: GeometryNetwork
    look: int
    """Pixels along the side of what it sees."""
    crops: int
    file: str = "detail.safetensors"

    @staticmethod
    def of(crops: int) -> "DetailLesson":
        """Take the bundled weights for the smooth normals."""
        prior = GeometryPrior.from_file()
        return DetailLesson(prior.network, prior.look, crops)

    def batch(self, samples: list[Sample]) -> SmoothBatch:
        """Lay samples side by side, with their smooth normals."""
        plain = Batch.of(samples)
        planes = {name: getattr(plain, name) for name in Batch.names()}
        marks = torch.stack([sample.landmarks for sample in samples])
        bones = bone_maps(marks, self.look // BLOCK)
        return SmoothBatch(**planes, smooth=self._smooth(shown(plain.colour, plain.cover), bones))

    def losses(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Losses:
        """Compare windows with the truth: directions, and their differences between pixels."""
        assert isinstance(batch, SmoothBatch)
        photo = shown(batch.colour, batch.cover)
        known = float(torch.rand((), generator=generator)) < CORRECTED
        coarse = _corrected(batch, generator) if known else batch.smooth
        side = min(CROP, photo.shape[-1])
        corners = _windows(batch.inside, self.crops, side, generator)

        def cut(plane: Tensor) -> Tensor:
            return torch.stack([plane[b, :, y : y + side, x : x + side] for b, y, x in corners])

        laid = (cut(p).contiguous(memory_format=torch.channels_last) for p in (photo, coarse))
        with quick_products(photo.device):
            found = network(*laid)
        wanted, inside = cut(batch.normal), cut(batch.inside)
        return {
            "normal": 2.0 * angle_loss(found, wanted, inside),
            "detail": 2.0 * step_loss(found, wanted, inside),
        }

    @torch.no_grad()
    def examined(self, network: nn.Module, people: People, count: int) -> dict[str, float]:
        """Give the mean angles without and with details, over the person's pixels."""
        assert isinstance(network, DetailNetwork)
        network = quick(network)
        device = next(network.parameters()).device
        sums = {"smooth_normal_deg": 0.0, "normal_deg": 0.0}
        for index in range(count):
            batch = self.batch([people.sample(index)]).on(device)
            assert isinstance(batch, SmoothBatch)
            photo, coarse = shown(batch.colour, batch.cover), batch.smooth
            with quick_products(device):
                found = network(photo, coarse)
            for name, normal in zip(sums, (coarse, found), strict=True):
                apart = degrees(normal, batch.normal)[batch.inside[:, 0]]
                sums[name] += float(apart.mean()) / count
        return sums

    def final(self, _network: nn.Module, _people: People) -> Mapping[str, object]:
        """Give nothing: details are added, not weighed."""
        return {}

    def card(self, record: Mapping[str, Any]) -> str:
        """Write what is to be known about the weights."""
        return detail_card(record)

    @torch.no_grad()
    def _smooth(self, photo: Float[Tensor, "b 4 s s"], bones: Tensor) -> Float[Tensor, "b 3 s s"]:
        """Give the smooth normals of photos."""
        small = interpolate(photo, size=(self.look, self.look), mode="area")
        with quick_products(photo.device):
            found = self.smooth(small.contiguous(memory_format=torch.channels_last), bones)
        return unit(interpolate(found.normal, size=photo.shape[-2:], mode="bilinear"))


def _corrected(batch: SmoothBatch, generator: torch.Generator) -> Float[Tensor, "b 3 s s"]:
    """Give the smooth normals without their large errors, and a little wrong all over."""
    size = batch.normal.shape[-1]
    cell = CELLS[int(torch.randint(len(CELLS), (), generator=generator))]
    error = (batch.normal - batch.smooth) * batch.inside
    planes = torch.cat([error, batch.inside.to(error)], dim=1)
    cells = interpolate(planes, size=(size // cell,) * 2, mode="area")
    large = interpolate(cells, size=(size, size), mode="bilinear")
    wrong = torch.randn(len(large), 3, 5, 5, generator=generator).to(large) * WRONG
    bend = interpolate(wrong, size=(size, size), mode="bicubic")
    return unit(batch.smooth + large[:, :3] / large[:, 3:].clamp_min(1e-3) + bend)


def _windows(
    inside: Bool[Tensor, "b 1 s s"], count: int, side: int, generator: torch.Generator
) -> list[tuple[int, int, int]]:
    """Draw windows around random pixels of each person: sample, top row, left column."""
    last = inside.shape[-1] - side
    drawn = []
    for number, where in enumerate(inside[:, 0].cpu()):
        pixels = where.nonzero()
        for chosen in torch.randint(len(pixels), (count,), generator=generator).tolist():
            # An even corner: the network's blocks lie as they will lie in whole pictures.
            y, x = (min(max(int(p) - side // 2, 0), last) // 2 * 2 for p in pixels[chosen])
            drawn.append((number, y, x))
    return drawn
