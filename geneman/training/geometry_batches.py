"""Batches of rendered people: made by many processes, in an order that follows from their numbers.

B images, S pixels along a side.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geneman.camera import REFERENCE
from geneman.curation.synthetic.people import People
from geneman.curation.synthetic.sample import Sample

ENDLESS = 1_000_000_000
"""Samples that no run reaches: minutes end it."""


@dataclass(frozen=True)
class Batch:
    """Samples side by side, channels first."""

    colour: Float[Tensor, "b 3 s s"]
    cover: Float[Tensor, "b 1 s s"]
    inside: Bool[Tensor, "b 1 s s"]
    normal: Float[Tensor, "b 3 s s"]
    depth: Float[Tensor, "b 1 s s"]
    hidden_normal: Float[Tensor, "b 3 s s"]
    hidden_depth: Float[Tensor, "b 1 s s"]
    hidden_colour: Float[Tensor, "b 3 s s"]

    @staticmethod
    def of(samples: list[Sample]) -> "Batch":
        """Lay samples side by side; depth is counted from the reference distance."""
        planes = {}
        for name in (item.name for item in fields(Batch)):
            images = torch.stack([getattr(sample, name) for sample in samples])
            planes[name] = images.movedim(-1, 1) if images.ndim == 4 else images[:, None]  # noqa: PLR2004
        whole = Batch(**planes)
        return replace(
            whole,
            depth=whole.depth - REFERENCE.distance,
            hidden_depth=whole.hidden_depth - REFERENCE.distance,
        )

    def packed(self) -> "Batch":
        """Halve what has to travel between processes; normals keep a thirtieth of a degree."""
        return self._each(lambda plane: plane if plane.dtype is torch.bool else plane.half())

    def on(self, device: torch.device) -> "Batch":
        """Bring a batch to a device, in single precision."""

        def moved(plane: Tensor) -> Tensor:
            there = plane.to(device, non_blocking=True)
            return there if there.dtype is torch.bool else there.float()

        return self._each(moved)

    def pin_memory(self) -> "Batch":
        """Let the copy to a CUDA device go on while it computes (torch's loader calls this)."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(**{item.name: change(getattr(self, item.name)) for item in fields(Batch)})

    def mirrored(self, which: Bool[Tensor, "b"]) -> "Batch":
        """Swap left and right in some of the images; a mirrored normal looks the other way."""
        across = self.normal.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
        flipped = {item.name: getattr(self, item.name).flip(-1) for item in fields(self)}
        flipped["normal"] = flipped["normal"] * across
        flipped["hidden_normal"] = flipped["hidden_normal"] * across
        chosen = which[:, None, None, None]
        return Batch(
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


def _collated(samples: list[Sample]) -> Batch:
    return Batch.of(samples).packed()


def batches(
    people: People, first: int, batch: int, workers: int, device: torch.device
) -> Iterator[Batch]:
    """Render from a sample's number on, ahead of the training.

    Args:
        people: Whom.
        first: Number of the first sample.
        batch: Samples in a batch.
        workers: Processes that render; 0 renders in this one.
        device: Where the batches are wanted.
    """
    loader = DataLoader(
        _Numbered(people, first),
        batch_size=batch,
        num_workers=workers,
        collate_fn=_collated,
        worker_init_fn=_one_thread,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=2 if workers else None,
        pin_memory=device.type == "cuda",
    )
    return (found.on(device) for found in loader)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
