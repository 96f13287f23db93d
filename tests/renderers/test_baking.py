"""Finer normals: what full surface and photo have beyond the triangles, and nothing else."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from geneman.camera import Orbit
from geneman.fields.atlas import UvMap, decimate, unwrap
from geneman.fields.texels import lay_out
from geneman.mesh import Mesh, UnwrappedMesh, smooth_normals
from geneman.renderers.baking import STEEPEST, Baked, bake
from tests.synthetic import figure_mesh, figure_normal, figure_view
from tests.textured import degrees_between, textured_figure, view_of

SIZE = 256


def coarse(full, faces=1500):
    small = decimate(full, faces)
    return Baked(small, unwrap(small, size=SIZE, gutter=2), full)


def at_texels(baked, image):
    """A map's values where the surface is, with the points and the mesh's own normals there."""
    texels = lay_out(baked.mesh, baked.atlas, SIZE)
    own = normalize(texels.blend(smooth_normals(baked.mesh)), dim=1)
    return image.reshape(-1, 3)[texels.pixels.long()], texels.points, own


def test_the_full_surface_is_found_again_on_few_triangles():
    baked = coarse(figure_mesh(96))
    view = replace(figure_view(128), normal=torch.zeros(128, 128, 3))  # the photo says nothing
    found, points, own = at_texels(baked, bake(view, baked, SIZE))
    truth = figure_normal(points)
    assert degrees_between(found, truth).mean() < 0.6 * degrees_between(own, truth).mean()
    assert degrees_between(found, truth).median() < 4


def waving(view, slope, pitch):
    """The view with waves of `pitch` pixels along x in its normals; the slope of each column."""
    column = torch.arange(view.size, dtype=torch.float32)
    lean = torch.zeros_like(view.normal)
    lean[..., 0] = slope * (column * (2 * torch.pi / pitch)).sin()
    return replace(view, normal=normalize(view.normal + lean, dim=-1))


def figure():
    whole = textured_figure(rings=120, segments=128)
    mesh = UnwrappedMesh(whole.mesh.vertices, whole.mesh.faces, whole.uv, whole.uv_faces)
    return Baked(mesh, UvMap(whole.uv, whole.uv_faces, 0), mesh), view_of(whole, 512)


def test_the_photos_detail_lies_where_the_photo_shows_it_and_nowhere_else():
    baked, view = figure()
    pitch = 12
    found, points, own = at_texels(baked, bake(waving(view, 0.5, pitch), baked, SIZE))
    bent = degrees_between(found, own)
    seen = Orbit().project(points)
    phase = (seen[:, 0] + 1) / 2 * view.size * (2 * torch.pi / pitch)
    front = (own[:, 1] < -0.8) & (points[:, 2] > -0.3) & (points[:, 2] < 0.2)
    front &= points[:, 0].abs() < 0.05
    assert front.sum() > 500
    crest = front & (phase.sin() > 0.9)
    trough = front & (phase.sin() < -0.9)
    lean = found[:, 0] - own[:, 0]
    assert lean[crest].median() == pytest.approx(0.4, abs=0.1)
    assert lean[trough].median() == pytest.approx(-0.4, abs=0.1)
    assert bent[own[:, 1] > 0].max() < 0.1, "the back keeps its own"


def test_a_lean_of_a_whole_limb_is_form_and_does_not_turn_the_light():
    baked, view = figure()
    tilted = normalize(view.normal + torch.tensor([0.3, 0.0, 0.0]), dim=-1)
    tilted = replace(view, normal=torch.where(view.mask[..., None] > 0, tilted, view.normal))
    found, points, own = at_texels(baked, bake(tilted, baked, SIZE))
    front = (own[:, 1] < -0.8) & (points[:, 2].abs() < 0.3)
    assert degrees_between(found, own)[front].mean() < 3, "of 17 degrees"


def test_the_photo_ends_without_a_rim():
    """Neighbours on the surface never lean apart by more where the photo ends than elsewhere."""
    baked, view = figure()
    image = bake(waving(view, 0.5, 24), baked, SIZE)
    jump = degrees_between(image[:, 1:], image[:, :-1])
    _, _, own = at_texels(baked, image)
    texels = lay_out(baked.mesh, baked.atlas, SIZE)
    side = torch.zeros(SIZE * SIZE).index_copy(0, texels.pixels.long(), own[:, 1])
    side = side.reshape(SIZE, SIZE)[:, 1:]
    row = slice(SIZE // 4, SIZE // 2)
    rim, middle = (side[row] > -0.5) & (side[row] < 0.1), side[row] < -0.6
    assert jump[row][rim].max() < jump[row][middle].max()


def test_no_direction_leans_further_than_the_steepest():
    baked, view = figure()
    found, _, own = at_texels(baked, bake(waving(view, 8.0, 12), baked, SIZE))
    bent = degrees_between(found, own)
    assert bent.max() == pytest.approx(STEEPEST, abs=0.1)


def test_a_hand_made_mesh_keeps_its_own_creases():
    baked, view = figure()
    found, _, own = at_texels(baked, bake(replace(view, normal=0 * view.normal), baked, SIZE))
    assert degrees_between(found, own).max() < 0.5


def test_charts_that_lie_over_each_other_get_none():
    baked, view = figure()
    halved = replace(baked, atlas=UvMap((2 * baked.atlas.uv) % 1.0, baked.atlas.faces, 0))
    assert bake(view, halved, SIZE) is None


def test_a_thin_cloth_takes_the_side_that_it_shows():
    """Two sheets back to back, closer than the decimated one is exact."""
    steps = torch.linspace(-0.2, 0.2, 20)
    z, x = torch.meshgrid(steps, steps, indexing="ij")
    sheet = torch.stack([x, 0 * x, z], dim=-1).reshape(-1, 3)
    rows = torch.arange(19)[:, None] * 20 + torch.arange(19)
    a, b, c, d = rows, rows + 1, rows + 20, rows + 21
    facing = torch.cat([torch.stack(t, -1).reshape(-1, 3) for t in ((a, b, d), (a, d, c))])
    full = Mesh(
        torch.cat([sheet, sheet + torch.tensor([0.0, 1e-4, 0])]),
        torch.cat([facing, facing.flip(-1) + len(sheet)]),
    )
    shown = UnwrappedMesh(
        sheet + torch.tensor([0.0, 8e-5, 0]), facing, sheet[:, [0, 2]] * 2 + 0.5, facing
    )
    baked = Baked(shown, UvMap(shown.uv, shown.uv_faces, 0), full)
    view = replace(figure_view(64), normal=torch.zeros(64, 64, 3))
    found, _, own = at_texels(baked, bake(view, baked, SIZE))
    assert degrees_between(found, own).max() < 1
