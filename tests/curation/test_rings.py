"""People seen from all around: what a ring's layers mean, where they lie, how files keep them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geneman.camera import REFERENCE, Orbit
from geneman.curation.ring import Ring
from geneman.curation.rings import Rings, draw_ring
from geneman.curation.synthetic.sample import Person
from geneman.errors import OptionError
from geneman.priors.bundled.geometry_prior import GeometryPrior
from geneman.training.view_sketches import GuessedViews
from tests.curation.rig import boxes, narrow, sketched
from tests.synthetic import figure_view


@pytest.fixture(scope="module")
def person():
    return Person.of(boxes())


@pytest.fixture(scope="module")
def folder(person, tmp_path_factory):
    """Rendered people."""
    place = tmp_path_factory.mktemp("rings")
    for index in range(6):
        ring = draw_ring(person, np.random.default_rng((0, index)), 32, 4)
        (place / f"000-{index:07}.safetensors").write_bytes(ring.to_bytes())
    return place


def test_a_ring_comes_back_from_its_file(person, tmp_path):
    plain = draw_ring(person, np.random.default_rng(1), 32, 4)
    (tmp_path / "ring").write_bytes(plain.to_bytes())
    assert Ring.read(tmp_path / "ring").sketches is None
    ring = sketched(plain)
    (tmp_path / "ring").write_bytes(ring.to_bytes())
    again = Ring.read(tmp_path / "ring")
    assert again.orbits == ring.orbits
    assert (again.sketches.float() - ring.sketches.float()).abs().mean() < 4
    assert torch.equal(again.views[..., 3], ring.views[..., 3])  # the cover exactly
    assert (again.views.float() - ring.views.float()).abs().mean() < 4
    assert (again.photo.float() - ring.photo.float()).abs().mean() < 4


def test_a_view_from_the_photos_side_shows_the_photos_outline(person):
    random = np.random.default_rng(0)
    agreements = []
    while len(agreements) < 3:
        ring = draw_ring(person, random, 64, 32)
        for orbit, view in zip(ring.orbits, ring.views, strict=True):
            close = abs(orbit.azimuth_deg) < 8 and abs(orbit.elevation_deg) < 4
            if close and orbit.distance == 3.0 and orbit.centre == (0.0, 0.0, 0.0):
                photo = ring.photo[::2, ::2, 3] > 127
                cover = view[..., 3] > 127
                agreements.append(((photo & cover).sum() / (photo | cover).sum()).item())
    assert min(agreements) > 0.75
    assert max(agreements) > 0.85


def test_layers_of_a_view_mean_what_they_say(person):
    ring = draw_ring(person, np.random.default_rng(2), 64, 6)
    views = ring.views.float() / 255
    outside, inside = views[..., 3] == 0, views[..., 3] == 1
    assert (views[outside][:, :3] == 1).all()  # colours on white
    assert (views[outside][:, 4:] == 0).all()  # normals on black
    normal = views[inside][:, 4:] * 2 - 1
    assert (normal.norm(dim=1) - 1).abs().median() < 0.02
    assert (normal[:, 2] > -0.3).all()


def test_a_number_gives_the_same_ring_again(folder, person, tmp_path):
    first = draw_ring(person, np.random.default_rng((0, 4)), 32, 4)
    second = draw_ring(person, np.random.default_rng((0, 4)), 32, 4)
    assert torch.equal(first.views, second.views)
    rings = Rings((), 32, 4, 0, folder=folder, limit=6)
    assert torch.equal(rings.ring(2).views, rings.ring(8).views)
    with pytest.raises(OptionError, match=r"no ring 9 in .*--people"):
        Rings((), 32, 4, 0, folder=folder).ring(9)


def test_rings_of_another_size_are_refused(folder):
    with pytest.raises(OptionError, match=r"4 views of 64 pixels, but got 4 of 32 in '000-0000000"):
        Rings((), 64, 4, 0, folder=folder).ring(0)


def test_the_person_stands_as_far_away_as_a_shape_prior_puts_them(person):
    """Seen from the side, the middle of the body lies in the middle of the picture."""
    for seed in range(3):
        ring = draw_ring(person, np.random.default_rng(seed), 64, 16, plain=True)
        for orbit, view in zip(ring.orbits, ring.views, strict=True):
            if abs(abs(orbit.azimuth_deg) - 90) < 12:
                columns = (view[..., 3] > 127).nonzero()[:, 1].float()
                assert abs(columns.median().item() - 31.5) < 5


def test_a_ring_is_sketched_where_it_is_rendered(monkeypatch, person):
    sketcher = GuessedViews(GeometryPrior(narrow(), look=64))
    monkeypatch.setattr(Rings, "_person", lambda *_: person)
    found = Rings((Path("nobody.glb"),), 32, 4, 0, sketcher=sketcher).ring(0)
    assert found.sketches.shape == found.views.shape
    assert found.sketcher == "geometry prior"
    assert not torch.equal(found.sketches, found.views)


def test_a_guessed_view_from_the_photos_side_is_the_photo_whatever_the_depth():
    truth = figure_view(128)
    photo = torch.cat([truth.colour, truth.mask[..., None]], dim=-1)
    orbits = (REFERENCE, Orbit(80.0))
    drawn = GuessedViews(GeometryPrior(narrow(), look=64))(photo, orbits, 64)
    assert drawn.shape == (2, 64, 64, 7)
    wanted = figure_view(64)
    cover = drawn[0, ..., 3] > 0.5
    assert (cover & wanted.inside).sum() / (cover | wanted.inside).sum() > 0.9
    both = cover & wanted.inside
    assert (drawn[0, ..., :3] - wanted.colour)[both].abs().mean() < 0.1
    assert (drawn[1, ..., 3] - drawn[0, ..., 3]).abs().mean() > 0.05
