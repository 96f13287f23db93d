"""The bundled view prior: cameras as it is told of them, layers in their places, one photo."""

import dataclasses
import math

import pytest
import torch

from geneman.camera import REFERENCE, Orbit
from geneman.priors.bundle import Guidance, GuidancePrior, Priors, Views, ViewSampler, ViewsPrior
from geneman.priors.bundled.family import with_views
from geneman.priors.bundled.image_prior import HumanImages
from geneman.priors.bundled.inflation import Inflation
from geneman.priors.bundled.sketch import Sheets
from geneman.priors.bundled.view_model import ViewModel, channels, put
from geneman.priors.bundled.view_network import (
    ABSENT,
    KNOWN,
    LAYERS,
    NOISY,
    STANDARD_SHAPE,
    ViewNetwork,
    ViewShape,
    folded,
    read_view_weights,
    unfolded,
    view_scheduler,
    write_view_weights,
)
from geneman.priors.bundled.view_prior import ColourJudge, NormalJudge, ViewPainter
from geneman.priors.relative_camera import relative_camera
from tests.pretend_cuda import pretend_cuda
from tests.synthetic import figure_view

TINY = ViewShape(size=32, patch=2, levels=(8, 8, 16, 16), token=8, heads=2, groups=4)
ORBITS = (Orbit(90.0), Orbit(180.0, 15.0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = ViewNetwork(TINY).eval().requires_grad_(requires_grad=False)
    # A fresh network's last convolution is small: what it is told would hardly show.
    for parameter in network.unet.conv_out.parameters():
        parameter.mul_(3)
    return ViewModel(network, steps=2)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- cameras --------------------------------------------------------------------------------


def test_the_photos_own_camera_has_zero_one_to_threes_rest_values():
    assert relative_camera(REFERENCE, [REFERENCE]).tolist() == [[0, 0, 1, 0, 0, 0, 0, 0]]


def test_signs_and_units_are_the_papers():
    """METHOD section 9: target minus condition; the polar angle is measured from the up axis."""
    higher = relative_camera(REFERENCE, [Orbit(elevation_deg=30)])[0]
    assert higher[0].item() == pytest.approx(-math.radians(30))
    left = relative_camera(REFERENCE, [Orbit(azimuth_deg=90)])[0]
    assert left[1:3].tolist() == pytest.approx([1, 0], abs=1e-6)
    away = relative_camera(REFERENCE, [Orbit(distance=3.5)])[0]
    assert away[3].item() == pytest.approx(0.5)
    assert relative_camera(Orbit(30, 10), [Orbit(30, 10)])[0, :4].tolist() == [0, 0, 1, 0]


def test_a_close_view_says_how_close_and_of_what():
    near = Orbit(fov_deg=10, centre=(0.1, -0.2, 0.3))
    told = relative_camera(REFERENCE, [near])[0]
    assert told[4].item() == pytest.approx(math.log(near.focal / REFERENCE.focal))
    # The reference camera stands on -y: its right is x, its up is z, towards it is -y.
    assert told[5:].tolist() == pytest.approx([0.1, 0.3, 0.2])


# ---- the network ----------------------------------------------------------------------------


def test_the_standard_network_fits_its_budget():
    count = sum(parameter.numel() for parameter in ViewNetwork(STANDARD_SHAPE).parameters())
    assert 2 * count < 20e6  # bytes in half precision; 40 MB are for all priors
    assert STANDARD_SHAPE.side == 32


def test_folding_comes_back_and_layers_keep_their_places():
    pictures = torch.rand(2, 7, 8, 8, generator=drawn())
    patches = folded(pictures, 2)
    assert patches.shape == (2, 28, 4, 4)
    torch.testing.assert_close(unfolded(patches, 2), pictures)
    for name, layer in zip(LAYERS, pictures.split(list(LAYERS.values()), dim=1), strict=True):
        torch.testing.assert_close(patches[:, channels((name,), 2)], folded(layer, 2))
        changed = put(patches, {name: torch.zeros_like(folded(layer, 2))}, 2)
        assert (changed == 0).float().mean().item() == pytest.approx(layer.shape[1] / 7)
    assert put(patches, {}, 2) is patches


def test_nothing_of_the_picture_is_left_at_the_last_time_and_strides_end_clean():
    scheduler = view_scheduler()
    assert scheduler.alphas_cumprod[-1] == 0
    assert scheduler.config.prediction_type == "v_prediction"
    assert len(scheduler.alphas_cumprod) == 1000


def test_weights_come_back_from_half_precision_with_shape_and_record(model, tmp_path):
    path = tmp_path / "view.safetensors"
    write_view_weights(path, TINY, model.network.state_dict(), {"steps": 3})
    network, record = read_view_weights(path)
    assert network.shape == TINY
    assert record == {"steps": 3}
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, model.network.state_dict()[name], atol=2e-3, rtol=1e-3)
    with pytest.raises(FileNotFoundError):
        read_view_weights(tmp_path / "none.safetensors")


# ---- what it is told ------------------------------------------------------------------------


def test_what_is_there_what_is_known_and_what_the_photo_shows_are_told(model):
    photo = model.photographed(figure_view(64))
    conditions = photo.conditions(ORBITS, ("colour", "normal"), known=("normal",))
    assert conditions.given["present"].tolist() == [[NOISY, ABSENT, KNOWN]] * 2
    assert conditions.given["tokens"].abs().sum() > 0
    assert conditions.absent["tokens"].abs().sum() == 0
    for name in ("patches", "sketch"):
        assert conditions.given[name].abs().sum() > 0
        assert conditions.absent[name].abs().sum() == 0
    assert torch.equal(conditions.absent["camera"], relative_camera(REFERENCE, ORBITS))


def test_with_the_photo_dropped_people_in_general_are_judged(model):
    """The same for every photo, and another for another side; the photo's judge differs."""
    first = figure_view(64)
    other = dataclasses.replace(first, colour=1 - first.colour)
    images = torch.rand(1, 64, 64, 3, generator=drawn(1))

    def judged(prior, view, orbit):
        guidance = prior.condition(view)
        assert isinstance(prior, GuidancePrior)
        assert isinstance(guidance, Guidance)
        return guidance(images, [orbit], noise=(0.3, 0.3), generator=drawn()).item()

    people = HumanImages(model)
    assert judged(people, first, ORBITS[0]) == judged(people, other, ORBITS[0])
    assert judged(people, first, ORBITS[0]) != judged(people, first, ORBITS[1])
    colours = ColourJudge(model)
    assert judged(colours, first, ORBITS[0]) != judged(colours, other, ORBITS[0])
    assert judged(colours, first, ORBITS[0]) != judged(NormalJudge(model), first, ORBITS[0])


def test_the_judges_gradient_reaches_every_pixel(model):
    images = torch.rand(2, 48, 48, 3, generator=drawn(1)).requires_grad_()
    guidance = ColourJudge(model).condition(figure_view(64))
    guidance(images, ORBITS, noise=(0.2, 0.5), generator=drawn()).backward()
    assert (images.grad != 0).all()
    assert torch.isfinite(images.grad).all()


# ---- drawn views ----------------------------------------------------------------------------


def views(model, orbits=ORBITS, seed=0, **options):
    sampler = ViewPainter(model, **options).condition(figure_view(64))
    assert isinstance(sampler, ViewSampler)
    return sampler(orbits, generator=drawn(seed))


def test_views_are_pictures_with_unit_normals_and_a_confidence(model):
    assert isinstance(ViewPainter(model), ViewsPrior)
    found = views(model)
    assert isinstance(found, Views)
    assert found.orbits == ORBITS
    assert found.colour.shape == (2, 32, 32, 3)
    for image in (found.colour, found.mask, found.colour_confidence, found.normal_confidence):
        assert 0 <= image.min() <= image.max() <= 1
    torch.testing.assert_close(found.normal.norm(dim=-1), torch.ones(2, 32, 32))


def test_the_same_seed_draws_the_same_views_however_they_are_batched(model):
    alone, together = views(model, batch=1), views(model, batch=2)
    # Half precision rounds differently in batches.
    assert (alone.colour - together.colour).abs().mean() < 0.02
    assert torch.equal(alone.colour, views(model, batch=1).colour)
    assert not torch.allclose(alone.colour, views(model, seed=1, batch=1).colour, atol=0.1)


def test_where_drawings_differ_the_prior_is_unsure_and_one_alone_is_sure(model):
    assert (views(model, drawings=1).colour_confidence == 1).all()
    assert views(model, drawings=2).colour_confidence.mean() < 0.9


def test_views_of_a_given_shape_have_its_mask_and_normals(model):
    truth = [figure_view(64, orbit) for orbit in ORBITS]
    normals = torch.stack([(v.normal * 0.5 + 0.5) * v.mask[..., None] for v in truth])
    masks = torch.stack([view.mask for view in truth])
    sampler = ViewPainter(model).condition(figure_view(64))
    found = sampler(ORBITS, generator=drawn(), normals=normals, masks=masks)
    small = torch.nn.functional.avg_pool2d(masks, 2)
    torch.testing.assert_close(found.mask, small, atol=1e-5, rtol=0)
    assert (found.normal_confidence == 1).all()
    inside = small == 1
    wanted = torch.stack([v.normal for v in truth])[:, ::2, ::2][inside]
    assert (found.normal[inside] * wanted).sum(dim=1).median() > 0.98


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_priors_follow_the_photo_to_its_device(tmp_path, monkeypatch):
    """The weights are read into main memory, whatever device the photo comes from later."""
    path = tmp_path / "view.safetensors"
    write_view_weights(path, TINY, ViewNetwork(TINY).state_dict(), {})
    with pretend_cuda(monkeypatch) as cuda:
        there = moved(figure_view(64), cuda)
        prior = ViewModel.from_file(path)
        found = ViewPainter(prior, drawings=1).condition(there)(ORBITS, generator=drawn())
        assert found.colour.device == found.normal.device == cuda
        images = torch.rand(1, 48, 48, 3, device=cuda)
        for judge in (ColourJudge(prior), NormalJudge(prior), HumanImages(prior)):
            guidance = judge.condition(there)
            loss = guidance(images, ORBITS[:1], noise=(0.3, 0.3), generator=drawn())
            assert loss.device == cuda


def moved(value, device):
    """Give a view, or what is in it, on another device."""
    if dataclasses.is_dataclass(value) and not isinstance(value, Orbit):
        names = [field.name for field in dataclasses.fields(value)]
        return type(value)(**{name: moved(getattr(value, name), device) for name in names})
    return value.to(device) if isinstance(value, torch.Tensor) else value


def test_a_sketch_is_drawn_once_for_all_drawings_and_not_where_the_photo_is_dropped(
    model, monkeypatch
):
    counted = []
    picture = Sheets.picture

    def count(sheets, orbit, size):
        counted.append(orbit)
        return picture(sheets, orbit, size)

    monkeypatch.setattr(Sheets, "picture", count)
    views(model, drawings=3)
    assert counted == list(ORBITS)
    photo = model.photographed(figure_view(64))
    photo.conditions(ORBITS, ("colour",), forgotten=True)
    assert counted == list(ORBITS)


# ---- the family -----------------------------------------------------------------------------


def test_weights_join_the_bundle_if_there_are_any_and_replace_nothing(model, tmp_path):
    bundle = Priors(shape=Inflation(), image=HumanImages(model))
    assert with_views(bundle, tmp_path / "view.safetensors") is bundle
    path = tmp_path / "view.safetensors"
    write_view_weights(path, TINY, model.network.state_dict(), {})
    whole = with_views(bundle, path)
    assert whole.image is bundle.image
    assert whole.shape is bundle.shape
    assert isinstance(whole.views, ViewPainter)
    assert isinstance(whole.novel_view, ColourJudge)
    assert isinstance(whole.normal, NormalJudge)
    assert whole.depth is None
    assert whole.editor is None
