import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from geneman.camera import Orbit
from geneman.colour import to_linear, to_srgb
from geneman.errors import MissingComponentError, OptionError
from geneman.mesh import Mesh
from geneman.renderers.pictures import check_animation, strip, turn, write_animation
from geneman.renderers.shading import (
    STUDIO,
    Look,
    draw,
    fitted,
    photograph,
    seated,
    sky_light,
)
from tests.textured import embossed, textured_figure


def ball(radius=1.0):
    """A grey sphere on the figure's grid of 40 rings."""
    figure = textured_figure(rings=40)
    latitude = torch.pi * ((torch.arange(40) + 0.5) / 40 - 0.5)
    x, y, _ = figure.mesh.vertices[:-2].reshape(40, -1, 3).unbind(dim=-1)
    longitude = torch.atan2(x, y / 0.7)
    z = latitude.sin()[:, None].expand_as(longitude)
    across = latitude.cos()[:, None]
    grid = torch.stack([across * longitude.sin(), across * longitude.cos(), z], dim=-1)
    poles = torch.tensor([[0.0, 0, -1], [0, 0, 1]])
    mesh = Mesh(radius * torch.cat([grid.reshape(-1, 3), poles]), figure.mesh.faces)
    return replace(figure, mesh=mesh, albedo=torch.full((8, 8, 3), 0.5))


def test_srgb_there_and_back():
    values = torch.linspace(0, 1, 50)[:, None].expand(50, 3)
    torch.testing.assert_close(to_srgb(to_linear(values)), values, atol=1e-5, rtol=1e-5)
    assert to_linear(torch.full((1, 3), 0.5))[0, 0].item() == pytest.approx(0.21404, abs=1e-5)


def test_a_bare_drawing_shows_the_texture_unlit():
    drawing = draw(ball(), Orbit(distance=8.0), 64)
    inside = drawing.cover == 1
    assert inside.any()
    torch.testing.assert_close(drawing.colour[inside].unique(), torch.tensor([0.5]))
    assert drawing.normal[32, 32, 2] > 0.99
    assert (drawing.normal[~(drawing.cover > 0)] == 0).all()


def test_cover_is_the_area_of_a_disc():
    orbit = Orbit(distance=8.0)
    seen = float(draw(ball(), orbit, 96, supersample=4).cover.sum()) / 96**2 * 4
    tangent = orbit.focal / (8.0**2 - 1) ** 0.5
    assert seen == pytest.approx(torch.pi * tangent**2, rel=0.01)


def test_the_left_hand_is_on_the_right_of_a_front_picture():
    drawing = draw(textured_figure(), Orbit(), 128)
    chest = drawing.colour[45]
    red, blue = (chest[:, 0] > 0.7).nonzero(), (chest[:, 2] > 0.7).nonzero()
    assert red.float().mean() > blue.float().mean()


@pytest.mark.parametrize("look", list(Look))
def test_light_never_clips(look):
    white = replace(textured_figure(), albedo=torch.ones(8, 8, 3))
    subject = seated(white)
    for azimuth in (0.0, 120.0):
        picture = photograph(subject, Orbit(azimuth), 96, look=look)
        assert 0 <= picture.min() <= picture.max() < 1


def test_finer_normals_turn_the_light_and_not_what_is_measured():
    figure = textured_figure()
    flat, wavy = embossed(figure, slope=0.0), embossed(figure)
    lit, same, turned = (
        photograph(seated(t), Orbit(), 128, look=Look.CLAY) for t in (figure, flat, wavy)
    )
    assert (same - lit).abs().mean() < 0.05 * (turned - lit).abs().mean()
    bare, measured = (draw(t, Orbit(), 128) for t in (figure, embossed(figure)))
    assert torch.equal(bare.normal, measured.normal)
    assert torch.equal(bare.colour, measured.colour)


def test_the_paper_is_the_background_to_the_last_bit_of_8():
    picture = photograph(seated(textured_figure()), Orbit(), 64)
    expected = torch.tensor(STUDIO.background)
    torch.testing.assert_close(picture[0, 0], expected, atol=0.2 / 255, rtol=0)


def test_turning_the_person_with_the_camera_changes_no_unshadowed_light():
    subject = seated(ball(), sky=torch.ones(1922))
    one, two = (photograph(subject, Orbit(a, distance=8.0), 64, look=Look.CLAY) for a in (0, 90))
    assert (one - two).abs().mean() < 0.002


def test_a_lone_ball_sees_the_whole_sky_and_a_cup_does_not():
    whole = sky_light(ball().mesh)
    assert whole.min() > 0.93  # what is missing went to grazing views of flat triangles
    assert whole.mean() > 0.96
    inner, outer = ball(0.9).mesh, ball(1.0).mesh
    inward = inner.faces.flip(-1) + len(outer.vertices)
    shell = Mesh(torch.cat([outer.vertices, inner.vertices]), torch.cat([outer.faces, inward]))
    light = sky_light(shell)
    assert light[: len(outer.vertices)].mean() > 0.9
    assert light[len(outer.vertices) :].max() < 0.05


@pytest.mark.parametrize("scale", [0.05, 1.0, 60.0])
def test_the_figure_fills_the_frame_in_any_unit(scale):
    figure = textured_figure()
    mesh = Mesh(figure.mesh.vertices * scale + 3 * scale, figure.mesh.faces)
    camera = fitted(mesh, [0.0, 90.0, 180.0], fill=0.9)
    reached = []
    for azimuth in (0.0, 90.0, 180.0):
        orbit = replace(camera, azimuth_deg=azimuth)
        reached.append(orbit.project(mesh.vertices)[:, :2].abs().max().item())
        cover = draw(replace(figure, mesh=mesh), orbit, 64).cover
        assert cover.sum() > 100
    assert max(reached) == pytest.approx(0.9, abs=1e-3)


def test_the_strip_has_a_row_a_look_and_cuts_the_paper_away():
    subject = seated(textured_figure())
    picture = strip(subject, size=96)
    assert picture.shape[0] == 192
    assert picture.shape[1] < 3 * 96
    assert strip(subject, azimuths=[0.0], looks=[Look.CLAY], size=96).shape[0] == 96


def test_a_turn_starts_at_the_front_and_comes_back_without_repeating():
    subject = seated(textured_figure())
    pictures = list(turn(subject, frames=4, size=48))
    assert len(pictures) == 4
    differences = [(pictures[0] - other).abs().mean().item() for other in pictures[1:]]
    assert min(differences) > 0.001


@pytest.mark.parametrize("ending", [".webp", ".gif"])
def test_films_have_their_frames_and_their_length(tmp_path, ending):
    frames = [np.full((16, 16, 3), 40 * i, np.uint8) for i in range(5)]
    write_animation(frames, tmp_path / f"film{ending}", seconds=1.0)
    with Image.open(tmp_path / f"film{ending}") as film:
        assert film.n_frames == 5
        film.seek(3)
        film.load()
        assert film.info["duration"] == 200
        assert np.asarray(film.convert("RGB")).mean() == pytest.approx(120, abs=3)
    assert [path.name for path in tmp_path.iterdir()] == [f"film{ending}"]


def test_an_mp4_can_be_read_back(tmp_path):
    av = pytest.importorskip("av", reason="PyAV is absent: pip install 'geneman[video]'")
    frames = [np.full((33, 64, 3), 40 * i, np.uint8) for i in range(5)]
    write_animation(frames, tmp_path / "film.mp4", seconds=0.5)
    with av.open(str(tmp_path / "film.mp4")) as film:
        found = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(found) == 5
    assert found[3].shape == (32, 64, 3)
    assert found[3].mean() == pytest.approx(120, abs=6)


def test_an_unknown_ending_is_refused_before_any_work(tmp_path):
    with pytest.raises(OptionError, match=r"\.webp, \.gif or \.mp4, but got film\.avi"):
        check_animation(tmp_path / "film.avi")


def test_a_missing_encoder_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingComponentError, match=r"pip install 'geneman\[video\]'"):
        check_animation(tmp_path / "film.mp4")
