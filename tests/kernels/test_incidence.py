import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geneman.kernels import incidence as module
from geneman.kernels.incidence import incidence, neighbours
from tests.synthetic import figure_mesh


def pairs_one_by_one(faces):
    """The definition."""
    edges = [
        (frozenset((face[(c + 1) % 3], face[(c + 2) % 3])), 3 * index + c)
        for index, face in enumerate(faces.tolist())
        for c in range(3)
    ]
    found = torch.full((3 * len(faces),), -1)
    for ends, number in edges:
        same = [other for others, other in edges if others == ends and other != number]
        if len(same) == 1:
            found[number] = same[0]
    return found.reshape(-1, 3)


def test_one_triangle_by_hand():
    around = incidence(torch.tensor([[0, 2, 1]]), 4)
    assert around.starts.tolist() == [0, 1, 2, 3, 3]
    assert around.corners.tolist() == [0, 2, 1]


def test_each_vertex_has_its_corners_in_order():
    mesh = figure_mesh(24)
    around = incidence(mesh.faces, len(mesh.vertices))
    for vertex in range(0, len(mesh.vertices), 97):
        first, last = around.starts[vertex : vertex + 2].tolist()
        own = (mesh.faces.reshape(-1) == vertex).nonzero()[:, 0]
        assert torch.equal(around.corners[first:last].long(), own)


def test_the_ring_holds_the_other_two_vertices_of_each_corner():
    mesh = figure_mesh(24)
    around = incidence(mesh.faces, len(mesh.vertices))
    face, corner = around.corners // 3, around.corners % 3
    for place, step in ((0, 1), (1, 2)):
        other = mesh.faces[face.long(), ((corner + step) % 3).long()]
        assert torch.equal(around.ring[:, place].long(), other)


@pytest.mark.parametrize("most", [0, module.MOST])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), vertices=st.integers(1, 20), faces=st.integers(1, 30))
def test_neighbours_are_those_of_the_definition(most, seed, vertices, faces):
    # Vertices may repeat within a triangle, and edges be shared by any number of triangles.
    generator = torch.Generator().manual_seed(seed)
    heap = torch.randint(vertices, (faces, 3), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        # The array in the kernel holds MOST; 0 sorts in any case.
        patch.setattr(module, "MOST", most)
        assert torch.equal(neighbours(heap).long(), pairs_one_by_one(heap))


def test_a_vertex_of_very_many_triangles_is_no_trouble():
    rim = torch.arange(1, 5001)
    fan = torch.stack([torch.zeros_like(rim), rim, rim.roll(-1)], dim=1)
    found = neighbours(fan)
    assert (found[:, 0] == -1).all()
    assert torch.equal(found[:, 1].long() // 3, (rim % 5000))
