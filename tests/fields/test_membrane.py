import torch

from geneman.fields.membrane import spread
from tests.synthetic import figure_mesh


def known_above(height):
    mesh = figure_mesh(48)
    return mesh, (mesh.vertices[:, 2] > height).float()


def test_a_constant_that_is_known_anywhere_is_found_everywhere():
    mesh, known = known_above(0.3)
    values = torch.tensor([0.3, -0.2]).expand(len(known), 2)
    found = spread(values * known[:, None], known, mesh, reach=1e4)
    torch.testing.assert_close(found, values, atol=1e-3, rtol=0)


def test_values_without_confidence_do_not_matter():
    mesh, known = known_above(0.0)
    values = torch.rand(len(known), 3)
    noisy = torch.where(known[:, None] > 0, values, torch.full_like(values, 7.0))
    torch.testing.assert_close(
        spread(values, known, mesh, reach=0.1), spread(noisy, known, mesh, reach=0.1)
    )


def test_nothing_exceeds_what_is_known():
    mesh, known = known_above(0.1)
    values = torch.rand(len(known), 1)
    found = spread(values, known, mesh, reach=0.2)
    assert found.max() <= values[known > 0].max() + 1e-6
    assert found.min() >= -1e-6


def test_values_fade_with_distance_at_the_rate_that_is_asked():
    mesh, known = known_above(-0.1)
    leg = mesh.vertices[:, 2]
    near, far = spread(torch.ones(len(known), 1), known, mesh, reach=0.1)[
        torch.stack([(leg + 0.2).abs().argmin(), (leg + 0.3).abs().argmin()]), 0
    ]
    assert 0.2 < far / near < 0.6  # about 1 / e over one reach


def test_neighbours_stay_close_across_the_border_of_the_known():
    mesh, known = known_above(0.0)
    values = torch.full((len(known), 1), 0.5)
    found = spread(values * known[:, None], known, mesh, reach=0.1)[:, 0]
    jumps = (found[mesh.faces] - found[mesh.faces.roll(1, dims=1)]).abs()
    assert jumps.max() < 0.12
