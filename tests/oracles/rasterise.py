"""The definition of rasterising, one pixel and one triangle at a time, in float64."""

import numpy as np


def barycentrics(clip, x, y):
    """Solve for the point of the triangle (3, 4) that the ray through (x, y) meets."""
    # b_0 p_0 + b_1 p_1 + b_2 p_2 = w (x, y, 1), and the weights add up to 1.
    system = np.zeros((4, 4))
    system[:3, :3] = clip[:, [0, 1, 3]].T
    system[:3, 3] = -x, -y, -1.0
    system[3, :3] = 1.0
    if abs(np.linalg.det(system)) < 1e-12:
        return None
    *weights, w = np.linalg.solve(system, [0, 0, 0, 1])
    return np.array(weights), w


def rasterise(clip, faces, size):
    """Give the triangle, barycentrics and depth that each pixel sees."""
    triangle = np.full((size, size), -1)
    weights = np.zeros((size, size, 2))
    depth = np.ones((size, size))
    for row, column in np.ndindex(size, size):
        x, y = (column + 0.5) * 2 / size - 1, 1 - (row + 0.5) * 2 / size
        for index, face in enumerate(faces):
            found = barycentrics(clip[face], x, y)
            if found is None:
                continue
            b, w = found
            z = b @ clip[face, 2]
            inside = (b >= 0).all() and w > 0 and -w <= z <= w
            if inside and z / w < depth[row, column]:
                triangle[row, column], weights[row, column], depth[row, column] = (
                    index,
                    b[:2],
                    z / w,
                )
    return triangle, weights, depth
