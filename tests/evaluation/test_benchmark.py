"""Benchmarks: the truth is right, what is missing or wrong costs what it must, runs go on."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from geneman.__main__ import main
from geneman.camera import Orbit
from geneman.chain import CHAIN
from geneman.cli import benchmarks
from geneman.errors import MissingComponentError, OptionError
from geneman.evaluation import comparison
from geneman.evaluation import flip as flip_module
from geneman.evaluation.benchmark_cases import cases_in, read_case
from geneman.evaluation.candidates import BASELINES, OURS, UNTAUGHT, Reconstruction, ablations
from geneman.evaluation.comparison import AZIMUTHS, measured, view_figures
from geneman.evaluation.flip import flip, require_flip
from geneman.evaluation.metrics import shape_accuracy
from geneman.evaluation.protocol import evaluate, mean_of
from geneman.gltf import to_gltf_axes
from geneman.mesh import Mesh
from geneman.presets import DRAFT
from geneman.priors.bundle import Priors
from geneman.priors.bundled.detail_network import DetailNetwork, DetailWidths
from geneman.priors.bundled.geometry_network import GeometryNetwork, Widths
from geneman.priors.bundled.geometry_prior import DIGESTS, GeometryPrior
from geneman.priors.bundled.inflation import Inflation
from geneman.progress import silent
from geneman.renderers.shading import draw
from tests.evaluation.people import CAMERA, Knowing, person, photographed, write_case
from tests.textured import textured_figure, view_of


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return read_case(write_case(tmp_path_factory.mktemp("benchmark") / "somebody"))


@pytest.fixture
def one_view(monkeypatch):
    """Look from one side only where it does not matter what is seen."""
    monkeypatch.setattr(comparison, "AZIMUTHS", (45,))


def test_the_truth_itself_is_without_fault(case):
    figure = photographed(person())
    found = measured(case, view_of(figure), figure)
    assert tuple(found.views) == tuple(str(azimuth) for azimuth in AZIMUTHS)
    for view in found.views.values():
        # Pairs of samples leave half a millimetre of doubt about the place, on 1.7 metres.
        assert view["mask_iou"] > 0.98
        assert view["normal_deg"] < 1.5
        assert view["flip"] < 0.08
        assert view["ssim"] > 0.9
        assert view["psnr"] > 20
    assert found.geometry["chamfer"] < 0.004
    assert found.geometry["f_score"] > 0.99
    assert found.input["mask_iou"] > 0.99
    assert found.input["normal_deg"] < 1.5


def test_another_persons_back_costs_only_what_shows_the_back(case):
    figure = photographed(person())
    u = torch.arange(figure.albedo.shape[1]) / figure.albedo.shape[1]
    black = torch.where(((u - 0.5).abs() > 0.25)[None, :, None], 0.0, figure.albedo)
    right, wrong = (
        measured(case, view_of(figure), painted)
        for painted in (figure, replace(figure, albedo=black))
    )
    assert wrong.views["180"]["psnr"] < right.views["180"]["psnr"] - 10
    assert wrong.views["180"]["flip"] > right.views["180"]["flip"] + 0.3
    assert wrong.input["psnr"] > wrong.views["180"]["psnr"] + 5
    assert wrong.geometry == right.geometry


def test_equal_drawings_are_equal_and_a_grey_step_costs_its_square():
    figure = textured_figure()
    grey, lighter = (
        draw(replace(figure, albedo=torch.full((8, 8, 3), value)), Orbit(), 256)
        for value in (0.5, 0.6)
    )
    same = view_figures(grey, grey)
    assert (same["psnr"], same["ssim"], same["mask_iou"]) == (100, pytest.approx(1), 1)
    assert same["flip"] == pytest.approx(0, abs=1e-6)
    assert same["normal_deg"] == pytest.approx(0, abs=1e-3)
    # 0.1 is 20 dB; pixels on the outline are mixed with white, which lessens it.
    assert 20 <= view_figures(lighter, grey)["psnr"] < 20.4


def test_a_narrower_person_covers_that_share_of_the_mask():
    figure = textured_figure()
    narrow = Mesh(figure.mesh.vertices * torch.tensor([0.8, 1.0, 1.0]), figure.mesh.faces)
    found = view_figures(
        draw(replace(figure, mesh=narrow), Orbit(), 512), draw(figure, Orbit(), 512)
    )
    assert found["mask_iou"] == pytest.approx(0.8, abs=0.01)


def test_lengths_are_shares_of_the_whole_body_even_if_only_a_part_is_compared():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]])
    plane = Mesh(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    behind = Mesh(corners + torch.tensor([0.0, 0.05, 0]), plane.faces)
    generator = torch.Generator().manual_seed(0)
    found = shape_accuracy(plane, behind, generator=generator, height=2.0)
    assert found.chamfer == pytest.approx(0.025, rel=0.01)


def test_flip_of_black_and_white_is_whole_and_counts_only_where_it_is_asked():
    black, white = torch.zeros(64, 64, 3), torch.ones(64, 64, 3)
    where = torch.ones(64, 64, dtype=torch.bool)
    # Andersson et al. 2020: errors lie in [0, 1], and black on white is (nearly) the largest.
    assert flip(black, white, where=where) == pytest.approx(1.0, abs=0.05)
    half = torch.cat([white[:32], black[32:]])
    upper = where.clone()
    upper[16:] = False
    assert flip(white, half, where=upper) == pytest.approx(0.0, abs=0.01)
    assert math.isnan(flip(black, white, where=~where))


def test_a_missing_flip_is_said_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(flip_module, "find_spec", lambda _: None)
    with pytest.raises(MissingComponentError, match=r"pip install 'geneman\[evaluate\]'"):
        require_flip()


def test_a_centre_in_the_files_own_axes_is_understood(tmp_path, case):
    x, y, z = to_gltf_axes(torch.tensor([CAMERA.centre]))[0].tolist()
    other = read_case(write_case(tmp_path / "other", {**asdict(CAMERA), "centre": (x, y, z)}))
    assert other.camera.centre == pytest.approx(case.camera.centre)


def test_without_a_centre_the_camera_looks_at_the_middle(tmp_path):
    about = {name: value for name, value in asdict(CAMERA).items() if name != "centre"}
    found = read_case(write_case(tmp_path / "middle", about))
    assert found.camera.centre == pytest.approx(CAMERA.centre, abs=1e-5)


def test_a_camera_that_sees_somebody_else_is_refused(tmp_path):
    away = {**asdict(CAMERA), "centre": (5.0, 0.0, 5.0)}
    with pytest.raises(OptionError, match="an overlap of 0%"):
        read_case(write_case(tmp_path / "away", away))


@pytest.mark.parametrize("text", ["{}", "no json", '{"fov_deg": "wide", "distance": 3}'])
def test_a_camera_that_says_nothing_is_refused(tmp_path, text):
    folder = write_case(tmp_path / "silent")
    (folder / "camera.json").write_text(text)
    with pytest.raises(OptionError, match="fov_deg and distance"):
        read_case(folder)


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(OptionError, match="geneman curate benchmark"):
        cases_in(tmp_path)


def test_what_a_cut_photo_does_not_show_is_not_asked(case):
    assert len(case.truth.mesh.faces) == len(case.whole.mesh.faces)
    upper = case.covered.clone()
    rows = torch.where(upper.any(dim=1))[0]
    middle = int((rows[0] + rows[-1]) / 2)
    upper[middle:] = False
    half = replace(case, covered=upper)
    kept = half.truth.mesh.vertices[half.truth.mesh.faces.reshape(-1)]
    # The camera looks at the middle of the body, which the cut is at.
    assert float(kept[:, 2].min()) == pytest.approx(CAMERA.centre[2], abs=0.15)
    assert float(kept[:, 2].max()) == pytest.approx(CAMERA.centre[2] + 0.85, abs=1e-4)
    assert half.height == pytest.approx(1.7)


@pytest.mark.usefixtures("one_view")
def test_what_was_measured_is_kept_until_candidate_or_case_change(tmp_path):
    folder = write_case(tmp_path / "people" / "somebody")
    candidate, told = Knowing(), []
    for _ in range(2):
        evaluate([folder], {"x": candidate}, tmp_path / "out", silent, told.append)
    assert len(candidate.asked) == 1
    assert [row.resumed for row in told] == [False, True]
    assert told[0].measures == told[1].measures
    candidate.fingerprint = "knows better"
    evaluate([folder], {"x": candidate}, tmp_path / "out", silent, told.append)
    (folder / "camera.json").write_text(json.dumps({**asdict(CAMERA), "fov_deg": 20.5}))
    evaluate([folder], {"x": candidate}, tmp_path / "out", silent, told.append)
    assert len(candidate.asked) == 3


@pytest.mark.usefixtures("one_view")
def test_a_damaged_measure_is_measured_again(tmp_path):
    folder, candidate = write_case(tmp_path / "people" / "somebody"), Knowing()
    evaluate([folder], {"x": candidate}, tmp_path / "out", silent, lambda _: None)
    (tmp_path / "out" / "somebody" / "x.json").write_text('{"fingerprint":')
    evaluate([folder], {"x": candidate}, tmp_path / "out", silent, lambda _: None)
    assert len(candidate.asked) == 2


def test_means_are_leaf_by_leaf_and_leave_out_what_is_unknown():
    trees = [{"a": {"b": 1.0}, "c": math.nan}, {"a": {"b": 3.0}, "c": 5.0}]
    assert mean_of(trees) == {"a": {"b": 2.0}, "c": 5.0}
    assert math.isnan(mean_of([{"c": math.nan}])["c"])


@pytest.mark.usefixtures("one_view")
def test_the_json_of_a_benchmark_has_cases_mean_and_baselines(tmp_path, capsys, monkeypatch):
    for name in ("one", "two"):
        write_case(tmp_path / "people" / name)
    everybody = {name: Knowing(fingerprint=name) for name in (OURS, *BASELINES)}
    monkeypatch.setattr(benchmarks, "candidates", lambda *_: everybody)
    arguments = ["evaluate", "--benchmark", str(tmp_path / "people"), "--json", "--cases", "1"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["cases"]
    assert (one["case"], one["seconds"]) == ("one", 2.5)
    assert set(one["views"]["45"]) == {"psnr", "ssim", "flip", "mask_iou", "normal_deg"}
    assert set(one["geometry"]) == {"chamfer", "normal_consistency", "f_score"}
    assert found["mean"]["geometry"] == one["geometry"]
    assert set(found["baselines"]) == set(BASELINES)
    assert (tmp_path / "people-evaluated" / "one" / f"{OURS}.json").is_file()
    assert main(arguments[:-3]) == 0
    printed = capsys.readouterr()
    assert all(name in printed.out for name in everybody)
    assert "two" in printed.err
    assert [len(candidate.asked) for candidate in everybody.values()] == [2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--benchmark", "x", "--cases", "0"], "--cases must be at least 1"),
        (["--benchmark", "x", "--preset", "drift"], "draft"),
        (["--benchmark", "nowhere"], "input.png, camera.json and truth.glb"),
        (["--normals", "nowhere"], "NAME_normal.png"),
        (["--normals", "x", "--weights", "nowhere"], "--weights must name a file"),
        (["--normals", "x", "--benchmark", "y"], "more than one of them"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(capsys, arguments, said):
    assert main(["evaluate", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_ablation_leaves_out_one_part_at_a_time_or_says_why_it_cannot():
    tiny = (8, 8, 16, 16), (1, 1, 1, 1)
    learned = GeometryPrior(
        GeometryNetwork(Widths(*tiny)), detail=DetailNetwork(DetailWidths((8, 8)))
    )
    means = CHAIN, torch.device("cpu")
    ours = Reconstruction(OURS, DRAFT, Priors(shape=learned), *means)
    reduced, absent = ablations(DRAFT, Priors(shape=learned), *means)
    assert set(reduced) == {"without_geometry_prior", "without_details", "without_head_pass"}
    assert set(absent) == {"without_view_prior", "without_multi_view_trick"}
    prints = {one.fingerprint for one in (ours, *reduced.values())}
    assert len(prints) == 4, "no two share their measures"
    assert reduced["without_geometry_prior"].folder == UNTAUGHT
    assert not reduced["without_head_pass"].recipe.prepare.face
    assert reduced["without_details"].priors.shape.detail is None
    named = replace(learned, name=f"geometry prior 1{DIGESTS}2")
    assert named.smooth().name == "geometry prior 1", "who never had details, and shares its runs"
    reduced, absent = ablations(DRAFT, Priors(shape=Inflation()), *means)
    assert set(reduced) == {"without_head_pass"}
    assert all(reason for reason in absent.values())
