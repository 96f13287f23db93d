import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from geneman.gltf_reader import chunks, read_glb
from geneman.mesh import Mesh
from geneman.priors.bundle import Priors
from geneman.progress import ImagePreview, StageStarted, StepDone, silent
from geneman.stages import finish
from geneman.stages.finish import FinishConfig, floor_point, placed
from geneman.topology import topology
from geneman.training.checkpoints import NoCheckpoints
from geneman.view import Framing
from tests.synthetic import figure_view
from tests.textured import degrees_between, embossed, textured_figure

SMALL = FinishConfig(
    height_metres=1.8, preview_size=96, turntable_size=64, turntable_frames=6, turntable_seconds=0.6
)


class NoShape:
    """Finish never asks for a shape."""

    name = "none"

    def surfaces(self, *_, **__):
        raise AssertionError("finish has its mesh already")


@functools.cache
def view():
    return figure_view(64)


def run(report=silent, config=SMALL, textured=None):
    return finish.run(
        view(),
        textured or textured_figure(),
        priors=Priors(shape=NoShape()),
        config=config,
        report=report,
        generator=torch.Generator(),
        checkpoints=NoCheckpoints(),
        device=torch.device("cpu"),
    )


def test_the_person_stands_on_the_origin_in_metres_facing_front():
    vertices = placed(view(), textured_figure(), SMALL).textured.mesh.vertices
    low, high = vertices.amin(dim=0), vertices.amax(dim=0)
    assert low[2] == 0
    assert high[2].item() == pytest.approx(1.8, rel=1e-5)
    feet = vertices[vertices[:, 2] < 0.05, :2]
    torch.testing.assert_close(feet.mean(dim=0), torch.zeros(2), atol=0.01, rtol=0)


def test_scaling_and_moving_the_scene_changes_nothing_but_the_floor():
    figure = textured_figure()
    moved = replace(figure, mesh=Mesh(figure.mesh.vertices + 0.1, figure.mesh.faces))
    there, here = placed(view(), moved, SMALL), placed(view(), figure, SMALL)
    torch.testing.assert_close(there.textured.mesh.vertices, here.textured.mesh.vertices)
    shift = np.subtract(there.facts.floor_units, here.facts.floor_units)
    np.testing.assert_allclose(shift, 0.1, atol=1e-5)


def test_the_floor_point_is_between_the_feet_not_under_the_raised_arm():
    feet = torch.tensor([[-0.1, 0.0, -0.4], [0.3, 0.2, -0.4], [5.0, 0.0, 0.4]])
    mesh = Mesh(feet, torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(floor_point(mesh, Framing.FULL_BODY), torch.tensor([0.1, 0.1, -0.4]))
    torch.testing.assert_close(floor_point(mesh, Framing.HEAD), torch.tensor([2.45, 0.1, -0.4]))


def test_facts_say_what_the_mesh_is():
    finished = run()
    counted = topology(finished.textured.mesh)
    facts = finished.facts
    assert facts.watertight
    assert (facts.vertices, facts.faces, facts.components) == (1922, 3840, 1)
    assert facts.volume_litres == pytest.approx(counted.volume * 1000)
    assert facts.scale_source.startswith("given height of 1.80 m")


def test_a_broken_mesh_is_mended_before_it_is_measured():
    figure = textured_figure()
    soup = Mesh(
        figure.mesh.vertices[figure.mesh.faces].reshape(-1, 3),
        torch.arange(figure.mesh.faces.numel()).reshape(-1, 3).flip(-1),
    )
    inside_out = replace(figure, mesh=soup, uv_faces=figure.uv_faces.flip(-1))
    assert run(textured=inside_out).facts.watertight


def test_a_hole_is_told_not_hidden():
    figure = textured_figure()
    open_mesh = Mesh(figure.mesh.vertices, figure.mesh.faces[1:])
    torn = replace(figure, mesh=open_mesh, uv_faces=figure.uv_faces[1:])
    facts = placed(view(), torn, SMALL).facts
    assert (facts.watertight, facts.boundary_edges) == (False, 3)


def test_it_reports_every_picture_and_one_preview():
    events = []
    run(report=events.append)
    assert isinstance(events[0], StageStarted)
    assert [e.step for e in events if isinstance(e, StepDone)] == list(range(6))
    assert sum(isinstance(e, ImagePreview) for e in events) == 1


def test_the_same_mesh_gives_the_same_pictures():
    one, two = run(), run()
    assert torch.equal(one.preview, two.preview)
    assert all(map(np.array_equal, one.turntable, two.turntable))


def test_everything_is_saved_and_the_person_comes_back(tmp_path):
    finished = run()
    finish.save(finished, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.glb", "albedo.png", "preview.png", "turntable.webp", "facts.json"}
    back = finish.load(tmp_path, torch.device("cpu"))
    assert back.facts == finished.facts
    assert topology(back.textured.mesh).watertight
    with Image.open(tmp_path / "turntable.webp") as film:
        assert (film.n_frames, film.size) == (6, (64, 64))
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.height == 2 * 96
    with Image.open(tmp_path / "albedo.png") as picture:
        np.testing.assert_array_equal(
            np.asarray(picture), (read_glb(tmp_path / "model.glb").albedo * 255).round().numpy()
        )
    assert json.loads((tmp_path / "facts.json").read_text())["height_metres"] > 0


def test_finer_normals_are_saved_as_a_map_and_the_same_as_in_the_model(tmp_path):
    finished = run(textured=embossed(textured_figure()))
    finish.save(finished, tmp_path)
    document, binary = chunks(tmp_path / "model.glb")
    view = document["bufferViews"][document["images"][1]["bufferView"]]
    inside = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    assert inside == (tmp_path / "normal.png").read_bytes()
    back = finish.load(tmp_path, torch.device("cpu")).textured
    assert degrees_between(back.normals, finished.textured.normals).median() < 0.5
    plain = run()
    assert not np.array_equal(plain.preview, finished.preview), "the preview shows them"
