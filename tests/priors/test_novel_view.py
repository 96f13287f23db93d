"""Zero-1-to-3 with the real classes: its conditions, its signs, and its original checkpoint."""

import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from geneman.camera import Orbit
from geneman.errors import MissingComponentError
from geneman.priors.bundle import GuidancePrior
from geneman.priors.economy import Economy
from geneman.priors.novel_view import CameraProjection, NovelViewJudge, ZeroOneToThree
from geneman.priors.pickled import read_pickled
from geneman.priors.zero123_checkpoint import Shape, averaged, convert, of_eye, of_unet, of_vae
from tests import full_weights
from tests.full_weights import EYE, UNET, UP, VAE, WIDTH, write_zero123
from tests.synthetic import figure_view

SHAPE = Shape({**UNET, **UP, "in_channels": 8}, {**VAE, "scaling_factor": 0.18215}, EYE)
VIEW = figure_view(64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    made = tmp_path_factory.mktemp("zero123") / "diffusers"
    write_zero123(made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> ZeroOneToThree:
    return ZeroOneToThree.from_folder(folder, Economy())


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def calls_of(model: ZeroOneToThree, orbits: list[Orbit]) -> tuple[Tensor, Tensor, Tensor]:
    """Judge grey renders; give what the network was shown: input, times, tokens."""
    seen = []

    def keep(_: object, given: tuple, named: dict) -> None:
        seen.append((*given, named["encoder_hidden_states"]))

    hook = model.unet.register_forward_pre_hook(keep, with_kwargs=True)
    images = torch.full((len(orbits), 40, 40, 3), 0.5)
    NovelViewJudge(model).condition(VIEW)(images, orbits, noise=(0.2, 0.5), generator=drawn())
    hook.remove()
    ((latents, times, tokens),) = seen
    return latents, times, tokens


def test_the_camera_has_the_papers_four_numbers_and_signs(model: ZeroOneToThree) -> None:
    told = []
    hook = model.projection.linear.register_forward_pre_hook(lambda _, given: told.append(given[0]))
    calls_of(model, [Orbit(30.0, 20.0), Orbit(-90.0, -10.0, distance=3.5), Orbit()])
    hook.remove()
    cameras = told[0][:, WIDTH:]
    # Polar angles count from the zenith: a camera that is higher has a smaller one.
    wanted = [
        [-math.radians(20), math.sin(math.radians(30)), math.cos(math.radians(30)), 0.0],
        [math.radians(10), -1.0, 0.0, 0.5],
        [0.0, 0.0, 1.0, 0.0],
    ]
    torch.testing.assert_close(cameras, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_the_photo_is_told_as_its_embedding_and_its_unscaled_latents(
    model: ZeroOneToThree,
) -> None:
    latents, _, tokens = calls_of(model, [Orbit(30.0)])
    share = VIEW.mask[..., None]
    white = (VIEW.colour * share + 1 - share).movedim(-1, 0)[None]
    small = torch.nn.functional.interpolate(white, (32, 32), mode="bilinear")
    mode = model.codec.vae.encode(small * 2 - 1).latent_dist.mode()
    assert tokens.shape == (2, 1, WIDTH)  # one token, with the photo and without
    torch.testing.assert_close(latents[0, 4:], mode[0])
    assert (mode - mode * 0.18215).abs().max() > 0.1
    assert latents[1, 4:].abs().max() == 0
    assert tokens[1].abs().max() == 0  # the camera goes with the photo
    assert torch.equal(latents[0, :4], latents[1, :4])


def test_the_gradient_is_the_method_s_formula(model: ZeroOneToThree) -> None:
    judge = NovelViewJudge(model)
    assert isinstance(judge, GuidancePrior)
    image = torch.rand(1, 40, 40, 3, generator=drawn(9)).requires_grad_()
    orbit = Orbit(40.0, 10.0)
    judge.condition(VIEW)(image, [orbit], noise=(0.2, 0.5), generator=drawn()).backward()
    twin = image.detach().clone().requires_grad_()
    small = torch.nn.functional.interpolate(twin.movedim(-1, 1), (32, 32), mode="bilinear")
    latents = model.codec.vae.encode(small * 2 - 1).latent_dist.mode() * 0.18215
    generator = drawn()
    time = torch.randint(200, 501, (1,), generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    with torch.no_grad():
        left = model.scheduler.alphas_cumprod[time]
        noisy = left.sqrt() * latents + (1 - left).sqrt() * noise
        share = VIEW.mask[..., None]
        embedding, photo = model.look((VIEW.colour * share + 1 - share)[None])
        camera = torch.tensor([[-math.radians(10), *_turn(40.0), 0.0]])
        token = model.projection(embedding, camera)
        given = model.unet(torch.cat([noisy, photo], 1), time, token).sample
        zero = torch.zeros_like
        absent = model.unet(torch.cat([noisy, zero(photo)], 1), time, zero(token)).sample
        residual = (1 - left) * (absent + 5.0 * (given - absent) - noise)
    wanted = torch.autograd.grad(latents, twin, residual)[0]
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(image.grad, wanted, atol=2e-5, rtol=1e-3)


def _turn(degrees: float) -> tuple[float, float]:
    return math.sin(math.radians(degrees)), math.cos(math.radians(degrees))


def test_an_untrained_projection_forgets_the_camera() -> None:
    embedding = torch.randn(1, 16, generator=drawn())
    projection = CameraProjection(16)
    tokens = projection(embedding, torch.randn(3, 4, generator=drawn(1)))
    torch.testing.assert_close(tokens[:, 0], embedding.expand(3, -1))


# ---- the original checkpoint -------------------------------------------------------------------
# The renaming below is written from the original code's module tree, not from diffusers' tables.

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def original_unet_name(name: str) -> str:
    """Give latent diffusion's name for a tiny denoiser's weight (two levels, one block each)."""
    fixed = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    }
    stem, kind = name.rsplit(".", 1)
    if stem in fixed:
        return f"{fixed[stem]}.{kind}"
    found = re.match(r"(down_blocks|up_blocks|mid_block)\.(.*)", name)
    assert found
    where, rest = found.groups()
    if where == "mid_block":
        unit, number, tail = re.match(r"(resnets|attentions)\.(\d)\.(.*)", rest).groups()
        block = "middle_block.1" if unit == "attentions" else f"middle_block.{2 * int(number)}"
    else:
        level, unit, number, tail = re.match(r"(\d)\.(\w+)\.(\d)\.(.*)", rest).groups()
        if where == "down_blocks":  # a level: one block, one halving
            index = 1 + 2 * int(level) + int(number)
            block = f"input_blocks.{index}.{1 if unit == 'attentions' else 0}"
        else:  # a level: two blocks, one doubling after the attention, if there is any
            index = 2 * int(level) + int(number)
            slot = {"resnets": 0, "attentions": 1, "upsamplers": 1}[unit]
            block = f"output_blocks.{index + (1 if unit == 'upsamplers' else 0)}.{slot}"
    if unit == "resnets":
        part, kind = tail.rsplit(".", 1)
        tail = f"{RESNET[part]}.{kind}"
    return f"{block}.{tail}"


def original_vae_name(name: str) -> str:
    """Give latent diffusion's name for a tiny codec's weight (three levels)."""
    name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
    for new, old in {
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
    }.items():
        name = name.replace(f"mid.attn_1.{new}.", f"mid.attn_1.{old}.")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{2 - int(m[1])}.block.{m[2]}", name
    )
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{2 - int(m[1])}.upsample", name)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def original_eye(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give OpenAI's names and layouts for CLIP's image tower."""
    made: dict[str, Tensor] = {"proj": weights["visual_projection.weight"].T.contiguous()}
    for full, tensor in weights.items():
        name = full.removeprefix("vision_model.")
        layer = re.match(r"encoder\.layers\.(\d+)\.(.*)", name)
        if layer is not None and "_proj." in layer[2] and "out" not in layer[2]:
            kind = name.rsplit(".", 1)[1]
            stem = f"vision_model.encoder.layers.{layer[1]}.self_attn."
            parts = [weights[f"{stem}{part}_proj.{kind}"] for part in "qkv"]
            made[f"transformer.resblocks.{layer[1]}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif layer is not None:
            tail = layer[2]
            for new, old in {
                "layer_norm": "ln_",
                "self_attn.out_proj": "attn.out_proj",
                "mlp.fc1": "mlp.c_fc",
                "mlp.fc2": "mlp.c_proj",
            }.items():
                tail = tail.replace(new, old)
            made[f"transformer.resblocks.{layer[1]}.{tail}"] = tensor
        elif full != "visual_projection.weight":
            for new, old in {
                "embeddings.class_embedding": "class_embedding",
                "embeddings.position_embedding.weight": "positional_embedding",
                "embeddings.patch_embedding": "conv1",
                "pre_layrnorm": "ln_pre",
                "post_layernorm": "ln_post",
            }.items():
                name = name.replace(new, old)
            made[name] = tensor
    return made


class ModelCheckpoint:
    """Pickled beside the weights under Lightning's name."""


ModelCheckpoint.__module__ = "pytorch_lightning.callbacks.model_checkpoint"


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pickle find that class under its name, while it is written."""
    import sys
    import types

    parts = ModelCheckpoint.__module__.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[name].ModelCheckpoint = ModelCheckpoint


def original(folder: Path) -> dict[str, Tensor]:
    """Give a tiny checkpoint in the original's names, with all that is found beside weights."""
    named: dict[str, Tensor] = {}
    unet = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    for name, tensor in unet.items():
        old = f"diffusion_model.{original_unet_name(name)}"
        named[f"model.{old}"] = torch.zeros_like(tensor)  # raw weights: the average counts
        named["model_ema." + old.replace(".", "")] = tensor
    for name, tensor in load_file(folder / "vae/diffusion_pytorch_model.safetensors").items():
        old = original_vae_name(name)
        matrix = "attn_1" in old and old.endswith("weight") and tensor.ndim == 2
        named[f"first_stage_model.{old}"] = tensor[:, :, None, None] if matrix else tensor
    for name, tensor in original_eye(load_file(folder / "image_encoder/model.safetensors")).items():
        named[f"cond_stage_model.model.visual.{name}"] = tensor
    for name, tensor in load_file(folder / "cc_projection/cc_projection.safetensors").items():
        named[f"cc_projection.{name.removeprefix('linear.')}"] = tensor
    for name in (
        "betas",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "posterior_mean_coef1",
        "logvar",
        "model_ema.decay",
        "model_ema.num_updates",
        "first_stage_model.loss.logvar",
        "cond_stage_model.model.logit_scale",
        "cond_stage_model.model.transformer.resblocks.0.ln_1.weight",
        "cond_stage_model.model.token_embedding.weight",
    ):
        named[name] = torch.ones(3)
    return named


def saved(weights: dict[str, Tensor], path: Path) -> Path:
    torch.save(
        {
            "state_dict": weights,
            "global_step": 105_000,
            "callbacks": {ModelCheckpoint: {"best_model_score": None}},
        },
        path,
    )
    return path


@pytest.mark.usefixtures("lightning")
def test_the_original_checkpoint_converts_without_loss(folder: Path, tmp_path: Path) -> None:
    checkpoint = saved(original(folder), tmp_path / "last.ckpt")
    convert(checkpoint, tmp_path / "converted", SHAPE)
    for path in sorted(folder.rglob("*.safetensors")):
        wanted = load_file(path)
        found = load_file(tmp_path / "converted" / path.relative_to(folder))
        assert found.keys() == wanted.keys(), path
        for name, tensor in wanted.items():
            assert torch.equal(found[name], tensor), name
    images = torch.rand(1, 32, 32, 3, generator=drawn(2))
    judged = [
        NovelViewJudge(ZeroOneToThree.from_folder(place, Economy()))
        .condition(VIEW)(images, [Orbit(50.0)], noise=(0.2, 0.5), generator=drawn())
        .item()
        for place in (folder, tmp_path / "converted")
    ]
    assert judged[0] == judged[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["converted", "last.ckpt"]


@pytest.mark.usefixtures("lightning")
def test_a_key_without_a_place_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    weights = original(folder) | {"model.extra.weight": torch.ones(2)}
    checkpoint = saved(weights, tmp_path / "last.ckpt")
    with pytest.raises(MissingComponentError, match=r"1 that have none, as 'model\.extra\.weight'"):
        convert(checkpoint, tmp_path / "converted", SHAPE)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.usefixtures("lightning")
@pytest.mark.parametrize(
    "missing",
    [
        "first_stage_model.encoder.conv_in.weight",
        "cond_stage_model.model.visual.ln_post.bias",
        "cc_projection.bias",
    ],
)
def test_a_missing_weight_is_refused(folder: Path, tmp_path: Path, missing: str) -> None:
    weights = original(folder)
    del weights[missing]
    with pytest.raises(MissingComponentError, match="1 weights that do not fit"):
        convert(saved(weights, tmp_path / "last.ckpt"), tmp_path / "converted", SHAPE)


def test_the_average_takes_the_networks_place_only_where_it_is_there() -> None:
    raw, mean = torch.zeros(2), torch.ones(2)
    both = {
        "model.diffusion_model.out.2.bias": raw,
        "model_ema.diffusion_modelout2bias": mean,
        "model.diffusion_model.out.0.bias": raw,
    }
    taken = averaged(both)
    assert taken == {
        "model.diffusion_model.out.2.bias": mean,
        "model.diffusion_model.out.0.bias": raw,
    }


def test_the_real_sizes_fill_the_real_networks() -> None:
    """The shapes of the published networks, without their numbers."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    shape = Shape()
    with torch.device("meta"):
        unet = UNet2DConditionModel(**shape.unet)
        vae = AutoencoderKL(**shape.vae)
        eye = CLIPVisionModelWithProjection(CLIPVisionConfig(**shape.eye))
    assert sum(weight.numel() for weight in unet.parameters()) == 859_532_484
    assert sum(weight.numel() for weight in vae.parameters()) == 83_653_863
    assert sum(weight.numel() for weight in eye.parameters()) == 303_966_208
    assert full_weights.WIDTH != 768
    for translate in (of_eye,):
        assert translate({}) == {}
    assert of_unet({}, unet.config) == {}
    assert of_vae({}, vae.config) == {}


# ---- pickled files -----------------------------------------------------------------------------


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch pwned",)


def test_a_checkpoint_that_would_run_code_is_refused_unrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "more": Malicious()}, tmp_path / "bad.ckpt")
    with pytest.raises(MissingComponentError, match="tensors and nothing that runs"):
        read_pickled(tmp_path / "bad.ckpt")
    assert not (tmp_path / "pwned").exists()


def test_files_that_hold_no_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    with pytest.raises(MissingComponentError, match="must hold named tensors"):
        read_pickled(tmp_path / "empty.ckpt")
    (tmp_path / "text.ckpt").write_text("Dear diary")
    with pytest.raises(MissingComponentError, match="tensors and nothing that runs"):
        read_pickled(tmp_path / "text.ckpt")
