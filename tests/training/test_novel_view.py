"""Training Zero-1-to-3 on people: what is told and dropped, stops, and the folder that is left."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geneman.camera import REFERENCE, Orbit
from geneman.cli.train import command
from geneman.curation.rings import Rings, draw_ring, is_plain
from geneman.curation.synthetic.sample import Person
from geneman.errors import MissingComponentError, OptionError
from geneman.priors import weights
from geneman.priors.diffusion import Diffusion
from geneman.priors.economy import Economy
from geneman.priors.novel_view import NovelViewJudge, ZeroOneToThree, photo_conditions
from geneman.priors.relative_camera import relative_camera
from geneman.priors.zero123_checkpoint import in_diffusers_layout
from geneman.progress import Cancelled, StepDone, silent
from geneman.training import learning_curves, novel_view
from geneman.training.checkpoints import NoCheckpoints
from geneman.training.half_precision import GradientScale, type_of
from geneman.training.loop import minimise
from geneman.training.novel_view import NovelViewTraining, draw_chances, losses, told
from geneman.training.novel_view_model import MODEL, PARTS, Denoiser, begin
from geneman.training.photo_dropout import draw_known
from geneman.training.view_batches import Pairs, Pool, pair_of
from tests.curation.rig import boxes
from tests.full_weights import WIDTH, write_zero123
from tests.synthetic import figure_view

CPU = torch.device("cpu")
SIZE = 32
QUICK = NovelViewTraining(
    batch=2,
    pool=3,
    size=SIZE,
    workers=0,
    validation=2,
    learning_rate=1e-3,
    projection_rate=10.0,
    warm_up=2,
    ema=0.9,
)
SAID = {"command": "geneman train novel-view x", "start": "zero123-xl"}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("start") / "zero123"
    write_zero123(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered people for training (000) and validation (001)."""
    place = tmp_path_factory.mktemp("rings")
    person = Person.of(boxes())
    for seed, count in ((0, 6), (1, 2)):
        for index in range(count):
            random = np.random.default_rng((seed, index))
            ring = draw_ring(person, random, SIZE, 8, plain=True)
            (place / f"{seed:03}-{index:07}.safetensors").write_bytes(ring.to_bytes())
    return place


def rings(folder: Path) -> tuple[Rings, Rings]:
    return (
        Rings((), SIZE, 8, 0, folder=folder, limit=6, plain=True),
        Rings((), SIZE, 8, 1, folder=folder, plain=True),
    )


@pytest.fixture
def model(start: Path) -> ZeroOneToThree:
    return ZeroOneToThree.from_folder(start, Economy())


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Pairs:
    source = rings(folder)[0]
    return Pairs.joined([pair_of(source.ring(index), 0, CPU) for index in range(2)])


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- what is shown --------------------------------------------------------------------------


def test_plain_rings_look_from_all_around_at_the_photo_s_distance(folder: Path) -> None:
    for index in range(6):
        orbits = rings(folder)[0].ring(index).orbits
        assert all(map(is_plain, orbits))
        assert len({round(orbit.azimuth_deg) for orbit in orbits}) == 8
        assert all(-10 <= orbit.elevation_deg <= 45 for orbit in orbits)
        assert relative_camera(REFERENCE, orbits)[:, 3:].abs().max() == 0


def test_rings_that_look_closely_are_refused(tmp_path: Path) -> None:
    person = Person.of(boxes())
    ring = draw_ring(person, np.random.default_rng(0), SIZE, 8)
    assert not all(map(is_plain, ring.orbits))
    (tmp_path / "000-0000000.safetensors").write_bytes(ring.to_bytes())
    with pytest.raises(OptionError, match=r"close views in '000-0000000.*each prior has its own"):
        Rings((), SIZE, 8, 0, folder=tmp_path, plain=True).ring(0)


def test_photos_and_views_are_told_as_they_are_when_it_is_asked(
    model: ZeroOneToThree, folder: Path
) -> None:
    """Token and latents of a step are those that `NovelViewJudge` gives the same photo."""
    ring = rings(folder)[0].ring(2)
    seen = told(model, pair_of(ring, 3, CPU))
    colour, cover = ring.photo[..., :3] / 255, ring.photo[..., 3:] / 255
    embedding, beside = model.look((colour * cover + 1 - cover)[None])
    torch.testing.assert_close(seen.embedding, embedding, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(seen.photo, beside, atol=1e-5, rtol=1e-4)
    view = ring.views[3, ..., :3].float() / 255
    torch.testing.assert_close(seen.latents, model.codec.encode(view[None]))
    wanted = photo_conditions(model.projection, embedding, beside, REFERENCE, ring.orbits[3:4])
    token = model.projection(seen.embedding, seen.camera)
    torch.testing.assert_close(token, wanted.given["token"], atol=1e-5, rtol=1e-4)


def test_the_camera_has_the_papers_signs_and_mirrors_with_its_picture(pairs: Pairs) -> None:
    camera = relative_camera(REFERENCE, [Orbit(30.0, 20.0)] * 2)
    once = Pairs(pairs.photo, pairs.picture, camera).mirrored(torch.tensor([False, True]))
    up, aside = -math.radians(20), math.sin(math.radians(30))
    across = math.cos(math.radians(30))
    wanted = torch.tensor([[up, aside, across, 0.0], [up, -aside, across, 0.0]])
    torch.testing.assert_close(once.camera[:, :4], wanted)


def test_three_disjoint_buckets_of_five_per_cent_and_none_of_nothing() -> None:
    known = draw_known(40_000, 0.05, drawn())
    tokens, patches = ~known.tokens, ~known.patches
    for bucket in (tokens & ~patches, patches & ~tokens, tokens & patches):
        assert bucket.float().mean().item() == pytest.approx(0.05, abs=0.005)
    whole = draw_known(1000, 0.0, drawn())
    assert whole.tokens.all()
    assert whole.patches.all()
    assert torch.equal(draw_chances((40_000, 1, 1, 1), 10, 0.05, drawn()).times, drawn_times())


def drawn_times() -> torch.Tensor:
    return torch.randint(10, (40_000,), generator=drawn())


class Listening(Denoiser):
    """Writes down what it is asked."""

    def forward(self, noisy, times, **known):
        self.noisy, self.known = noisy, known
        return super().forward(noisy, times, **known)


def test_a_dropped_photo_leaves_the_camera_and_the_loss_is_the_noise_s(
    model: ZeroOneToThree, pairs: Pairs
) -> None:
    network = Listening(model.unet, model.projection)
    diffusion = Diffusion(network, model.scheduler)
    seen = told(model, pairs)
    draws = draw_chances((*seen.latents.shape,), diffusion.length, 0.05, drawn())
    known = dataclasses.replace(
        draws.known, tokens=torch.tensor([False, True]), patches=torch.tensor([True, False])
    )
    draws = dataclasses.replace(draws, known=known)
    loss = losses(network, diffusion, seen, draws, GradientScale(torch.float32))["noise"]
    assert network.known["embedding"][0].abs().max() == 0
    assert network.known["photo"][1].abs().max() == 0
    assert torch.equal(network.known["embedding"][1], seen.embedding[1])
    assert torch.equal(network.known["photo"][0], seen.photo[0])
    assert torch.equal(network.known["camera"], pairs.camera[:, :4])  # before the projection
    left = model.scheduler.alphas_cumprod[draws.times][:, None, None, None]
    noisy = left.sqrt() * seen.latents + (1 - left).sqrt() * draws.noise
    torch.testing.assert_close(network.noisy, noisy)
    token = model.projection(network.known["embedding"], seen.camera)
    both = torch.cat([noisy, network.known["photo"]], 1)
    wanted = model.unet(both, draws.times, token).sample - draws.noise
    torch.testing.assert_close(loss, wanted.square().mean())


# ---- a whole training -----------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["single", "bf16", "fp16"])
def test_a_few_steps_learn_one_batch(model: ZeroOneToThree, pairs: Pairs, precision: str) -> None:
    kind = type_of(precision, CPU)
    network = Denoiser(model.unet, model.projection).requires_grad_(True).train()
    diffusion, scale = Diffusion(network, model.scheduler), GradientScale(kind)
    seen = told(model, pairs)
    draws = draw_chances((*seen.latents.shape,), diffusion.length, 0.0, drawn())
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    totals = []
    for _ in range(40):
        with torch.autocast("cpu", kind, enabled=kind != torch.float32):
            loss = losses(network, diffusion, seen, draws, scale)["noise"]
        optimiser.zero_grad()
        loss.backward()
        scale.settle(network.parameters(), 1.0)
        optimiser.step()
        totals.append(loss.item())
    assert totals[-1] < 0.7 * totals[0]


def stop_at(step: int):
    def report(event: object) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise Cancelled

    return report


def train(folder: Path, start: Path | None, out: Path, report=silent, **settings) -> None:
    config = dataclasses.replace(QUICK, **settings)
    novel_view.train(rings(folder), start, out, config, report, device=CPU, said=SAID)


@pytest.mark.parametrize("precision", ["single", "fp16"])
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    folder: Path, start: Path, tmp_path: Path, precision: str
) -> None:
    settings = {"precision": precision, "accumulate": 2}
    with pytest.raises(Cancelled):
        train(folder, start, tmp_path / "straight", stop_at(5), **settings)
    for step in (2, 5):
        # Once begun, a folder has all that it needs.
        begun = start if step == 2 else None
        with pytest.raises(Cancelled):
            train(folder, begun, tmp_path / "halting", stop_at(step), **settings)
    states = [
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("straight", "halting")
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    for weight in ("unet.conv_out.weight", "projection.linear.weight"):
        before = states[0][f"network/{weight}"]
        assert not torch.equal(before, states[0][f"average/module.{weight}"])


def test_the_first_step_is_the_mean_of_its_batches_at_the_warmed_rates(
    folder: Path, start: Path, model: ZeroOneToThree, tmp_path: Path
) -> None:
    said = []

    def report(event: object) -> None:
        if isinstance(event, StepDone):
            said.append(event.losses["noise"])
            raise Cancelled

    with pytest.raises(Cancelled):
        train(folder, start, tmp_path, report, accumulate=2)
    # The same draws, in the same order, by hand.
    generator, pool = drawn(QUICK.seed), Pool(rings(folder)[0], QUICK.pool, 0, CPU)
    network = Denoiser(model.unet, model.projection)
    diffusion = Diffusion(network, model.scheduler)
    pool.advance(0)
    each = []
    for _ in range(2):
        pairs = pool.draw(QUICK.batch, generator)
        seen = told(model, pairs.mirrored(torch.rand(QUICK.batch, generator=generator) < 0.5))
        draws = draw_chances((*seen.latents.shape,), 1000, QUICK.dropped, generator)
        each.append(losses(network, diffusion, seen, draws, GradientScale(torch.float32))["noise"])
    assert said == [pytest.approx(float(sum(each)) / 2, rel=1e-5)]
    # Adam's first step is its rate, whatever the gradient: half of it, ten times for the camera.
    state = load_file(tmp_path / "checkpoint.safetensors")
    for part, module, rate in (("unet", model.unet, 5e-4), ("projection", model.projection, 5e-3)):
        before = module.state_dict()
        moved = [
            float((state[f"network/{part}.{name}"] - value).abs().max())
            for name, value in before.items()
        ]
        assert max(moved) == pytest.approx(rate, rel=0.05)


def test_a_step_in_parts_is_the_step_at_once_and_asks_for_each_part_after_the_last() -> None:
    """The loop's part of it, on numbers: three thirds of a batch, one in memory at a time."""
    points = torch.randn(6, 3, generator=drawn(4))
    ends, told_losses, had = [], [], []
    for parts in (1, 3):
        weight = torch.nn.Parameter(torch.ones(3))

        def objective(step: int, weight=weight, parts=parts):
            for part in points.chunk(parts):
                had.append(None if weight.grad is None else weight.grad.clone())
                error = ((part * weight).sum(dim=1) - step).square().mean()
                yield {"error": error / parts, "size": weight.square().sum() / parts}

        minimise(
            objective,
            torch.optim.Adam([weight], 0.1),
            stage="parts",
            steps=4,
            report=lambda event: isinstance(event, StepDone) and told_losses.append(event.losses),
            checkpoints=NoCheckpoints(),
            parts={},
            generator=drawn(),
        )
        ends.append(weight.detach())
    torch.testing.assert_close(ends[0], ends[1])
    for whole, summed in zip(told_losses[:4], told_losses[4:], strict=True):
        assert summed == pytest.approx(whole, rel=1e-5)
    assert [gradient is None for gradient in had] == [True] * 4 + [True, False, False] * 4


def test_its_folder_is_read_by_the_prior_and_judges(
    folder: Path, start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    train(folder, start, out, minutes=1e-9)
    made = out / MODEL
    assert {path.name for path in made.iterdir()} == {*PARTS, "README.md"}
    model = ZeroOneToThree.from_folder(made, Economy())
    image = torch.rand(1, 40, 40, 3, generator=drawn()).requires_grad_()
    judge = NovelViewJudge(model).condition(figure_view(64))
    judge(image, [Orbit(50.0)], noise=(0.2, 0.5), generator=drawn()).backward()
    assert image.grad.abs().max() > 0
    state = load_file(out / "checkpoint.safetensors")
    average = {
        name.removeprefix("average/module.unet."): value
        for name, value in state.items()
        if name.startswith("average/module.unet.")
    }
    kept = load_file(made / "unet/diffusion_pytorch_model.safetensors")
    assert kept.keys() == average.keys()
    assert all(torch.equal(kept[name], value) for name, value in average.items())
    begun = load_file(start / "unet/diffusion_pytorch_model.safetensors")
    assert not torch.equal(kept["conv_out.weight"], begun["conv_out.weight"])
    for part in ("vae/diffusion_pytorch_model", "image_encoder/model"):
        frozen = [load_file(place / f"{part}.safetensors") for place in (start, made)]
        assert all(torch.equal(frozen[1][name], value) for name, value in frozen[0].items())
    rows = learning_curves.read(out / "learning.csv")
    assert [row["step"] for row in rows] == [1]
    assert {"noise", "noise_at_200", "noise_at_800", "colour_error"} <= set(rows[0])
    assert all(math.isfinite(value) for value in rows[0].values())
    card = (made / "README.md").read_text()
    for said in ("geneman train novel-view x", "zero123-xl", "Licence", "1 steps", "noise_at_500"):
        assert said in card
    for picture in ("learning.png", "samples.png"):
        assert (out / picture).read_bytes()[1:4] == b"PNG"
    train(folder, None, out, minutes=1e-9)
    assert [row["step"] for row in learning_curves.read(out / "learning.csv")] == [1, 2]


def test_its_folder_takes_the_published_weights_place(
    folder: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    train(folder, start, tmp_path / "out", minutes=1e-9)
    weights.get("geneman-3d", accept=True, source=tmp_path / "out" / MODEL)
    assert weights.present("geneman-3d")
    place = weights.folder("geneman-3d")
    assert in_diffusers_layout(place, place / weights.CONVERTED) == place
    pair = [
        ZeroOneToThree.from_folder(each, Economy()) for each in (tmp_path / "out" / MODEL, place)
    ]
    state = pair[1].unet.state_dict()
    assert all(torch.equal(state[name], value) for name, value in pair[0].unet.state_dict().items())


def test_what_cannot_begin_is_told(folder: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"no --start-from.*diffusers"):
        begin(None, tmp_path)
    (tmp_path / "half" / "unet").mkdir(parents=True)
    with pytest.raises(MissingComponentError, match="without vae, image_encoder"):
        begin(tmp_path / "half", tmp_path)
    with pytest.raises(
        OptionError, match="pictures of 32 pixels, but got 64: train with --size 32"
    ):
        train(folder, start, tmp_path / "out", size=64)


def test_the_command_starts_trains_and_goes_on(
    folder: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    settings = "--size 32 --batch 1 --pool 1 --workers 0 --validation 1 --minutes 1e-9"
    arguments = ["novel-view", "--rings", str(folder), "--limit", "2", "-o", str(out)]
    with pytest.raises(OptionError, match="no --start-from"):
        command([*arguments, *settings.split()])
    assert command([*arguments, "--start-from", str(start), *settings.split()]) == 0
    assert str(out / MODEL) in capsys.readouterr().out
    assert "--limit 2" in (out / MODEL / "README.md").read_text()
    assert command([*arguments, *settings.split()]) == 0
    assert [row["step"] for row in learning_curves.read(out / "learning.csv")] == [1, 2]
    projection = load_file(out / MODEL / "cc_projection/cc_projection.safetensors")
    assert len(projection["linear.bias"]) == WIDTH
