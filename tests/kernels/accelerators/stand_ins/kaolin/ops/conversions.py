"""Kaolin's `marching_tetrahedra` as version 0.18.0 documents it, by our dense definition."""

from tests.oracles.marching_tets_dense import extract


def marching_tetrahedra(vertices, tets, sdf, return_tet_idx=False):
    assert not return_tet_idx
    assert vertices.dim() == 3
    assert sdf.shape == vertices.shape[:2]
    surfaces = [surface(*one, tets) for one in zip(vertices, sdf, strict=True)]
    return list(zip(*surfaces, strict=True))


def surface(points, sdf, tets):
    # What is positive is one side, what is negative or 0 the other; faces look to the first.
    # Ours asks what is below 0 and looks away from it: turn the values, then the faces.
    crossings, faces = extract(points, -sdf, tets)
    return crossings, faces.flip(1)
