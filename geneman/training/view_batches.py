"""What the view prior's training sees at each step: pairs of a photo and one of its views.

W rings are at hand at a time, and some of them are replaced at each step by the next ones, so
that slow rendering feeds a fast device. B pairs, S pixels along a side of a view, P of a photo.
Each step's rings follow from its number: a run that was stopped goes on with the same ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geneman.camera import REFERENCE
from geneman.curation.ring import Ring
from geneman.curation.rings import Rings
from geneman.errors import OptionError
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
    sketch: Float[Tensor, "b 7 s s"] | None = None
    """What a shape prior made of the photo, if it was asked."""

    @property
    def sketched(self) -> Float[Tensor, "b 7 s s"]:
        """The sketches, which are to be learnt from.

        Raises:
            OptionError: There are none.
        """
        if self.sketch is None:
            raise OptionError(
                "Views are learnt from what a shape prior sketches of them",
                value="rings without sketches",
                remedy="name an empty folder with --rings, to render others",
            )
        return self.sketch

    def on_white(self) -> tuple[Float[Tensor, "b p p 3"], Float[Tensor, "b s s 3"]]:
        """Give the colours of photos and views on white, channels last."""
        share = (self.photo[:, 3:] + 1) / 2
        photo = (self.photo[:, :3] + share) / 2 + 1 - share
        return photo.clamp(0, 1).movedim(1, -1), self.picture[:, :3].movedim(1, -1)

    def mirrored(self, which: Tensor) -> "Pairs":
        """Swap left and right in some pairs; a mirrored normal and camera look the other way."""
        chosen = which[:, None, None, None]
        turned = self.camera.clone()
        turned[:, [1, 5]] *= -1  # the azimuth's sine, and how far aside the camera looks
        return Pairs(
            torch.where(chosen, self.photo.flip(-1), self.photo),
            torch.where(chosen, _flipped(self.picture), self.picture),
            torch.where(which[:, None], turned, self.camera),
            None
            if self.sketch is None
            else torch.where(chosen, _flipped(self.sketch), self.sketch),
        )

    @staticmethod
    def joined(rows: Sequence["Pairs"]) -> "Pairs":
        """Lay batches one after the other; all have sketches, or none."""
        sketches = [row.sketch for row in rows if row.sketch is not None]
        return Pairs(
            torch.cat([row.photo for row in rows]),
            torch.cat([row.picture for row in rows]),
            torch.cat([row.camera for row in rows]),
            torch.cat(sketches) if sketches else None,
        )


def _flipped(pictures: Float[Tensor, "b 7 s s"]) -> Float[Tensor, "b 7 s s"]:
    """Swap left and right."""
    flipped = pictures.flip(-1).clone()
    # A normal's x lies in a channel as (x / 2 + 1 / 2) cover: the cover stays, x turns.
    flipped[:, 4] = flipped[:, 3] - flipped[:, 4]
    return flipped


class Pool:
    """The rings at hand, on the device that trains."""

    def __init__(self, rings: Rings, count: int, workers: int, device: torch.device) -> None:
        self.rings, self.count, self.workers, self.device = rings, count, workers, device
        self.photos = torch.empty(0, dtype=torch.uint8)
        self.views = torch.empty(0, dtype=torch.uint8)
        self.sketches = torch.empty(0, dtype=torch.uint8)
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
            self.sketches[slots, which].float() / 255 if len(self.sketches) else None,
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
            if ring.sketches is not None:
                self.sketches = torch.empty_like(self.views)
            self.cameras = torch.empty(self.count, len(ring.orbits), 8, device=self.device)
        self.photos[slot], self.views[slot] = photo, views
        if ring.sketches is not None:
            self.sketches[slot] = ring.sketches.movedim(-1, 1)
        self.cameras[slot] = relative_camera(REFERENCE, ring.orbits)


def pair_of(ring: Ring, view: int, device: torch.device) -> Pairs:
    """Lay a ring's photo and one of its views side by side."""
    photo, sketches = _planes(ring.photo[None]), ring.sketches
    return Pairs(
        shown(photo[:, :3], photo[:, 3:]).to(device),
        _planes(ring.views[view][None]).to(device),
        relative_camera(REFERENCE, [ring.orbits[view]]).to(device),
        None if sketches is None else _planes(sketches[view][None]).to(device),
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
