"""Normals beside photos: the angle is the angle, in the square that `prepare` makes."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from geneman.__main__ import main
from geneman.evaluation.normals import photos_with_normals
from geneman.priors.bundle import Surfaces
from geneman.view import HiddenSide
from tests.preprocess.photos import needs_person_models

SIZE = 128


class Leaning:
    """A shape prior for which everything leans to the side by one angle."""

    def __init__(self, degrees):
        self.name = f"leaning {degrees}"
        angle = math.radians(degrees)
        self.normal = torch.tensor([math.sin(angle), 0.0, math.cos(angle)])

    def surfaces(self, colour, mask, landmarks, framing, *, normal=None, depth=None):
        seen = self.normal.expand(*mask.shape, 3) if normal is None else normal
        depth = torch.full_like(mask, 3.0)
        return Surfaces(seen, depth, HiddenSide(depth + 0.1, -seen, colour))


@pytest.fixture
def folder(tmp_path):
    """A grey ellipse whose normals all face the viewer."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    inside = (x / 0.2) ** 2 + (y / 0.4) ** 2 < 1
    picture = np.where(inside[..., None], 128, 255).astype(np.uint8).repeat(3, axis=2)
    Image.fromarray(picture).save(tmp_path / "one_fg.png")
    np.save(tmp_path / "one_mask.npy", inside)
    towards = np.where(inside[..., None], (127.5, 127.5, 255), 0).round().astype(np.uint8)
    Image.fromarray(towards).save(tmp_path / "one_normal.png")
    return tmp_path


@needs_person_models
def test_a_prior_that_leans_is_off_by_its_angle(folder):
    (photo,) = photos_with_normals(folder)
    found = photo.angles({str(d): Leaning(d) for d in (0, 30, 75)})
    assert photo.name == "one"
    # 8 bits leave a third of a degree.
    assert found == {
        "0": pytest.approx(0, abs=0.5),
        "30": pytest.approx(30, abs=0.5),
        "75": pytest.approx(75, abs=0.5),
    }


@needs_person_models
def test_the_command_prints_the_mean_over_photos_for_both_priors(folder, capsys):
    assert main(["evaluate", "--normals", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"][0]["normal_deg"] == found["mean"]
    assert "inflation" in found["mean"]
    assert all(0 < angle < 60 for angle in found["mean"].values())
