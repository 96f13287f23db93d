"""What a diffusion model makes of renders: a gradient towards likelier ones, or repainted targets.

`ScoreDistillation` is the `Guidance` of the bundle and `Repaint` its `Editor`; both know nothing
of the model that they ask. METHOD sections 3, 6 and 8 have the numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from geneman.camera import Orbit
from geneman.errors import OptionError
from geneman.priors.diffusion import Conditions, Diffusion, Latents, Times, normal_noise

Conditioning = Callable[[Sequence[Orbit]], Conditions]
"""What the denoiser is told about images from these cameras."""

Weighting = Callable[[Diffusion, Times], Float[Tensor, "b 1 1 1"]]
"""How much a residual counts at each diffusion time."""


@runtime_checkable
class Codec(Protocol):
    """The way from pictures to the space that the denoiser works in, and back."""

    def encode(self, images: Float[Tensor, "b h w 3"]) -> Latents:
        """Turn pictures in [0, 1] into latents; gradients pass."""

    def decode(self, latents: Latents, size: int) -> Float[Tensor, "b s s 3"]:
        """Turn latents into pictures in [0, 1] with `size` pixels along a side."""


def noise_share(diffusion: Diffusion, times: Times) -> Float[Tensor, "b 1 1 1"]:
    """Give the paper's weight, 1 - alpha bar: the share of the variance that is noise."""
    return 1 - diffusion.share_left(times)


@dataclass(frozen=True)
class ScoreDistillation:
    """A `Guidance`: the loss whose gradient is what the model would change (DreamFusion's SDS)."""

    diffusion: Diffusion
    codec: Codec
    conditioning: Conditioning
    weighting: Weighting = noise_share
    shared_noise: bool = False
    """Whether the views of one call get the same noise and time (the multi-view trick)."""

    def __call__(
        self,
        images: Float[Tensor, "b h w 3"],
        orbits: Sequence[Orbit],
        *,
        noise: tuple[float, float],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Judge renders; see `geneman.priors.bundle.Guidance`.

        Returns:
            0.5 |z - stop(z - w(t) (found noise - added noise))|^2, summed, over the batch: its
            gradient in the latents z is the weighted residual over the batch.
        """
        latents = self.codec.encode(images)
        with torch.no_grad():
            times = self._times(len(latents), noise, generator).to(latents.device)
            added = normal_noise(
                (*latents.shape,), generator, like=latents, shared=self.shared_noise
            )
            noisy = self.diffusion.noised(latents, added, times)
            answer = self.diffusion.predict(noisy, times, self.conditioning(orbits))
            found = self.diffusion.noise_in(answer, noisy, times)
            weight = self.weighting(self.diffusion, times).to(latents)
            target = latents - weight * (found - added)
        loss: Tensor = 0.5 * (latents - target).square().sum() / len(latents)
        return loss

    def _times(self, count: int, noise: tuple[float, float], generator: torch.Generator) -> Times:
        low, high = time_of(self.diffusion, noise[0]), time_of(self.diffusion, noise[1])
        drawn = torch.randint(
            low,
            high + 1,
            (1 if self.shared_noise else count,),
            generator=generator,
            device=generator.device,
        )
        return drawn.expand(count)


@dataclass(frozen=True)
class Repaint:
    """An `Editor`: SDEdit, which buries renders in noise and takes it away again.

    A noise of 0 changes nothing; at 1 nothing is left of the render but what the conditions
    (its normals, for a ControlNet) tell of it.
    """

    diffusion: Diffusion
    codec: Codec
    conditioning: Callable[[Sequence[Orbit], Float[Tensor, "b h w 3"]], Conditions]
    """What the denoiser is told about images from these cameras with these normals."""
    steps: int = 40
    """Steps of a descent from pure noise; METHOD section 6 strides by 25 of 1000 times."""
    shared_noise: bool = False

    @torch.no_grad()
    def __call__(
        self,
        images: Float[Tensor, "b h w 3"],
        normals: Float[Tensor, "b h w 3"],
        orbits: Sequence[Orbit],
        *,
        noise: tuple[float, float],
        generator: torch.Generator,
    ) -> Float[Tensor, "b h w 3"]:
        """Repaint renders; see `geneman.priors.bundle.Editor`."""
        share = torch.rand((), generator=generator, device=generator.device).item()
        start = time_of(self.diffusion, noise[0] + share * (noise[1] - noise[0]))
        if start == 0:
            return images
        latents = self.codec.encode(images)
        times = torch.full((len(latents),), start, device=latents.device)
        added = normal_noise((*latents.shape,), generator, like=latents, shared=self.shared_noise)
        edited = self.diffusion.descend(
            self.diffusion.noised(latents, added, times),
            start,
            self.steps,
            self.conditioning(orbits, normals),
            generator=generator,
        )
        return self.codec.decode(edited, images.shape[1])


def time_of(diffusion: Diffusion, share: float) -> int:
    """Give the diffusion time at a share of the training range: 0 is clean, 1 the last.

    Raises:
        OptionError: The share lies outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise OptionError(
            "A diffusion time is a share of the training range, between 0 and 1",
            value=share,
            remedy="check the noise of the stage's settings",
        )
    return min(int(share * diffusion.length), diffusion.length - 1)
