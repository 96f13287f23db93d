"""Normal maps: MikkTSpace's frames against its slow definition, and there and back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from geneman.gltf import encode_image
from geneman.mesh import Mesh, TexturedMesh, smooth_normals
from geneman.tangents import frames_of, to_object_space, to_tangent_space
from tests.textured import degrees_between, embossed, textured_figure


def square(*, mirrored: bool = False) -> TexturedMesh:
    """A wall in x and z that is seen from -y, its chart as one sees it, or as in a mirror."""
    places = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]])
    uv = places[:, [0, 2]].clone()
    if mirrored:
        uv[:, 0] = 1 - uv[:, 0]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return TexturedMesh(Mesh(places, faces), uv, faces, torch.ones(16, 16, 3))


def test_smooth_normals_are_weighted_by_angle_whatever_the_triangles():
    """A cube's corner faces along its diagonal, though one side has two triangles there."""
    corner = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    faces = torch.tensor([[0, 2, 4], [0, 4, 1], [0, 3, 2], [0, 1, 3]])
    normals = smooth_normals(Mesh(corner, faces))
    torch.testing.assert_close(normals[0], -torch.full((3,), 3**-0.5))
    alone = smooth_normals(Mesh(torch.cat([corner, torch.rand(1, 3)]), faces))[5]
    assert alone.tolist() == [0, 0, 1], "nothing lies there"


def slow_tangents(textured):
    """mikktspace.c, corner by corner: the sum over the faces that share vertex, uv and hand."""
    mesh, normals = textured.mesh, smooth_normals(textured.mesh).double().numpy()
    places, uv = mesh.vertices.double().numpy(), textured.uv.double().numpy()
    sums = {}

    def flat(v, n):
        v = v - n * (n @ v)
        return v / max(np.linalg.norm(v), 1e-30)

    for face, corners in zip(mesh.faces.tolist(), textured.uv_faces.tolist(), strict=True):
        p, t = places[face], uv[corners]
        (t21x, t21y), (t31x, t31y) = t[1] - t[0], t[2] - t[0]
        area = t21x * t31y - t21y * t31x
        sign = 1 if area > 0 else -1
        along = sign * (t31y * (p[1] - p[0]) - t21y * (p[2] - p[0]))
        for k in range(3):
            n = normals[face[k]]
            one, two = flat(p[(k + 1) % 3] - p[k], n), flat(p[(k + 2) % 3] - p[k], n)
            angle = math.acos(np.clip(one @ two, -1, 1))
            key = face[k], corners[k], sign
            sums[key] = sums.get(key, 0) + angle * flat(along, n)
    return {key: v / np.linalg.norm(v) for key, v in sums.items()}


def test_frames_are_those_of_the_slow_definition():
    figure = textured_figure(rings=7, segments=9)
    wanted, frames = slow_tangents(figure), frames_of(figure)
    assert len(wanted) == len(frames.vertex)
    uv_faces = figure.uv_faces
    for face in range(len(figure.mesh.faces)):
        for k in range(3):
            corner = int(frames.faces[face, k])
            key = int(figure.mesh.faces[face, k]), int(uv_faces[face, k]), int(frames.hand[corner])
            np.testing.assert_allclose(frames.tangent[corner], wanted[key], atol=2e-4)
            torch.testing.assert_close(frames.uv[corner], figure.uv[uv_faces[face, k]])


def test_frames_stand_at_right_angles_also_where_the_chart_has_no_area():
    figure = textured_figure(rings=7, segments=9)
    frames = frames_of(replace(figure, uv=figure.uv * torch.tensor([1.0, 0.0])))
    for one in (frames.normal, frames.tangent):
        torch.testing.assert_close(one.norm(dim=1), torch.ones(len(one)))
    assert (frames.normal * frames.tangent).sum(dim=1).abs().max() < 1e-5


def test_a_flat_map_is_the_colour_that_changes_nothing():
    figure = embossed(textured_figure(), slope=0.0)
    colours = to_tangent_space(figure)
    torch.testing.assert_close(
        colours, torch.tensor([0.5, 0.5, 1.0]).expand(256, 256, 3), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("mirrored", [False, True])
def test_red_goes_along_u_and_green_up_in_the_picture_also_in_a_mirrored_chart(mirrored):
    wall = square(mirrored=mirrored)
    frames = frames_of(wall)
    assert frames.hand.tolist() == [-1.0 if mirrored else 1.0] * 4
    right = torch.tensor([-1.0 if mirrored else 1.0, 0, 0])
    torch.testing.assert_close(frames.tangent, right.expand(4, 3))
    for lean, channel in ((right, 0), (torch.tensor([0.0, 0, 1]), 1)):
        leaning = normalize(torch.tensor([0.0, -1, 0]) + 0.5 * lean, dim=0)
        colours = to_tangent_space(replace(wall, normals=leaning.expand(16, 16, 3)))
        wanted = torch.tensor([0.5, 0.5, 0.5 + 0.5 / 1.25**0.5])
        wanted[channel] += 0.25 / 1.25**0.5
        torch.testing.assert_close(colours, wanted.expand(16, 16, 3))


@pytest.mark.parametrize("turn", [False, True])
def test_a_map_comes_back_from_8_bits(turn):
    figure = embossed(textured_figure())
    if turn:  # every chart in a mirror
        figure = replace(figure, uv=torch.stack([1 - figure.uv[:, 0], figure.uv[:, 1]], dim=1))
        figure = embossed(figure)
    colours = to_tangent_space(figure)
    rounded = (colours * 255).round() / 255
    error = degrees_between(to_object_space(rounded, frames_of(figure)), figure.normals)
    assert error.mean() < 0.3
    assert error.max() < 0.8


def test_a_picture_of_another_shape_is_read_into_a_square():
    figure = embossed(textured_figure(), size=128)
    wide = to_tangent_space(figure).repeat_interleave(2, dim=1)
    found = to_object_space(wide, frames_of(figure))
    assert found.shape == (256, 256, 3)
    assert degrees_between(found[::2, ::2], figure.normals).median() < 3


def test_charts_that_lie_over_each_other_have_no_map():
    wall = square()
    twice = replace(
        wall,
        mesh=replace(wall.mesh, faces=torch.cat([wall.mesh.faces, wall.mesh.faces.flip(-1)])),
        uv_faces=torch.cat([wall.uv_faces, wall.uv_faces.flip(-1)]),
        normals=torch.tensor([0.0, -1, 0]).expand(16, 16, 3),
    )
    assert to_tangent_space(twice) is None
    assert to_object_space(torch.full((16, 16, 3), 0.5), frames_of(twice)) is None


def test_what_leans_below_the_surface_is_held_above_it():
    inward = replace(square(), normals=torch.tensor([0.6, 0.8, 0]).expand(16, 16, 3))
    colours = to_tangent_space(inward)
    assert (colours[..., 2] > 0.5).all()
    assert encode_image(colours).startswith(b"\x89PNG")
