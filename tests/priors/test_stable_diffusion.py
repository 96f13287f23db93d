"""Stable Diffusion's family with the real classes: every number that reaches a render."""

from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention  # noqa: TID253 (what masks)
from torch import Tensor

from geneman.camera import Orbit
from geneman.errors import MissingComponentError
from geneman.priors import weights
from geneman.priors.bundle import EditorPrior, GuidancePrior, Priors
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.economy import IDLE_CALLS, TIERS, Economy
from geneman.priors.full import full_priors
from geneman.priors.perceptual import BLOCKS, Lpips
from geneman.priors.prompts import Medium, Wording
from geneman.priors.stable_diffusion import grid_of
from geneman.priors.tiling import Tiled, tiled, untiled
from geneman.view import Framing
from tests.full_weights import table_for, write_family
from tests.synthetic import figure_view

NOISE = (0.2, 0.5)
VIEW = figure_view(64)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def priors(root: Path) -> Priors:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "TABLE", table_for(root))
        return full_priors(root, Priors(shape=Inflation()), Economy())


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(count: int = 1) -> Tensor:
    return torch.rand(count, 40, 40, 3, generator=drawn(9)).requires_grad_()


def by_hand(model, image: Tensor, prompt: str, scale: float, *, from_given: bool) -> Tensor:
    """Score distillation written out: the gradient in the picture."""
    small = torch.nn.functional.interpolate(image.movedim(-1, 1), (32, 32), mode="bilinear")
    latents = model.codec.vae.encode(small * 2 - 1).latent_dist.mode() * 0.18215
    generator = drawn()
    time = torch.randint(200, 501, (1,), generator=generator)
    noise = torch.randn(latents.shape, generator=generator)
    with torch.no_grad():
        left = model.scheduler.alphas_cumprod[time]
        noisy = left.sqrt() * latents + (1 - left).sqrt() * noise

        def found(words: str) -> Tensor:
            ids = model.text.tokenizer(
                words, padding="max_length", max_length=24, truncation=True, return_tensors="pt"
            ).input_ids
            return model.unet(noisy, time, model.text.tower(ids)[0]).sample

        given, absent = found(prompt), found("")
        steered = (given if from_given else absent) + scale * (given - absent)
        residual = (1 - left) * (steered - noise)
    return torch.autograd.grad(latents, image, residual)[0]


@pytest.mark.parametrize(
    ("name", "azimuth", "prompt", "scale", "from_given"),
    [
        ("image", 10.0, "a person in a striped shirt, front view", 20.0, True),
        ("image", 170.0, "a person in a striped shirt, back view", 20.0, True),
        (
            "normal",
            90.0,
            "a person in a striped shirt, black background, normal map, left side view",
            30.0,
            False,
        ),
        (
            "depth",
            -90.0,
            "a person in a striped shirt, black background, depth map, full body, right side view",
            30.0,
            False,
        ),
    ],
)
def test_each_judges_gradient_is_the_method_s_formula(
    priors: Priors, name: str, azimuth: float, prompt: str, scale: float, from_given: bool
) -> None:
    judge = getattr(priors, name)
    assert isinstance(judge, GuidancePrior)
    image = picture()
    judge.condition(VIEW)(image, [Orbit(azimuth)], noise=NOISE, generator=drawn()).backward()
    wanted = by_hand(judge.model, picture(), prompt, scale, from_given=from_given)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(image.grad, wanted, atol=2e-5, rtol=1e-3)


def test_the_human_denoiser_takes_the_place_of_stable_diffusions(
    priors: Priors, root: Path
) -> None:
    from diffusers import UNet2DConditionModel

    human = UNet2DConditionModel.from_pretrained(root / "geneman-2d").state_dict()
    taken = priors.image.model.unet.state_dict()
    assert all(torch.equal(taken[name], value) for name, value in human.items())
    own = UNet2DConditionModel.from_pretrained(root / "stable-diffusion/unet").state_dict()
    assert not torch.equal(own["conv_in.weight"], taken["conv_in.weight"])
    assert priors.editor.model.unet is priors.image.model.unet  # on the device once


def test_prompts_are_encoded_once(priors: Priors) -> None:
    text = priors.image.model.text
    text.known.clear()
    asked = []
    hook = text.tower.register_forward_hook(lambda *_: asked.append(1))
    guidance = priors.image.condition(VIEW)
    for azimuth in (0.0, 5.0, 180.0, 175.0):
        guidance(picture(), [Orbit(azimuth)], noise=NOISE, generator=drawn())
    hook.remove()
    assert len(asked) == 3  # front, back, and nothing
    assert set(text.known) == {"", f"{VIEW.prompt}, front view", f"{VIEW.prompt}, back view"}


def test_views_of_one_call_share_noise_time_and_image(priors: Priors) -> None:
    seen = []
    unet = priors.image.model.unet
    hook = unet.register_forward_pre_hook(lambda _, given: seen.append(given[:2]))
    same = picture().detach().expand(4, -1, -1, -1)
    orbits = [Orbit(azimuth) for azimuth in (0.0, 90.0, 180.0, 270.0)]
    priors.image.condition(VIEW)(same, orbits, noise=NOISE, generator=drawn())
    hook.remove()
    ((latents, times),) = seen
    assert latents.shape == (2, 4, 16, 16)  # with words and without; 2 x 2 views of 8 x 8
    assert times.unique().numel() == 1
    views = untiled(latents, 2, 2)
    torch.testing.assert_close(views[1:], views[:1].expand(7, -1, -1, -1))


def test_a_grid_is_as_square_as_its_number_allows() -> None:
    assert [grid_of(count) for count in (1, 2, 4, 6, 9, 5)] == [
        *((1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (5, 1))
    ]


class Attending(torch.nn.Module):
    """diffusers' own attention over pixels, which may be kept within each view."""

    def __init__(self, columns: int, rows: int, *, masked: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.attention = Attention(query_dim=4, heads=2, dim_head=8).eval()
        self.columns, self.rows, self.masked = columns, rows, masked

    @torch.no_grad()
    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        tokens = sample.flatten(2).movedim(1, 2)
        mask = None
        if self.masked:
            side = sample.shape[2] // self.rows, sample.shape[3] // self.columns
            numbers = torch.arange(self.columns * self.rows).float()[:, None, None, None]
            which = tiled(numbers.expand(-1, 1, *side), self.columns, self.rows).flatten()
            mask = torch.where(which[:, None] == which, 0.0, -torch.inf)[None]
            mask = mask.expand(len(sample), -1, -1)
        out = self.attention(tokens, attention_mask=mask)
        return out.movedim(1, 2).reshape(sample.shape)


@pytest.mark.parametrize(("columns", "rows"), [(2, 1), (2, 2), (3, 2)])
def test_tiled_views_equal_separate_ones_where_attention_is_masked(columns: int, rows: int) -> None:
    views = torch.randn(2 * columns * rows, 4, 5, 5, generator=drawn())
    times = torch.zeros(len(views), dtype=torch.long)
    alone = Attending(1, 1, masked=False)(views, times)
    masked = Tiled(Attending(columns, rows, masked=True), columns, rows)(views, times)
    torch.testing.assert_close(masked, alone, atol=1e-6, rtol=1e-5)
    together = Tiled(Attending(columns, rows, masked=False), columns, rows)(views, times)
    assert (together - alone).abs().max() > 1e-3  # what the trick is for


def test_the_editor_changes_nothing_without_noise_and_heeds_the_normals(priors: Priors) -> None:
    assert isinstance(priors.editor, EditorPrior)
    editor = priors.editor.condition(VIEW)
    render = picture(2).detach()
    orbits = [Orbit(), Orbit(180.0)]

    def edited(noise: float, normals: Tensor) -> Tensor:
        return editor(render, normals, orbits, noise=(noise, noise), generator=drawn())

    flat = torch.full_like(render, 0.5)
    assert torch.equal(edited(0.0, flat), render)
    assert edited(0.505, flat).shape == render.shape
    # Untrained ControlNets begin with zeros at their entry and exits: give this one a voice.
    control = priors.editor.controlnet
    entry = control.controlnet_cond_embedding.conv_out
    for layer in (entry, *control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=5.0)
    silent, other = edited(0.505, flat), edited(0.505, torch.rand(render.shape, generator=drawn(3)))
    assert (silent - other).abs().max() > 1e-3


def test_the_editor_shows_the_normals_to_both_branches(priors: Priors) -> None:
    told = priors.editor._conditioning(VIEW)([Orbit()], picture().detach())
    assert torch.equal(told.given["controlnet_cond"], told.absent["controlnet_cond"])
    assert not torch.equal(
        told.given["encoder_hidden_states"], told.absent["encoder_hidden_states"]
    )


def test_the_codec_computes_the_same_gradient_that_it_would_have_kept(priors: Priors) -> None:
    codec = priors.image.model.codec
    image = picture(2)
    upstream = torch.randn(2, 4, 8, 8, generator=drawn())
    (found,) = torch.autograd.grad(codec.encode(image), image, upstream)
    small = torch.nn.functional.interpolate(image.movedim(-1, 1), (32, 32), mode="bilinear")
    plain = codec.vae.encode(small * 2 - 1).latent_dist.mode() * 0.18215
    torch.testing.assert_close(found, torch.autograd.grad(plain, image, upstream)[0])


# ---- prompts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("azimuth", "said"),
    [
        (0, "front"),
        (44.9, "front"),
        (45, "left side"),
        (135, "left side"),
        (135.1, "back"),
        (180, "back"),
        (-180, "back"),
        (-135, "right side"),
        (-45, "right side"),
        (-44.9, "front"),
        (315.1, "front"),
        (270, "right side"),
    ],
)
def test_a_view_s_words_change_at_45_degrees(azimuth: float, said: str) -> None:
    assert Wording().prompt("a man", Orbit(azimuth), Framing.FULL_BODY) == f"a man, {said} view"


@pytest.mark.parametrize(
    ("orbit", "framing", "said"),
    [
        (Orbit(distance=3.0), Framing.FULL_BODY, "full body"),
        (Orbit(distance=3.5), Framing.HALF_BODY, "upper body"),
        (Orbit(distance=3.0), Framing.HEAD, "only head"),
        (Orbit(distance=0.9, centre=(0, 0, 0.4)), Framing.FULL_BODY, "only head"),
        (Orbit(distance=1.5, centre=(0, 0, 0.27)), Framing.FULL_BODY, "upper body"),
        (Orbit(distance=2.0, centre=(0, 0, -0.24)), Framing.FULL_BODY, "lower body"),
        (Orbit(distance=2.0, centre=(0, 0, -0.1)), Framing.HALF_BODY, "upper body"),
    ],
)
def test_a_close_view_names_the_part_that_it_shows(
    orbit: Orbit, framing: Framing, said: str
) -> None:
    words = Wording(Medium.DEPTH, parts=True).prompt(" a man", orbit, framing)
    assert words == f"a man, black background, depth map, {said}, front view"


def test_views_side_by_side_are_told_only_what_holds_for_all() -> None:
    orbits = [Orbit(0.0), Orbit(90.0)]
    assert Wording().together("a man", orbits, Framing.FULL_BODY) == "a man"
    assert Wording().together("a man", orbits[:1] * 2, Framing.FULL_BODY) == "a man, front view"


# ---- perceptual distance ----------------------------------------------------------------------


def slow_lpips(network, first: Tensor, second: Tensor) -> Tensor:
    """LPIPS written out, picture by picture, pixel by pixel."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    maps = [((each.movedim(-1, 0) * 2 - 1) - shift) / scale for each in (first, second)]
    total = torch.zeros(())
    for number, block in enumerate(BLOCKS):
        if number:
            maps = [torch.nn.functional.max_pool2d(each, 2) for each in maps]
        for layer in block:
            kernel, bias = getattr(network, f"kernel{layer}"), getattr(network, f"bias{layer}")
            maps = [torch.nn.functional.conv2d(m, kernel, bias, padding=1).relu() for m in maps]
        unit = [m / (m.norm(dim=0) + 1e-10) for m in maps]
        counts = getattr(network, f"channels{number}").flatten()
        gap = (unit[0] - unit[1]).square()
        total = total + sum(c * g.mean() for c, g in zip(counts, gap, strict=True))
    return total


def test_the_perceptual_distance_is_lpips_and_teaches(priors: Priors) -> None:
    assert isinstance(priors.perceptual, Lpips)
    image, other = picture(2), torch.rand(2, 40, 40, 3, generator=drawn(4))
    found = priors.perceptual(image, other)
    pairs = zip(image.detach(), other, strict=True)
    each = [slow_lpips(priors.perceptual.network, *pair) for pair in pairs]
    torch.testing.assert_close(found.detach(), torch.stack(each).mean(), rtol=1e-4, atol=1e-6)
    found.backward()
    assert image.grad.abs().max() > 0
    assert priors.perceptual(other, other) == 0


# ---- memory ----------------------------------------------------------------------------------


def test_every_tier_gives_the_same_gradient_up_to_rounding(priors: Priors) -> None:
    economy = priors.image.model.economy
    gradients = []
    for tier in TIERS:
        economy.use(tier)
        image = picture()
        priors.image.condition(VIEW)(image, [Orbit()], noise=NOISE, generator=drawn()).backward()
        gradients.append(image.grad)
    economy.use(TIERS[0])
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=1e-5, rtol=1e-3)


def test_networks_that_nobody_asks_any_more_go_home_when_room_is_needed() -> None:
    economy = Economy()
    once, always, late, resident = (torch.nn.Linear(1, 1) for _ in range(4))
    for network in (once, always, late):
        economy.adopt(network)
    economy.adopt(resident, resident=True)

    def ask(network: torch.nn.Module) -> None:
        with economy.at_work(network):
            assert id(network) in economy.asked

    ask(once)
    for _ in range(IDLE_CALLS + 1):
        ask(always)
    assert id(once) in economy.asked  # nobody needed its room
    ask(late)
    assert {id(always), id(late)} == set(economy.asked)
    economy.use(TIERS[-1])
    ask(always)
    assert set(economy.asked) == set()


# ---- refusals --------------------------------------------------------------------------------


def test_a_family_that_is_not_whole_names_what_it_lacks_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        MissingComponentError, match=r"without stable-diffusion, .*weights get --preset paper"
    ):
        full_priors(tmp_path, Priors(shape=Inflation()), Economy())


def test_a_network_in_pickled_files_alone_is_refused(tmp_path: Path, root: Path) -> None:
    from diffusers import UNet2DConditionModel

    from geneman.priors.folders import read_network

    network = UNet2DConditionModel.from_pretrained(root / "geneman-2d")
    network.save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.glob("*.bin"))
    with pytest.raises(MissingComponentError, match="must hold a UNet2DConditionModel"):
        read_network(UNet2DConditionModel, tmp_path)
