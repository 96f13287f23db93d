"""Batches of rendered people: made by many processes, in an order that follows from their numbers.

B images, S pixels along a side.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geneman.camera import REFERENCE
from geneman.curation.synthetic.people import People
from geneman.curation.synthetic.sample import Sample
from geneman.priors.bundled.bones import bone_maps
from geneman.priors.bundled.geometry_network import BLOCK

ENDLESS = 1_000_000_000
"""Samples that no run reaches: minutes end it."""

APART = 24
"""Steps after which a sample is shown again."""


Collate = Callable[[list[Sample]], "AnyBatch"]
"""Makes a batch of samples, wherever they are rendered."""


Kind = TypeVar("Kind", bound="AnyBatch")


class AnyBatch:
    """Tensors of the same samples, side by side: what its dataclasses have in common."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """List the tensors."""
        return tuple(item.name for item in fields(cls))  # type: ignore[arg-type]  # they are

    def __len__(self) -> int:
        return len(getattr(self, self.names()[0]))

    def mirrored(self: Kind, which: Bool[Tensor, "b"]) -> Kind:
        """Swap left and right in some of the samples."""
        raise NotImplementedError

    def beside(self: Kind, others: Sequence[Kind]) -> Kind:
        """Lay others' samples behind these."""
        if not others:
            return self
        parts = (self, *others)
        planes = {name: torch.cat([getattr(p, name) for p in parts]) for name in self.names()}
        return type(self)(**planes)

    def packed(self: Kind) -> Kind:
        """Halve what has to travel between processes; normals keep a thirtieth of a degree."""
        return self._each(lambda plane: plane if plane.dtype is torch.bool else plane.half())

    def packed_on(self: Kind, device: torch.device) -> Kind:
        """Bring packed samples to a device, out of the memory that processes share."""
        if device.type == "cpu":
            return self._each(Tensor.clone)  # shared memory costs a file handle a plane
        return self._each(lambda plane: plane.to(device, non_blocking=True))

    def unpacked(self: Kind) -> Kind:
        """Give single precision again."""
        return self._each(lambda plane: plane if plane.dtype is torch.bool else plane.float())

    def on(self: Kind, device: torch.device) -> Kind:
        """Bring samples to a device, in single precision."""
        return self.packed_on(device).unpacked()

    def pin_memory(self: Kind) -> Kind:
        """Let the copy to a CUDA device go on while it computes (torch's loader calls this)."""
        return self._each(Tensor.pin_memory)

    def _each(self: Kind, change: Callable[[Tensor], Tensor]) -> Kind:
        return type(self)(**{name: change(getattr(self, name)) for name in self.names()})


@dataclass(frozen=True)
class Batch(AnyBatch):
    """Samples' pictures, channels first."""

    DIRECTIONS: ClassVar[tuple[str, ...]] = ("normal", "hidden_normal")
    """What a mirror turns."""

    colour: Float[Tensor, "b 3 s s"]
    cover: Float[Tensor, "b 1 s s"]
    inside: Bool[Tensor, "b 1 s s"]
    normal: Float[Tensor, "b 3 s s"]
    depth: Float[Tensor, "b 1 s s"]
    hidden_normal: Float[Tensor, "b 3 s s"]
    hidden_depth: Float[Tensor, "b 1 s s"]
    hidden_colour: Float[Tensor, "b 3 s s"]
    bones: Float[Tensor, "b m n n"]
    """`bone_maps` of the landmarks, a pixel for each block of the geometry network's."""

    @staticmethod
    def of(samples: list[Sample]) -> "Batch":
        """Lay samples side by side; depth is counted from the reference distance."""
        planes = {}
        marks = torch.stack([sample.landmarks for sample in samples])
        planes["bones"] = bone_maps(marks, len(samples[0].cover) // BLOCK)
        for name in set(Batch.names()) - {"bones"}:
            images = torch.stack([getattr(sample, name) for sample in samples])
            planes[name] = images.movedim(-1, 1) if images.ndim == 4 else images[:, None]  # noqa: PLR2004
        whole = Batch(**planes)
        return replace(
            whole,
            depth=whole.depth - REFERENCE.distance,
            hidden_depth=whole.hidden_depth - REFERENCE.distance,
        )

    def mirrored(self, which: Bool[Tensor, "b"]) -> "Batch":
        """Swap left and right in some of the images; a mirrored normal looks the other way."""
        across = self.normal.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
        flipped = {name: getattr(self, name).flip(-1) for name in self.names()}
        for name in self.DIRECTIONS:
            flipped[name] = flipped[name] * across
        chosen = which[:, None, None, None]
        return type(self)(
            **{
                name: torch.where(chosen, image, getattr(self, name))
                for name, image in flipped.items()
            }
        )


class _Numbered(Dataset[Sample]):
    """People by number, for torch's loader."""

    def __init__(self, people: People, first: int) -> None:
        self.people, self.first = people, first

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Sample:
        return self.people.sample(self.first + index)


@dataclass(frozen=True)
class _Packed:
    """Collates where samples are rendered, and packs what has to travel."""

    collate: Collate

    def __call__(self, samples: list[Sample]) -> AnyBatch:
        return self.collate(samples).packed()


def batches(
    people: People,
    first: int,
    fresh: int,
    workers: int,
    device: torch.device,
    shows: int = 1,
    collate: Collate = Batch.of,
) -> Iterator[AnyBatch]:
    """Render ahead of the training, from a sample on.

    Args:
        people: Whom.
        first: Number of the first sample that was never shown; its batch is the same wherever a
            run began.
        fresh: Samples that each step is the first to show.
        workers: Processes that render; 0 renders in this one.
        device: Where the batches are wanted.
        shows: How often each sample is shown, `APART` steps apart. The first batches are smaller,
            and a run that goes on renders `(shows - 1) * APART * fresh` samples again.
        collate: Makes batches of samples.
    """
    earlier = min(first // fresh, (shows - 1) * APART)
    loader = DataLoader(
        _Numbered(people, first - earlier * fresh),
        batch_size=fresh,
        num_workers=workers,
        collate_fn=_Packed(collate),
        worker_init_fn=_one_thread,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=2 if workers else None,
        pin_memory=device.type == "cuda",
    )
    arriving = (batch.packed_on(device) for batch in loader)
    return (batch.unpacked() for batch in islice(recalled(arriving, shows), earlier, None))


def recalled(batches: Iterable[AnyBatch], shows: int) -> Iterator[AnyBatch]:
    """Show each batch again, `shows` times in all, beside those that come `APART` steps later."""
    kept: deque[AnyBatch] = deque(maxlen=(shows - 1) * APART + 1)
    for batch in batches:
        kept.appendleft(batch)
        yield batch.beside([kept[age] for age in range(APART, len(kept), APART)])


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
