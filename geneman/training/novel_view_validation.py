"""How well a novel-view prior does on people it has never seen: figures, and a sheet to look at."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from geneman.priors.diffusion import Conditions, Diffusion, Latents
from geneman.priors.novel_view import CAMERA_NUMBERS, ZeroOneToThree
from geneman.training.novel_view_model import Denoiser
from geneman.training.view_validation import SHOWN, TIMES, HeldOut, laid_out

SCALE, STEPS = 3.0, 50
"""Of the guidance and the descent when a view is drawn (METHOD section 9)."""


@torch.no_grad()
def examine(
    network: Denoiser, model: ZeroOneToThree, held_out: HeldOut
) -> tuple[dict[str, float], bytes]:
    """Measure, with the same noise each time, and draw some views.

    Args:
        network: What is trained.
        model: Its codec, CLIP and schedule.
        held_out: One view each of some rings.

    Returns:
        Figures by name (mean squared errors of the noise; mean absolute difference of drawn
        colours where the person is), and a PNG: photo, true view, drawn view.
    """
    network.eval()
    pairs, device = held_out.pairs, held_out.device
    photos, views = pairs.on_white()
    diffusion = Diffusion(network, model.scheduler)
    totals = dict.fromkeys((f"noise_at_{time}" for time in TIMES), 0.0)
    drawings = []
    for index in range(len(views)):
        photo, view = photos[index : index + 1], views[index : index + 1]
        embedding, beside = model.look(photo)
        camera = pairs.camera[index : index + 1, :CAMERA_NUMBERS]
        known = {"embedding": embedding, "camera": camera, "photo": beside}
        clean = model.codec.encode(view)
        for time in TIMES:
            generator = torch.Generator(device).manual_seed(held_out.seed + time)
            noise = torch.randn(clean.shape, generator=generator, device=device)
            times = torch.tensor([time], device=device)
            noisy = diffusion.noised(clean, noise, times)
            found = diffusion.noise_in(network(noisy, times, **known), noisy, times)
            totals[f"noise_at_{time}"] += float((found - noise).square().mean()) / len(views)
        if index < SHOWN:
            start = torch.Generator(device).manual_seed(held_out.seed)
            noise = torch.randn(clean.shape, generator=start, device=device)
            drawings.append(_drawn(network, model, noise, known))
    network.train()
    drawn = torch.cat(drawings)
    truth, cover = views[: len(drawn)], pairs.picture[: len(drawn), 3]
    gap = (drawn - truth).abs().mean(dim=-1)
    figures = {**totals, "colour_error": float((gap * cover).sum() / cover.sum().clamp_min(1))}
    small = interpolate(photos[: len(drawn)].movedim(-1, 1), size=drawn.shape[1:3], mode="area")
    return figures, laid_out([small, truth.movedim(-1, 1), drawn.movedim(-1, 1)])


def _drawn(
    network: Denoiser, model: ZeroOneToThree, noise: Latents, known: dict[str, Tensor]
) -> Float[Tensor, "1 s s 3"]:
    """Draw a view from noise."""

    def denoiser(sample: Latents, timestep: Tensor, *, token: Tensor, photo: Tensor) -> Latents:
        found: Tensor = unet(torch.cat([sample, photo], dim=1), timestep, token).sample
        return found

    unet: Any = network.unet
    token: Tensor = network.projection(known["embedding"], known["camera"])
    photo = known["photo"]
    zero = torch.zeros_like
    # As it is asked later: without the photo, the camera is not told either.
    told = Conditions(
        {"token": token, "photo": photo}, {"token": zero(token), "photo": zero(photo)}
    )
    diffusion = Diffusion(denoiser, model.scheduler, SCALE)
    return model.codec.decode(
        diffusion.descend(noise, diffusion.length - 1, STEPS, told), model.codec.size
    )
