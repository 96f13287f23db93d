from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from geneman.camera import Orbit
from geneman.errors import OptionError
from geneman.evaluation.metrics import mask_iou, psnr
from geneman.export import export, level_of_detail, vertex_colours
from geneman.gltf_reader import read_glb
from geneman.renderers.shading import Look, draw, photograph, seated
from geneman.topology import topology
from tests.textured import embossed, textured_figure


def figure():
    return textured_figure(rings=60, segments=64)


def test_half_the_triangles_look_the_same_and_stay_closed():
    whole = figure()
    half = level_of_detail(whole, 1)
    assert len(half.mesh.faces) <= 0.55 * len(whole.mesh.faces)
    counted = topology(half.mesh)
    assert (counted.watertight, counted.components) == (True, 1)
    for azimuth in (0.0, 180.0):
        one, other = (draw(t, Orbit(azimuth), 128) for t in (whole, half))
        both = (one.cover == 1) & (other.cover == 1)
        assert mask_iou(one.cover > 0.5, other.cover > 0.5) > 0.98
        assert psnr(one.colour, other.colour, where=both) > 20


def test_a_coarser_level_keeps_the_finer_normals():
    whole = embossed(figure(), size=512)
    half = level_of_detail(whole, 1)
    assert half.normals.shape == half.albedo.shape == (256, 256, 3)
    torch.testing.assert_close(half.normals.norm(dim=-1), torch.ones(256, 256))
    subject, plain = (seated(t) for t in (half, replace(half, normals=None)))
    wanted = photograph(seated(whole), Orbit(), 128, look=Look.CLAY)
    inside = draw(half, Orbit(), 128).cover == 1
    with_map, without = (
        (photograph(s, Orbit(), 128, look=Look.CLAY) - wanted)[inside].abs().mean()
        for s in (subject, plain)
    )
    assert with_map < 0.4 * without


def test_level_0_changes_nothing():
    whole = figure()
    assert level_of_detail(whole, 0) is whole


def test_a_glb_is_exported_as_it_is(tmp_path):
    export(figure(), tmp_path / "a.glb")
    assert topology(read_glb(tmp_path / "a.glb").mesh).watertight


def test_an_obj_names_its_picture_and_keeps_its_seams_closed(tmp_path):
    whole = figure()
    export(whole, tmp_path / "a.obj")
    lines = [line.split() for line in (tmp_path / "a.obj").read_text().splitlines()]
    rows = {kind: [line[1:] for line in lines if line[0] == kind] for kind in ("v", "vt", "f")}
    points = np.array(rows["v"], np.float32)
    uv = np.array(rows["vt"], np.float32)
    corners = np.array([[c.split("/") for c in face] for face in rows["f"]], int) - 1
    np.testing.assert_allclose(points[:, 1], whole.mesh.vertices[:, 2], atol=1e-6)
    np.testing.assert_array_equal(corners[..., 0], whole.mesh.faces)
    np.testing.assert_array_equal(corners[..., 1], whole.uv_faces)
    np.testing.assert_allclose(uv, whole.uv, atol=1e-6)
    assert "map_Kd a.png" in (tmp_path / "a.mtl").read_text()
    assert lines[0] == ["mtllib", "a.mtl"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (256, 256)


def test_an_obj_names_its_normal_map_as_blender_reads_it(tmp_path):
    export(embossed(figure()), tmp_path / "a.obj")
    lines = (tmp_path / "a.mtl").read_text().splitlines()
    assert "map_Bump -bm 1 a_normal.png" in lines
    assert "norm a_normal.png" in lines
    with Image.open(tmp_path / "a_normal.png") as picture:
        assert picture.size == (256, 256)
        assert np.asarray(picture)[..., 2].min() > 127
    export(figure(), tmp_path / "b.obj")
    assert "norm" not in (tmp_path / "b.mtl").read_text()


def test_a_ply_has_a_colour_for_each_vertex(tmp_path):
    whole = figure()
    export(whole, tmp_path / "a.ply")
    header, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    count, faces = len(whole.mesh.vertices), len(whole.mesh.faces)
    assert f"element vertex {count}".encode() in header
    assert len(body) == count * 27 + faces * 13
    row = np.dtype([("place", "<f4", 3), ("normal", "<f4", 3), ("colour", "u1", 3)])
    vertices = np.frombuffer(body, row, count)
    np.testing.assert_array_equal(vertices["place"], whole.mesh.vertices)
    assert np.abs(vertices["colour"] / 255.0 - vertex_colours(whole).numpy()).max() < 0.003
    corners = np.frombuffer(body, np.dtype([("n", "u1"), ("c", "<i4", 3)]), faces, count * 27)
    np.testing.assert_array_equal(corners["c"], whole.mesh.faces)


def test_vertex_colours_are_those_of_the_texture():
    whole = figure()
    colours = vertex_colours(whole)
    chest = (whole.mesh.vertices[:, 2] > 0.1) & (whole.mesh.vertices[:, 2] < 0.15)
    left = chest & (whole.mesh.vertices[:, 0] > 0.05)
    torch.testing.assert_close(
        colours[left].median(dim=0).values, torch.tensor([0.75, 0.2, 0.2]), atol=0.01, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "lod", "words"),
    [
        ("a.fbx", 0, r"\.glb, \.obj or \.ply, but got a\.fbx"),
        ("a.glb", 7, r"between 0 \(all triangles\) and 6, but got 7"),
        ("a.glb", -1, "but got -1"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, name, lod, words):
    with pytest.raises(OptionError, match=words):
        export(figure(), tmp_path / name, lod=lod)
    assert not list(tmp_path.iterdir())
