"""What the detail network learns: the normals that the geometry prior's smooth ones leave out.

B samples of S pixels along a side, K pixels of each, J numbers of a jet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from geneman.curation.synthetic.people import People
from geneman.curation.synthetic.sample import Sample
from geneman.device import quick_products
from geneman.priors.bundled.detail_network import DetailNetwork, drawn
from geneman.priors.bundled.geometry_network import BLOCK, GeometryNetwork, shown, unit
from geneman.priors.bundled.geometry_prior import GeometryPrior
from geneman.priors.bundled.jets import SCALES, blurred, jets
from geneman.training.geometry_batches import Batch, Planes
from geneman.training.geometry_card import detail_card
from geneman.training.geometry_losses import degrees
from geneman.training.loop import Losses


@dataclass(frozen=True)
class JetBatch(Planes):
    """Pixels' jets, and how far their smooth normals are to turn."""

    jets: Float[Tensor, "b k j"]
    turn: Float[Tensor, "b k 2"]
    """Across and up, without what is wider than the widest jet: that is the geometry prior's."""

    def mirrored(self, which: Bool[Tensor, "b"]) -> "JetBatch":
        """Leave all as it is: the network says the same of a mirror image."""
        del which
        return self


@dataclass(frozen=True)
class DetailLesson:
    """A photo's jets beside the true normals."""

    smooth: GeometryNetwork
    look: int
    """Pixels along the side of what it sees."""
    pixels: int
    file: str = "detail.safetensors"

    @staticmethod
    def of(pixels: int) -> "DetailLesson":
        """Take the bundled weights for the smooth normals."""
        prior = GeometryPrior.from_file()
        return DetailLesson(prior.network, prior.look, pixels)

    def batch(self, samples: list[Sample]) -> JetBatch:
        """Look at samples, and keep pixels all over each person."""
        whole = Batch.of(samples)
        photo, smooth = self._seen(whole)
        inside = whole.inside.to(photo)
        error = (whole.normal - smooth)[:, :2] * inside
        found = jets(photo, smooth), error - blurred(error, inside, SCALES[-1])
        kept = [_spread(where, self.pixels) for where in whole.inside[:, 0]]
        return JetBatch(
            *(
                torch.stack(
                    [plane.flatten(1)[:, at].T for plane, at in zip(planes, kept, strict=True)]
                )
                for planes in found
            )
        )

    def losses(self, network: nn.Module, batch: Planes, _generator: torch.Generator) -> Losses:
        """Compare turns with the true ones."""
        assert isinstance(batch, JetBatch)
        found = network(batch.jets.flatten(0, 1))
        return {"turn": (found - batch.turn.flatten(0, 1)).square().sum(dim=1).mean()}

    @torch.no_grad()
    def examined(self, network: nn.Module, people: People, count: int) -> dict[str, float]:
        """Give the mean angles without and with details, over the person's pixels."""
        assert isinstance(network, DetailNetwork)
        device = next(network.parameters()).device
        sums = {"smooth_normal_deg": 0.0, "normal_deg": 0.0}
        for index in range(count):
            whole = Batch.of([people.sample(index)])
            photo, smooth = self._seen(whole)
            found = drawn(network, photo.to(device), smooth.to(device)).cpu()
            for name, normal in zip(sums, (smooth, found), strict=True):
                apart = degrees(normal, whole.normal)[whole.inside[:, 0]]
                sums[name] += float(apart.mean()) / count
        return sums

    def final(self, _network: nn.Module, _people: People) -> Mapping[str, object]:
        """Give nothing: details are added, not weighed."""
        return {}

    def card(self, record: Mapping[str, Any]) -> str:
        """Write what is to be known about the weights."""
        return detail_card(record)

    @torch.no_grad()
    def _seen(self, whole: Batch) -> tuple[Float[Tensor, "b 4 s s"], Float[Tensor, "b 3 s s"]]:
        """Give the photos as networks see them, and their smooth normals."""
        photo = shown(whole.colour, whole.cover)
        small = interpolate(photo, size=(self.look, self.look), mode="area")
        bones = whole.bones
        if bones.shape[-1] != self.look // BLOCK:
            bones = interpolate(bones, size=(self.look // BLOCK,) * 2, mode="area")
        with quick_products(photo.device):
            found = self.smooth(small.contiguous(memory_format=torch.channels_last), bones)
        return photo, unit(interpolate(found.normal, size=photo.shape[-2:], mode="bilinear"))


def _spread(where: Bool[Tensor, "s s"], count: int) -> Tensor:
    """Give the numbers of pixels all over a person."""
    pixels = where.flatten().nonzero()[:, 0]
    return pixels[torch.linspace(0, len(pixels) - 1, count).long()]
