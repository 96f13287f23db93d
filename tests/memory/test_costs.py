"""The planned costs are counted again on the real architectures, without their numbers."""

from collections.abc import Callable

import pytest
import torch
from diffusers import (  # noqa: TID253 (what is counted)
    AutoencoderKL,
    ControlNetModel,
    UNet2DConditionModel,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from geneman.memory import costs
from geneman.priors.zero123_checkpoint import Shape

WORDS = 77


def counted(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def numbers(*parts: nn.Module) -> int:
    return sum(weight.numel() for part in parts for weight in part.parameters())


@pytest.fixture(scope="module")
def codec() -> AutoencoderKL:
    with torch.device("meta"):
        return AutoencoderKL(**Shape().vae).requires_grad_(False)


def test_denoisers_cost_what_is_planned() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        time, words = torch.zeros(1), torch.zeros(1, WORDS, 768)
        assert numbers(unet) == costs.DENOISER.parameters
        latents = torch.zeros(1, 4, 64, 64)
        assert counted(lambda: unet(latents, time, words)) == costs.DENOISER.forward
        zero123 = UNet2DConditionModel(**Shape().unet)
        assert numbers(zero123) == costs.ZERO123.parameters
        both = torch.zeros(1, 8, 32, 32)
        found = counted(lambda: zero123(both, time, torch.zeros(1, 1, 768)))
        assert found == costs.ZERO123.forward
        control = ControlNetModel(cross_attention_dim=768, attention_head_dim=8)
        assert numbers(control) == costs.CONTROLNET.parameters
        picture = torch.zeros(1, 3, 512, 512)
        found = counted(lambda: control(latents, time, words, picture))
        assert found == costs.CONTROLNET.forward


@pytest.mark.parametrize(("size", "cost"), [(512, costs.ENCODER), (256, costs.ZERO123_ENCODER)])
def test_the_encoder_costs_what_is_planned_there_and_back(
    codec: AutoencoderKL, size: int, cost: costs.Network
) -> None:
    assert numbers(codec.encoder, codec.quant_conv) == cost.parameters
    with torch.device("meta"):
        picture = torch.zeros(1, 3, size, size, requires_grad=True)
    assert counted(lambda: codec.encode(picture)) == cost.forward
    assert counted(lambda: codec.encode(picture).latent_dist.mean.sum().backward()) == cost.backward


def test_the_decoder_costs_what_is_planned(codec: AutoencoderKL) -> None:
    assert numbers(codec.decoder, codec.post_quant_conv) == costs.DECODER.parameters
    with torch.device("meta"):
        latents = torch.zeros(1, 4, 64, 64)
    assert counted(lambda: codec.decode(latents)) == costs.DECODER.forward
