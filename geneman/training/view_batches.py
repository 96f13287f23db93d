"""What the view prior's training sees at each step: pairs of a photo and one of its views.

W rings are at hand at a time, and some of them are replaced at each step by the next ones, so
that slow rendering feeds a fast device. B pairs, S pixels along a side of a view, P of a photo.
Each step's rings follow from its number: a run that was stopped goes on with the same ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geneman.camera import REFERENCE
from geneman.curation.rings import Ring, Rings
from geneman.priors.bundled.view_network import shown
from geneman.priors.relative_camera import relative_camera

ENDLESS = 100_000_000
"""Rings that no run reaches."""


@dataclass(frozen=True)
class Pairs:
    """Photos and views side by side, channels first, in [0, 1]."""

    photo: Float[Tensor, "b 4 p p"]
    """As `shown` lays it out."""
    picture: Float[Tensor, "b 7 s s"]
    camera: Float[Tensor, "b 8"]

    def on_white(self) -> tuple[Float[Tensor, "b p p 3"], Float[Tensor, "b s s 3"]]:
        """Give the colours of photos and views on white, channels last."""
        share = (self.photo[:, 3:] + 1) / 2
        photo = (self.photo[:, :3] + share) / 2 + 1 - share
        return photo.clamp(0, 1).movedim(1, -1), self.picture[:, :3].movedim(1, -1)

    def mirrored(self, which: Tensor) -> "Pairs":
        """Swap left and right in some pairs; a mirrored normal and camera look the other way."""
        chosen = which[:, None, None, None]
        flipped = self.picture.flip(-1).clone()
        # A normal's x lies in a channel as (x / 2 + 1 / 2) cover: the cover stays, x turns.
        flipped[:, 4] = flipped[:, 3] - flipped[:, 4]
        turned = self.camera.clone()
        turned[:, [1, 5]] *= -1  # the azimuth's sine, and how far aside the camera looks
        return Pairs(
            torch.where(chosen, self.photo.flip(-1), self.photo),
            torch.where(chosen, flipped, self.picture),
            torch.where(which[:, None], turned, self.camera),
        )


class Pool:
    """The rings at hand, on the device that trains."""

    def __init__(self, rings: Rings, count: int, workers: int, device: torch.device) -> None:
        self.rings, self.count, self.workers, self.device = rings, count, workers, device
        self.photos = torch.empty(0, dtype=torch.uint8)
        self.views = torch.empty(0, dtype=torch.uint8)
        self.cameras = torch.empty(0)
        self.source: Iterator[Ring] = iter(())
        self.next = -1

    def advance(self, first: int) -> None:
        """Hold the rings from `first` on; the first call, and any going back, fills everything."""
        if not self.next - self.count <= first <= self.next:
            self.next = first
            self.source = stream(self.rings, first, self.workers)
        while self.next < first + self.count:
            self._keep(self.next % self.count, next(self.source))
            self.next += 1

    def draw(self, count: int, generator: torch.Generator) -> Pairs:
        """Draw pairs, each as likely."""
        device = generator.device
        slots = torch.randint(self.count, (count,), generator=generator, device=device)
        which = torch.randint(self.views.shape[1], (count,), generator=generator, device=device)
        slots, which = slots.to(self.device), which.to(self.device)
        photo = self.photos[slots].float() / 255
        return Pairs(
            shown(photo[:, :3], photo[:, 3:]),
            self.views[slots, which].float() / 255,
            self.cameras[slots, which],
        )

    def _keep(self, slot: int, ring: Ring) -> None:
        photo, views = ring.photo.movedim(-1, 0), ring.views.movedim(-1, 1)
        if len(self.photos) == 0:
            self.photos = torch.empty(
                (self.count, *photo.shape), dtype=torch.uint8, device=self.device
            )
            self.views = torch.empty(
                (self.count, *views.shape), dtype=torch.uint8, device=self.device
            )
            self.cameras = torch.empty(self.count, len(ring.orbits), 8, device=self.device)
        self.photos[slot], self.views[slot] = photo, views
        self.cameras[slot] = relative_camera(REFERENCE, ring.orbits)


def pairs_of(rings: list[Ring], view: int, device: torch.device) -> Pairs:
    """Lay the same view of several rings side by side."""
    photo = _planes(torch.stack([ring.photo for ring in rings]))
    picture = _planes(torch.stack([ring.views[view] for ring in rings]))
    camera = relative_camera(REFERENCE, [ring.orbits[view] for ring in rings])
    return Pairs(
        shown(photo[:, :3], photo[:, 3:]).to(device), picture.to(device), camera.to(device)
    )


def _planes(images: UInt8[Tensor, "b h w c"]) -> Float[Tensor, "b c h w"]:
    return images.movedim(-1, 1).float() / 255


def stream(rings: Rings, first: int, workers: int) -> Iterator[Ring]:
    """Give the rings from a number on, prepared ahead by other processes."""
    return iter(
        DataLoader(
            _Numbered(rings, first),
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_one_thread,
            multiprocessing_context="spawn" if workers else None,
            prefetch_factor=4 if workers else None,
        )
    )


class _Numbered(Dataset[Ring]):
    """Rings by number, for torch's loader."""

    def __init__(self, rings: Rings, first: int) -> None:
        self.rings, self.first = rings, first

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Ring:
        return self.rings.ring(self.first + index)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
