"""Made benchmarks: photo, camera and truth are of one moment, whatever is worn and cut."""

import dataclasses

import numpy as np
import pytest
import torch

from geneman.curation.benchmark import (
    Benchmark,
    BenchmarkCase,
    baked,
    draw_case,
    write_cases,
)
from geneman.curation.synthetic.light import draw_dye, draw_light
from geneman.curation.synthetic.sample import Person
from geneman.errors import OptionError
from geneman.evaluation.benchmark_cases import read_case
from geneman.renderers.shading import draw
from geneman.view import Framing
from tests.curation.rig import boxes

SIZE = 192


@pytest.fixture(scope="module")
def person():
    return Person.of(boxes())


def cases(person):
    return [
        draw_case(person, framing, np.random.default_rng(seed), SIZE)
        for seed, framing in enumerate((Framing.FULL_BODY, Framing.HALF_BODY, Framing.HEAD))
    ]


def test_the_camera_sees_the_truth_where_the_photo_has_the_person(person):
    for case in cases(person):
        inside = case.photo[..., 3] > 0.5
        seen = draw(case.truth, case.camera, SIZE)
        both = inside & (seen.cover > 0.5)
        assert both.sum() > 0.97 * inside.sum()
        rows = torch.where(inside.any(dim=1))[0]
        above = seen.cover[: int(rows[-1]) + 1] > 0.5
        assert (above & inside[: len(above)]).sum() > 0.97 * above.sum()


def test_the_truths_colours_are_the_photos_but_for_its_shading(person):
    full = cases(person)[0]
    seen = draw(full.truth, full.camera, SIZE)
    both = (full.photo[..., 3] > 0.99) & (seen.cover > 0.99)
    photo, truth = full.photo[..., :3][both], seen.colour[both]
    # Shading scales a pixel's channels together, nearly: hues stay.
    hue = torch.nn.functional.cosine_similarity(photo, truth, dim=-1)
    assert float(hue.median()) > 0.97
    assert float((photo - truth).abs().mean()) < 0.2


def test_crops_are_cut_and_whole_people_are_not(person):
    full, half, head = (torch.where(case.photo[..., 3] > 0.5)[0] for case in cases(person))
    assert full.min() > 0
    for rows in (half, head):
        last = (rows == rows.max()).sum()
        assert last > SIZE // 20  # a straight lower edge


def test_what_is_written_is_read_back(person, tmp_path):
    case = cases(person)[0]
    case.write(tmp_path / "one")
    found = read_case(tmp_path / "one")
    assert found.camera.centre == pytest.approx(case.camera.centre, abs=1e-6)
    assert found.camera.distance == pytest.approx(case.camera.distance)
    low, high = (f(case.truth.mesh.vertices, dim=0) for f in (torch.amin, torch.amax))
    torch.testing.assert_close(found.whole.mesh.vertices.amin(dim=0), low)
    torch.testing.assert_close(found.whole.mesh.vertices.amax(dim=0), high)


def test_the_same_number_gives_the_same_case(person):
    one, again = (draw_case(person, Framing.HEAD, np.random.default_rng(3), 96) for _ in range(2))
    assert torch.equal(one.photo, again.photo)
    assert one.camera == again.camera
    assert torch.equal(one.truth.albedo, again.truth.albedo)


def test_a_baked_texture_is_the_dyed_one_in_even_light(person):
    random = np.random.default_rng(0)
    surface = person.rigged.surface
    dye, light = draw_dye(random, person.materials), draw_light(random)
    dye = dataclasses.replace(dye, waves=torch.zeros(3))
    textured = baked(person, surface, surface.vertices, dye, light, torch.ones(3))
    # The boxes are of one grey: each material's patches are of one colour, that of its dye.
    linear = torch.full((1, 3), person.textures.linear[128].item())
    label = person.textures.label.flatten()[:1].int()
    expected = light.developed(
        dye.dyed(linear, label, torch.zeros(1, 3), torch.zeros(1, dtype=torch.bool))
    )
    body = textured.uv_faces[:4]  # the hips' faces, which no head or hand is near to
    at = (textured.uv[body.reshape(-1)] * len(textured.albedo)).long()
    found = textured.albedo[len(textured.albedo) - 1 - at[:, 1], at[:, 0]]
    torch.testing.assert_close(found, expected.expand_as(found), atol=1e-4, rtol=0)


def test_no_cases_are_refused(tmp_path):
    with pytest.raises(OptionError, match="--cases must be at least 1"):
        next(write_cases(Benchmark(()), 0, tmp_path))


def test_cases_that_are_there_are_kept(tmp_path, monkeypatch, person):
    drawn = []

    def case(self: Benchmark, index: int) -> BenchmarkCase:
        drawn.append(index)
        return draw_case(person, Framing.FULL_BODY, np.random.default_rng(index), 64)

    monkeypatch.setattr(Benchmark, "case", case)
    first = list(write_cases(Benchmark(()), 2, tmp_path))
    assert first == ["000_full_body", "001_half_body"]
    assert list(write_cases(Benchmark(()), 3, tmp_path))[:2] == first
    assert drawn == [0, 1, 2]
