"""Diffusion models as the guidance sees them: a denoiser, a schedule and a way to be steered.

B images, C channels, H x W in the space that the denoiser works in (latents, or patches of
pixels). Times count from 0 (clean) to T - 1 (noise). Denoisers and schedulers are passed in;
diffusers' UNets and its DDIM scheduler fit as they are.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geneman.errors import OptionError

PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a denoiser tells: the noise, v = sqrt(a) noise - sqrt(1 - a) clean, or the clean image."""

Latents = Float[Tensor, "b c h w"]
Times = Int[Tensor, "b"]

Denoiser = Callable[..., Any]
"""Called as `denoiser(latents, times, **conditions)`, each condition a tensor with one row an
image; gives a tensor, or an object that has it as `.sample` (diffusers' UNets do)."""


@runtime_checkable
class Scheduler(Protocol):
    """The part of diffusers' `DDIMScheduler` that is used."""

    alphas_cumprod: Tensor
    config: Any
    num_inference_steps: int | None

    def step(self, model_output: Tensor, timestep: int, sample: Tensor, **options: Any) -> Any:
        """Go from `timestep` to the one a stride earlier; the result has `.prev_sample`."""


class Steering(enum.StrEnum):
    """The two forms of classifier-free guidance in the method's code (METHOD section 8)."""

    FROM_UNCONDITIONED = "from_unconditioned"
    """uncond + s (cond - uncond): HumanNorm, ControlNet and Zero-1-to-3."""
    FROM_CONDITIONED = "from_conditioned"
    """cond + s (cond - uncond): Stable Diffusion's colour guidance; in effect at s + 1."""


@dataclass(frozen=True)
class Conditions:
    """What the denoiser is told about each image, and what it is told when nothing is known."""

    given: Mapping[str, Tensor] = field(default_factory=dict)
    """Keyword arguments, one row an image."""
    absent: Mapping[str, Tensor] | None = None
    """The same arguments with the condition dropped; None switches the steering off."""


@dataclass(frozen=True)
class Diffusion:
    """A denoiser with its schedule, and how strongly it is steered."""

    denoiser: Denoiser
    scheduler: Scheduler
    scale: float = 1.0
    """Of the classifier-free guidance."""
    steering: Steering = Steering.FROM_UNCONDITIONED

    def __post_init__(self) -> None:
        """Refuse a scheduler whose predictions have no meaning here."""
        if self.prediction not in PREDICTIONS:
            raise OptionError(
                "A scheduler must predict one of " + ", ".join(PREDICTIONS),
                value=f"'{self.prediction}'",
                remedy="give the scheduler that the denoiser was trained with",
            )

    @property
    def prediction(self) -> str:
        """What the denoiser tells: one of `PREDICTIONS`."""
        kind: str = self.scheduler.config.prediction_type
        return kind

    @property
    def steered(self) -> bool:
        """Whether what is said without the conditions counts at all."""
        return self.scale != (1.0 if self.steering is Steering.FROM_UNCONDITIONED else 0.0)

    @property
    def length(self) -> int:
        """T, the number of times in training."""
        return len(self.scheduler.alphas_cumprod)

    def share_left(self, times: Times) -> Float[Tensor, "b 1 1 1"]:
        """Give alpha bar: the share of the clean image's variance that is left at each time."""
        return self.scheduler.alphas_cumprod.to(times.device)[times][:, None, None, None]

    def noised(self, clean: Latents, noise: Latents, times: Times) -> Latents:
        """Bury clean latents in noise."""
        left = self.share_left(times).to(clean)
        return left.sqrt() * clean + (1 - left).sqrt() * noise

    def noise_in(self, predicted: Latents, noisy: Latents, times: Times) -> Latents:
        """Turn a prediction into the noise that it means."""
        left = self.share_left(times).to(noisy)
        if self.prediction == "epsilon":
            return predicted
        if self.prediction == "v_prediction":
            return left.sqrt() * predicted + (1 - left).sqrt() * noisy
        # Without any noise no prediction of a clean image tells it: the bound keeps it finite.
        return (noisy - left.sqrt() * predicted) / (1 - left).sqrt().clamp_min(1e-4)

    def predict(self, noisy: Latents, times: Times, conditions: Conditions) -> Latents:
        """Ask the denoiser, in one call, with and without the conditions, and steer by them."""
        if conditions.absent is None or not self.steered:
            return _tensor(self.denoiser(noisy, times, **conditions.given))
        both = {
            name: torch.cat([given, conditions.absent[name]])
            for name, given in conditions.given.items()
        }
        answer = _tensor(
            self.denoiser(torch.cat([noisy, noisy]), torch.cat([times, times]), **both)
        )
        given, absent = answer.chunk(2)
        start = absent if self.steering is Steering.FROM_UNCONDITIONED else given
        return start + self.scale * (given - absent)

    def times(self, start: int, steps: int) -> list[int]:
        """Give the times of a descent from `start` in strides of T / `steps`: the last is not 0."""
        return list(range(start, -1, -(self.length // steps)))

    @torch.no_grad()
    def descend(
        self,
        noisy: Latents,
        start: int,
        steps: int,
        conditions: Conditions,
        *,
        generator: torch.Generator | None = None,
        eta: float = 0.0,
        hold: Callable[[Latents, int], Latents] | None = None,
    ) -> Latents:
        """Take the noise away by DDIM.

        Args:
            noisy: Latents at time `start`.
            start: The time to begin at.
            steps: Steps that the way from T would take; the stride is T / `steps`.
            conditions: What the images are to show.
            generator: Source of the noise of `eta`.
            eta: How much fresh noise each step adds: 0 none, 1 as much as training had.
            hold: Puts what is known into the latents, which are now at the given time.
        """
        self.scheduler.num_inference_steps = steps
        for time in self.times(start, steps):
            if hold is not None:
                noisy = hold(noisy, time)
            times = torch.full((len(noisy),), time, device=noisy.device)
            predicted = self.predict(noisy, times, conditions)
            noisy = self.scheduler.step(
                predicted,
                time,
                noisy,
                eta=eta,
                # Where a clean image is cut to its range, the noise must be the rest.
                use_clipped_model_output=True,
                generator=generator,
            ).prev_sample
        return noisy


def normal_noise(
    shape: tuple[int, int, int, int], generator: torch.Generator, like: Tensor, *, shared: bool
) -> Latents:
    """Draw noise on the generator's device; `shared` gives every image of the batch the same."""
    drawn = torch.randn(
        (1 if shared else shape[0], *shape[1:]), generator=generator, device=generator.device
    )
    return drawn.to(like).expand(shape)


def _tensor(answer: Any) -> Tensor:
    found: Tensor = answer if isinstance(answer, Tensor) else answer.sample
    return found
