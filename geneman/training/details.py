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
from geneman.priors.bundled.bones import bone_maps
from geneman.priors.bundled.detail_network import DetailNetwork, detailed, turned
from geneman.priors.bundled.geometry_network import BLOCK, GeometryNetwork, shown, unit
from geneman.priors.bundled.geometry_prior import GeometryPrior
from geneman.priors.bundled.jets import SCALES, blurred_within, jets
from geneman.training.geometry_batches import AnyBatch, Batch
from geneman.training.geometry_card import detail_card
from geneman.training.geometry_losses import degrees
from geneman.training.loop import Losses

WASHED = 0.85
"""Share of people in plain clothes, where details are learnt: painted folds teach to see none."""


@dataclass(frozen=True)
class JetBatch(AnyBatch):
    """Pixels' jets, their smooth normals, and what those are to become."""

    jets: Float[Tensor, "b k j"]
    smooth: Float[Tensor, "b k 3"]
    """Unit, camera frame."""
    wanted: Float[Tensor, "b k 3"]
    """The true ones, but for errors wider than the widest jet: those are the geometry prior's."""

    def mirrored(self, which: Bool[Tensor, "b"]) -> "JetBatch":
        """Leave all as it is: the network says the same of a mirror image."""
        del which
        return self


@dataclass(frozen=True)
class DetailLesson:
    """A photo's jets beside the true normals."""

    network: GeometryNetwork
    """Gives the smooth ones."""
    look: int
    """Pixels along the side of what it sees."""
    pixels: int
    """Pixels of each sample from which details are learnt."""
    file: str = "detail.safetensors"

    @staticmethod
    def of(pixels: int) -> "DetailLesson":
        """Take the bundled weights for the smooth normals."""
        prior = GeometryPrior.from_file()
        return DetailLesson(prior.network, prior.look, pixels)

    def batch(self, samples: list[Sample]) -> JetBatch:
        """Keep pixels all over each person, one by one: jets of whole pictures are large."""
        first, *others = (self._of_one(sample) for sample in samples)
        return first.beside(others)

    def losses(self, network: nn.Module, batch: AnyBatch, _generator: torch.Generator) -> Losses:
        """Compare normals with what they are to become."""
        assert isinstance(batch, JetBatch)
        jets, smooth, wanted = (getattr(batch, name).flatten(0, 1) for name in batch.names())
        found = turned(smooth, network(jets))
        return {"turn": (found - wanted).square().sum(dim=1).mean()}

    @torch.no_grad()
    def examined(self, network: nn.Module, people: People, count: int) -> dict[str, float]:
        """Give the mean angles without and with details, over the person's pixels."""
        assert isinstance(network, DetailNetwork)
        device = next(network.parameters()).device
        sums = {"smooth_normal_deg": 0.0, "normal_deg": 0.0}
        for index in range(count):
            whole, photo, smooth = self._seen(people.sample(index))
            found = detailed(network, photo.to(device), smooth.to(device)).cpu()
            for name, normal in zip(sums, (smooth, found), strict=True):
                apart = degrees(normal, whole.normal)[whole.inside[:, 0]]
                sums[name] += float(apart.mean()) / count
        return sums

    def final(self, _network: nn.Module, _people: People) -> Mapping[str, object]:
        """Give nothing: details are added, not weighed."""
        return {}

    def card(self, record: Mapping[str, Any]) -> str:
        """Write what is to be known about the weights."""
        return detail_card(record, WASHED)

    def _of_one(self, sample: Sample) -> JetBatch:
        whole, photo, smooth = self._seen(sample)
        inside = whole.inside.to(photo)
        wide = blurred_within(whole.normal - smooth, inside, SCALES[-1])
        pixels = whole.inside.flatten().nonzero()[:, 0]
        kept = pixels[torch.linspace(0, len(pixels) - 1, self.pixels).long()]
        planes = jets(photo, smooth), smooth, unit(whole.normal - wide)
        return JetBatch(*(plane.flatten(2)[..., kept].mT for plane in planes))

    @torch.no_grad()
    def _seen(
        self, sample: Sample
    ) -> tuple[Batch, Float[Tensor, "1 4 s s"], Float[Tensor, "1 3 s s"]]:
        """Give a batch of one sample, its photo as networks see it, and its smooth normals."""
        whole = Batch.of([sample])
        photo = shown(whole.colour, whole.cover)
        small = interpolate(photo, size=(self.look, self.look), mode="area")
        bones = bone_maps(sample.landmarks[None], self.look // BLOCK)
        with quick_products(photo.device):
            found = self.network(small.contiguous(memory_format=torch.channels_last), bones)
        return whole, photo, unit(interpolate(found.normal, size=photo.shape[-2:], mode="bilinear"))
