"""Asking the bundled view network: one photo looked at once, then pictures drawn or judged.

B pictures, S pixels along a side (the network's), N x N patches. Layers are named as in
`view_network.LAYERS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import REFERENCE, Orbit
from geneman.device import quick_products
from geneman.priors.bundled.sketch import Sheets
from geneman.priors.bundled.view_network import (
    ABSENT,
    KNOWN,
    LAYERS,
    NOISY,
    ViewNetwork,
    folded,
    read_view_weights,
    resized,
    shown,
    unfolded,
    view_scheduler,
)
from geneman.priors.diffusion import Conditions, Diffusion, Latents, normal_noise
from geneman.priors.relative_camera import relative_camera
from geneman.view import ReferenceView

WEIGHTS = Path(__file__).parent.parent / "weights" / "view.safetensors"
"""Where a release has the trained weights."""

RECENT = 16
"""Sketches that are kept: half a megabyte each."""

Sketches = Callable[[Sequence[Orbit]], Float[Tensor, "b 7 s s"]]
"""Says what views may look like, laid out as they are."""


@dataclass(frozen=True)
class ViewModel:
    """A trained network, and how it is steered."""

    network: ViewNetwork
    scale: float = 1.0
    """Of the classifier-free guidance, as uncond + s (cond - uncond): 1 asks for the photo's views
    as they are, which is right where a sketch already says what is in them."""
    steps: int = 8
    """Steps that draw a picture from noise."""

    @staticmethod
    def from_file(path: Path = WEIGHTS) -> "ViewModel":
        """Read trained weights.

        Raises:
            FileNotFoundError: There are none; the caller does without this prior.
            MissingComponentError: diffusers is not installed.
        """
        return ViewModel(read_view_weights(path)[0])

    def photographed(self, view: ReferenceView) -> "Photo":
        """Look at the photo of a reference view."""
        planes = torch.cat([view.colour, view.mask[..., None]], dim=-1).movedim(-1, 0)[None]
        self.network.to(planes.device)
        weights, size = next(self.network.parameters()), self.network.shape.size
        small = resized(planes.to(weights), 2 * size)
        sheets = Sheets.of_view(view)
        # All drawings of a view are shown the same sketch.
        picture = lru_cache(maxsize=RECENT)(sheets.picture)

        def sketches(orbits: Sequence[Orbit]) -> Float[Tensor, "b 7 s s"]:
            return torch.stack([picture(orbit, size) for orbit in orbits])

        return self.looked(shown(small[:, :3], small[:, 3:]), sketches, view.camera)

    @torch.no_grad()
    def looked(
        self, photo: Float[Tensor, "1 4 p p"], sketches: Sketches, camera: Orbit = REFERENCE
    ) -> "Photo":
        """Look at a photo as `shown` lays it out, taken by a camera."""
        with quick_products(photo.device):
            tokens, patches = self.network.look(photo)
        return Photo(self, tokens, patches, sketches, camera)


@dataclass(frozen=True)
class Photo:
    """A photo that the network has looked at."""

    model: ViewModel
    tokens: Float[Tensor, "1 t d"]
    patches: Float[Tensor, "1 k n n"]
    sketches: Sketches
    camera: Orbit

    def diffusion(self, layers: Sequence[str], scale: float | None = None) -> Diffusion:
        """Give the model restricted to some layers, which are then the only ones that are there.

        Args:
            layers: Their names, in the order of `LAYERS`.
            scale: Replaces the model's own.
        """
        steered = self.model.scale if scale is None else scale
        return Diffusion(Restricted(self.model.network, tuple(layers)), view_scheduler(), steered)

    def conditions(
        self,
        orbits: Sequence[Orbit],
        layers: Sequence[str],
        *,
        known: Sequence[str] = (),
        forgotten: bool = False,
    ) -> Conditions:
        """Tell the network where pictures are taken from, and what the photo shows.

        Args:
            orbits: Their cameras.
            layers: What the pictures have.
            known: Those layers that are given without noise.
            forgotten: Drop the photo: what is left is the prior of all people, which still
                knows the side that is looked at, and nothing to steer by.
        """
        tokens = self.tokens.expand(len(orbits), -1, -1)
        patches = self.patches.expand(len(orbits), -1, -1, -1)
        shape = self.model.network.shape
        if forgotten:
            sketch = patches.new_zeros(len(orbits), shape.channels, shape.side, shape.side)
        else:
            sketch = folded(self.sketches(orbits).to(patches), shape.patch)
        there = [KNOWN if name in known else NOISY if name in layers else ABSENT for name in LAYERS]
        told = {
            "tokens": tokens,
            "patches": patches,
            "sketch": sketch,
            "camera": relative_camera(self.camera, orbits).to(tokens),
            "present": torch.tensor(there).to(tokens).expand(len(orbits), -1),
        }
        # The camera stays when the photo is dropped, as it did in training.
        absent = {
            **told,
            "tokens": torch.zeros_like(tokens),
            "patches": torch.zeros_like(patches),
            "sketch": torch.zeros_like(sketch),
        }
        return Conditions(absent) if forgotten else Conditions(told, absent)

    @torch.no_grad()
    def drawn(
        self,
        orbits: Sequence[Orbit],
        generator: torch.Generator,
        *,
        known: Mapping[str, Float[Tensor, "b c s s"]] | None = None,
        shared_noise: bool = True,
    ) -> Float[Tensor, "b 7 s s"]:
        """Draw whole pictures from noise, in a few steps.

        Args:
            orbits: Their cameras.
            generator: Source of the noise.
            known: Layers that are given, in [0, 1].
            shared_noise: Begin all pictures from the same noise, so that they agree more.
        """
        shape, names = self.model.network.shape, tuple(LAYERS)
        diffusion, given = self.diffusion(names), known or {}
        noise = normal_noise(
            (len(orbits), shape.channels, shape.side, shape.side),
            generator,
            self.tokens,
            shared=shared_noise,
        )
        clean = {name: folded(layer.to(noise), shape.patch) for name, layer in given.items()}

        def hold(patches: Latents, _time: int) -> Latents:
            return put(patches, clean, shape.patch)

        patches = diffusion.descend(
            noise,
            diffusion.length - 1,
            self.model.steps,
            self.conditions(orbits, names, known=tuple(given)),
            generator=generator,
            hold=hold,
        )
        return unfolded(put(patches, clean, shape.patch), shape.patch)


@dataclass(frozen=True)
class Restricted:
    """A denoiser of some layers alone; the others are not there."""

    network: ViewNetwork
    layers: tuple[str, ...]

    def __call__(self, sample: Latents, timestep: Tensor, **conditions: Tensor) -> Latents:
        """Ask the network, with nothing in the places of the other layers."""
        patch = self.network.shape.patch
        side = sample.shape[2:]
        whole = sample.new_zeros(len(sample), self.network.shape.channels, *side)
        places = channels(self.layers, patch).to(sample.device)
        whole[:, places] = sample
        whole = whole.contiguous(memory_format=torch.channels_last)
        with quick_products(whole.device):
            found = self.network(whole, timestep, **conditions)
        answer: Tensor = found.to(sample.dtype)[:, places]
        return answer


def channels(layers: Sequence[str], patch: int) -> Tensor:
    """List the channels of the patches that hold some layers."""
    found, start = [], 0
    for name, count in LAYERS.items():
        if name in layers:
            found.append(torch.arange(start, start + count * patch**2))
        start += count * patch**2
    return torch.cat(found)


def put(patches: Latents, layers: Mapping[str, Tensor], patch: int) -> Latents:
    """Replace some layers of patches by theirs, each B K H W with as many channels as it has."""
    if not layers:
        return patches
    patches = patches.clone()
    for name, values in layers.items():
        patches[:, channels((name,), patch).to(patches.device)] = values
    return patches
