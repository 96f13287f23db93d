"""The plainest baseline: closed, outward, the photo in front and its mirror image behind."""

import numpy as np
import torch
from scipy import ndimage

from geneman.camera import Orbit
from geneman.evaluation.metrics import psnr
from geneman.evaluation.mirrored import mirrored_photo
from geneman.renderers.shading import draw
from geneman.topology import topology
from tests.synthetic import figure_view


def test_it_is_closed_and_outward():
    found = topology(mirrored_photo(figure_view(), grid=96).mesh)
    assert found.watertight
    assert found.volume > 0


def test_it_shows_the_photo_and_mirrors_it_behind():
    view = figure_view(256)
    textured = mirrored_photo(view, grid=256)
    front = draw(textured, view.camera, 256)
    seen = (front.cover > 0.5) & view.inside
    # Vertices lie at pixels' middles: of the person, only pixels of the outline are lost.
    found = front.cover > 0.5
    core = ndimage.binary_erosion(view.inside.numpy(), np.ones((3, 3)))
    assert not (found & ~view.inside).any()
    assert found[torch.from_numpy(core)].all()
    assert psnr(front.colour, view.colour, where=seen) > 25
    # From behind, and without perspective, every pixel would meet its mirror image.
    back = draw(textured, Orbit(azimuth_deg=180.0), 256)
    mirrored = view.colour.flip(1)
    both = (back.cover > 0.5) & view.inside.flip(1)
    assert both.sum() > 0.8 * view.inside.sum()
    assert psnr(back.colour, mirrored, where=both) > 14
    assert psnr(back.colour, view.colour, where=both & view.inside) < psnr(
        back.colour, mirrored, where=both & view.inside
    )


def test_its_depths_are_the_views_on_both_sides():
    view = figure_view()
    vertices = mirrored_photo(view, grid=64).mesh.vertices
    depth = view.camera.project(vertices)[:, 2]
    inside = view.inside
    assert float(depth.min()) >= float(view.depth[inside].min()) - 1e-4
    assert float(depth.max()) <= float(view.hidden.depth[inside].max()) + 1e-4
    assert torch.isfinite(vertices).all()
