import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from geneman.errors import MapError, MissingComponentError, PhotoError
from geneman.preprocess.given_maps import GivenMaps
from geneman.preprocess.pictures import save_pictures
from geneman.preprocess.prepare import PrepareConfig, run
from geneman.priors import weights
from geneman.priors.bundle import Priors, Surfaces
from geneman.progress import ImagePreview, StageStarted, StepDone
from geneman.view import Framing, HiddenSide
from tests.preprocess.photos import PAPER, needs_paper_examples, needs_person_models

CPU = torch.device("cpu")


class Flat:
    """A shape prior for which everybody is a cardboard figure, unless maps say more."""

    name = "cardboard"

    def surfaces(self, colour, mask, landmarks, framing, *, normal=None, depth=None):
        towards = torch.zeros_like(colour)
        towards[..., 2] = 1
        front = torch.full_like(mask, 3.0) if depth is None else depth
        normal = towards if normal is None else normal
        return Surfaces(normal, front, HiddenSide(front + 0.1, -towards, colour))


def prepared(photo, *, size=256, face=True, report=lambda event: None, **given):
    return run(
        photo,
        given=GivenMaps(**given),
        priors=Priors(shape=Flat()),
        config=PrepareConfig(size=size, face=face),
        device=CPU,
        report=report,
    )


def figure():
    """A red cross-shaped figure before a green wall, and its mask."""
    mask = np.zeros((300, 200), bool)
    mask[20:280, 80:120] = True
    mask[100:130, 40:160] = True
    photo = np.where(mask[..., None], (200, 30, 30), (30, 160, 30)).astype(np.uint8)
    return photo, mask


@pytest.fixture
def astronaut(tmp_path):
    path = tmp_path / "astronaut.png"
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "empty"))


def saved(values, path):
    np.save(path, values) if path.suffix == ".npy" else Image.fromarray(values).save(path)
    return path


def test_maps_of_the_photos_size_are_recentred_with_it(tmp_path, no_weights):
    photo, mask = figure()
    normal = np.zeros((300, 200, 3), np.uint8)
    normal[mask] = (255, 128, 128)
    depth = np.where(mask, 30_000, 0).astype(np.uint16)
    done = prepared(
        saved(photo, tmp_path / "photo.png"),
        mask=saved(mask, tmp_path / "mask.npy"),
        normal=saved(normal, tmp_path / "normal.png"),
        depth=saved(depth, tmp_path / "depth.png"),
        prompt="a cross",
    )
    view, inside = done.view, done.view.inside
    rows, columns = torch.nonzero(inside).T
    assert rows.max() - rows.min() + 1 == pytest.approx(0.9 * 256, abs=2)
    assert (columns.max() + columns.min() + 1) / 2 == pytest.approx(128, abs=1)
    red = torch.tensor([200, 30, 30]) / 255
    assert (view.colour[inside] - red).abs().max() < 0.02  # none of the green
    # (-1, -1, -1) lies outside: had it bled in, x would be smaller at the rim.
    assert (view.normal[inside] - torch.tensor([1.0, 0, 0])).abs().max() < 0.01
    assert view.depth[inside].std() < 1e-5
    assert (view.normal.norm(dim=-1) - 1).abs().max() < 1e-5
    assert view.prompt == "a cross"
    assert done.sources == {
        "mask": "given",
        "landmarks": "none: the person models have not been fetched",
        "normal": "given",
        "depth": "given",
        "prompt": "given",
        "hidden": "cardboard",
    }


def test_the_alpha_channel_is_a_mask(tmp_path, no_weights):
    photo, mask = figure()
    rgba = np.dstack([photo, mask * np.uint8(255)])
    done = prepared(saved(rgba, tmp_path / "photo.png"))
    given = prepared(saved(photo, tmp_path / "opaque.png"), mask=saved(mask, tmp_path / "mask.npy"))
    assert done.sources["mask"] == "the photo's alpha"
    torch.testing.assert_close(done.view.mask, given.view.mask, atol=0.02, rtol=0)


def test_without_models_a_photo_needs_a_mask(tmp_path, no_weights):
    photo, _ = figure()
    with pytest.raises(MissingComponentError, match="geneman weights get person"):
        prepared(saved(photo, tmp_path / "photo.png"))


def test_a_faint_alpha_channel_is_refused(tmp_path, no_weights):
    photo, mask = figure()
    path = saved(np.dstack([photo, mask * np.uint8(90)]), tmp_path / "photo.png")
    with pytest.raises(PhotoError, match="nowhere more than half opaque"):
        prepared(path)


@needs_person_models
def test_a_photo_alone_becomes_a_whole_view(astronaut):
    events = []
    done = prepared(astronaut, size=512, report=events.append)
    view = done.view
    assert view.framing is Framing.HALF_BODY
    assert view.size == 512
    assert view.colour.shape == (512, 512, 3)
    assert 0.3 < view.mask.mean() < 0.7
    nose, left, right = view.landmarks[0], view.landmarks[11], view.landmarks[12]
    assert left[0] > nose[0] > right[0]
    assert nose[1] > left[1]
    assert view.prompt == "a half body photo of a person"
    assert done.sources["mask"] == "mediapipe and matting"
    assert isinstance(events[0], StageStarted)
    assert [event.step for event in events if isinstance(event, StepDone)] == [0, 1, 2]
    assert sum(isinstance(event, ImagePreview) for event in events) == 2


@needs_person_models
def test_preparing_twice_gives_the_same_bits(astronaut):
    first, second = (prepared(astronaut).view for _ in range(2))
    for name in ("colour", "mask", "landmarks"):
        assert torch.equal(getattr(first, name), getattr(second, name))


@needs_person_models
def test_the_face_is_laid_into_the_relief_unless_it_shall_not_be(astronaut):
    seen, unseen = (prepared(astronaut, face=face).view for face in (True, False))
    assert torch.equal(unseen.normal[..., 2], torch.ones(256, 256))
    assert (seen.normal[..., 2] < 0.9).any()
    nose = seen.landmarks[0]
    rows = (seen.normal[..., 2] < 0.9).nonzero()[:, 0]
    assert abs(rows.float().mean() / 128 - 1 + nose[1]) < 0.15, "only around the nose"


@needs_person_models
def test_a_views_pictures_can_be_given_back_with_the_photo(astronaut, tmp_path):
    first = prepared(astronaut, size=640).view
    save_pictures(first, tmp_path / "maps")
    maps = tmp_path / "maps"
    given = {name: maps / f"{name}.png" for name in ("mask", "normal", "depth")}
    again = prepared(astronaut, size=640, landmarks=maps / "landmarks.npy", **given).view
    assert ((again.mask > 0.5) == (first.mask > 0.5)).float().mean() > 0.999
    inside = first.inside & again.inside
    assert (again.colour - first.colour)[inside].abs().mean() < 0.02
    assert (again.normal * first.normal).sum(-1)[inside].min() > 0.999
    assert torch.equal(again.landmarks, first.landmarks)


@needs_person_models
def test_anothers_recentred_maps_are_refused(astronaut, tmp_path):
    other = np.zeros((640, 640), bool)
    other[32:608, 290:350] = True
    with pytest.raises(MapError, match="must show the photo's person, recentred, but got"):
        prepared(astronaut, mask=saved(other, tmp_path / "mask.npy"))


@needs_person_models
def test_rembg_is_used_where_it_and_its_weights_are_installed(astronaut, tmp_path, monkeypatch):
    package = tmp_path / "site/rembg"
    package.mkdir(parents=True)
    # What rembg promises, at its smallest: the left part of the picture is the subject.
    (package / "__init__.py").write_text(
        "from PIL import Image\n"
        "def new_session(name):\n    return name\n"
        "def remove(photo, session, only_mask):\n"
        "    mask = Image.new('L', photo.size)\n"
        "    mask.paste(255, (0, 0, photo.width // 2, photo.height))\n"
        "    return mask\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    assert prepared(astronaut).sources["mask"] == "mediapipe and matting"  # no weights yet
    (tmp_path / "u2net.onnx").touch()
    done = prepared(astronaut)
    monkeypatch.delitem(sys.modules, "rembg")
    assert done.sources["mask"] == "rembg"
    assert done.view.mask.mean() == pytest.approx(0.9 * 0.45, abs=0.01)


@needs_person_models
@needs_paper_examples
def test_the_papers_maps_lie_on_its_photo():
    maps = {
        name: Path(PAPER / f"man_001_{name}{suffix}")
        for name, suffix in {
            "mask": ".npy",
            "normal": ".png",
            "depth": ".png",
            "landmarks": ".npy",
        }.items()
    }
    view = prepared(PAPER / "man_001.png", size=1024, **maps).view
    cut = np.asarray(Image.open(PAPER / "man_001_fg.png").convert("RGB"), np.float32) / 255
    theirs = torch.from_numpy(cut)
    assert (view.colour - theirs)[view.inside].abs().mean() < 0.03
    assert view.framing is Framing.FULL_BODY
    assert torch.equal(view.landmarks, torch.from_numpy(np.load(maps["landmarks"])))
