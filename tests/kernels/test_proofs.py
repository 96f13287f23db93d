"""What must hold for any input: surfaces close, weights add up, light and views stay the same."""

import math

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geneman.camera import Orbit, Rays
from geneman.fields.tetrahedra import Lattice, band_of
from geneman.kernels.antialias import antialias
from geneman.kernels.compositing import accumulate, weigh
from geneman.kernels.hash_grid import HashLevels, encode
from geneman.kernels.rasterise import corner_weights, interpolate, rasterise
from geneman.kernels.ray_march import Samples, march
from geneman.kernels.visibility import cast, closest, hierarchy, signed_distance
from geneman.mesh import Box, Mesh
from geneman.topology import topology
from tests.oracles import volume as oracle

BOX = Box((-0.3, -0.2, -0.5), (0.4, 0.2, 0.5))
LEVELS = HashLevels.geometric(levels=5, base=3, growth=1.7, table_size=256)
SEEDS = st.integers(0, 2**32 - 1)
property_test = settings(max_examples=25, deadline=None)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def whole_band(resolution):
    """Every cell of a box, so that a surface may be anywhere."""
    lattice = Lattice(BOX, resolution)
    axes = [torch.arange(count) for count in lattice.shape]
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)
    return band_of(cells, lattice)


BANDS = {resolution: whole_band(resolution) for resolution in (4, 7)}


def soup(seed, triangles=12, *, behind=False):
    """Random triangles before the camera, or through its plane."""
    clip = torch.rand(triangles * 3, 4, generator=seeded(seed)) * 2 - 1
    clip[:, 3] = clip[:, 3] * 1.5 if behind else clip[:, 3] * 0.5 + 1.5
    return clip, torch.arange(triangles * 3).reshape(-1, 3)


def ball(parts=14, radius=0.35):
    """A closed surface about the origin, all of whose angles differ."""
    polar = torch.linspace(0, math.pi, parts)
    turn = torch.arange(2 * parts) * (math.pi / parts)
    ring = torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], dim=1)
    up = torch.tensor([0.0, 0.0, 1.0])
    rows = [p.sin() * ring + p.cos() * up for p in polar[1:-1]]
    vertices = torch.cat([*rows, up[None], -up[None]]) * radius * torch.tensor([1.0, 0.7, 1.2])
    here = torch.arange(2 * parts)
    there, last = (here + 1) % (2 * parts), len(rows) * 2 * parts
    faces = [torch.stack([here, there, torch.full_like(here, last)], dim=1)]
    for row in range(len(rows) - 1):
        a, b = row * 2 * parts, (row + 1) * 2 * parts
        faces.append(torch.stack([a + here, b + here, b + there], dim=1))
        faces.append(torch.stack([a + here, b + there, a + there], dim=1))
    low = (len(rows) - 1) * 2 * parts
    faces.append(torch.stack([low + there, low + here, torch.full_like(here, last + 1)], dim=1))
    return Mesh(vertices, torch.cat(faces))


BALL = ball()


def rotation(seed):
    """A random rotation matrix."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=seeded(seed), dtype=torch.float64))
    q = q * r.diagonal().sign()
    return (q * q.det().sign()).float()


def random_samples(seed, rays=7, most=6):
    generator = seeded(seed)
    counts = torch.randint(0, most + 1, (rays,), generator=generator, dtype=torch.int32)
    owners = torch.repeat_interleave(torch.arange(rays), counts)
    near = 0.1 * torch.arange(len(owners))
    far = near + 0.1 * torch.rand(len(owners), generator=generator)
    density = 30 * torch.rand(len(owners), generator=generator)
    return Samples((counts.cumsum(0) - counts).int(), counts, owners, near, far), density


@property_test
@given(SEEDS, st.sampled_from(sorted(BANDS)), st.floats(-0.9, 0.9), st.booleans())
def test_the_surface_of_any_field_is_watertight(seed, resolution, level, zeros):
    band = BANDS[resolution]
    values = torch.rand(len(band.points), generator=seeded(seed)) * 2 - 1 + level
    if zeros:  # many values of exactly 0, which count as outside
        values = (3 * values).round()
    assume(band.crossed(values))
    found = topology(band.surface(values))
    assert found.watertight
    assert found.degenerate_faces == 0


@property_test
@given(SEEDS, st.floats(-2, 2), st.integers(1, 5))
def test_the_weights_of_the_hash_grid_add_up_to_one(seed, value, open_levels):
    points = torch.rand(50, 3, generator=seeded(seed)) * 1.2 - 0.1
    table = torch.full((LEVELS.offsets[-1], 2), value).requires_grad_()
    features = encode(points, table, LEVELS, open_levels=open_levels).reshape(50, 5, 2)
    expected = torch.zeros_like(features)
    expected[:, :open_levels] = value
    torch.testing.assert_close(features, expected)
    # The adjoint gives out each weight once: 1 for each point, level and feature.
    (slope,) = torch.autograd.grad(features.sum(), [table])
    torch.testing.assert_close(slope.sum(), torch.tensor(50.0 * open_levels * 2))
    assert (slope >= 0).all()


@property_test
@given(SEEDS, st.booleans())
def test_the_weights_of_a_triangles_corners_add_up_to_one(seed, behind):
    clip, faces = soup(seed, behind=behind)
    raster = rasterise(clip, faces, 24)
    weights = corner_weights(raster)
    assert (weights > -1e-4).all()
    ones = interpolate(torch.ones(len(clip), 1), faces, raster)[..., 0]
    torch.testing.assert_close(ones, (raster.triangle >= 0).float(), rtol=0, atol=1e-6)


@property_test
@given(SEEDS, st.floats(0.0, 1.0))
def test_splitting_samples_changes_no_picture(seed, at):
    samples, density = random_samples(seed)
    colours = torch.rand(len(density), 3, generator=seeded(seed))
    middle = samples.near + at * (samples.far - samples.near)
    halves = Samples(
        2 * samples.starts,
        2 * samples.counts,
        samples.rays.repeat_interleave(2),
        torch.stack([samples.near, middle], dim=1).reshape(-1),
        torch.stack([middle, samples.far], dim=1).reshape(-1),
    )
    twice = density.repeat_interleave(2)
    whole, split = weigh(density, samples), weigh(twice, halves)
    torch.testing.assert_close(split.reshape(-1, 2).sum(dim=1), whole, rtol=1e-4, atol=2e-6)
    torch.testing.assert_close(
        accumulate(split, colours.repeat_interleave(2, dim=0), halves),
        accumulate(whole, colours, samples),
        rtol=1e-4,
        atol=2e-6,
    )


@property_test
@given(SEEDS)
def test_turning_the_scene_turns_no_answer_about_it(seed):
    turn = rotation(seed)
    turned = hierarchy(Mesh(BALL.vertices @ turn.T, BALL.faces))
    still = hierarchy(BALL)
    points = torch.rand(60, 3, generator=seeded(seed)) - 0.5
    near, near_turned = closest(points, still), closest(points @ turn.T, turned)
    torch.testing.assert_close(near.distance, near_turned.distance, rtol=1e-4, atol=1e-5)
    signed = signed_distance(points, still)
    clear = signed.abs() > 1e-4
    signed_turned = signed_distance(points @ turn.T, turned)
    torch.testing.assert_close(signed[clear], signed_turned[clear], rtol=1e-4, atol=1e-5)
    directions = torch.nn.functional.normalize(0.1 * points.flip(0) - points, dim=-1)
    rays = Rays(3 * points, directions)
    hit, _ = cast(rays, still)
    hit_turned, _ = cast(Rays(rays.origins @ turn.T, directions @ turn.T), turned)
    grazing = hit.isfinite() != hit_turned.isfinite()
    assert grazing.float().mean() < 0.05  # to rounding at the outline
    both = hit.isfinite() & ~grazing
    torch.testing.assert_close(hit[both], hit_turned[both], rtol=1e-3, atol=1e-3)


@property_test
@given(st.floats(-180, 180), st.floats(-40, 40))
def test_turning_scene_and_camera_together_changes_no_picture(turn, elevation):
    radians = math.radians(turn)
    c, s = math.cos(radians), math.sin(radians)
    matrix = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    pictures = []
    for orbit, vertices in (
        (Orbit(elevation_deg=elevation), BALL.vertices),
        (Orbit(elevation_deg=elevation, azimuth_deg=turn), BALL.vertices @ matrix.T),
    ):
        clip = orbit.clip_coordinates(vertices)
        raster = rasterise(clip, BALL.faces, 48)
        image = interpolate(BALL.vertices, BALL.faces, raster)
        pictures.append(antialias(image, raster, clip, BALL.faces))
    # A pixel whose centre lies on an edge may fall to either side.
    differs = (pictures[0] - pictures[1]).abs().amax(dim=-1) > 2e-3
    assert differs.float().mean() < 0.01


@property_test
@given(SEEDS, st.booleans())
def test_rays_that_meet_nothing_are_empty_and_their_colour_is_nothing(seed, lit):
    generator = seeded(seed)
    origins = torch.rand(20, 3, generator=generator) * 4 - 2
    outward = torch.nn.functional.normalize(origins, dim=-1)
    beyond = Rays(1.0 * outward, outward)
    empty = torch.full((3, 4, 5), lit)
    inward = Rays(origins, -outward)
    samples = [march(beyond, BOX, empty, step=0.05)]
    if not lit:
        samples.append(march(inward, BOX, empty, step=0.05))
    for found in samples:
        assert not found.counts.any()
        assert len(found.near) == len(found.rays) == 0
        density = torch.zeros(0, requires_grad=True)
        colour = accumulate(weigh(density, found), torch.zeros(0, 3), found)
        assert torch.equal(colour, torch.zeros(20, 3))
        colour.sum().backward()
        assert density.grad.shape == (0,)


def test_no_rays_at_all_give_no_samples():
    none = march(Rays(torch.zeros(0, 3), torch.zeros(0, 3)), BOX, torch.ones(2, 2, 2) > 0, step=0.1)
    assert len(none.counts) == len(none.near) == 0
    assert accumulate(torch.zeros(0), torch.zeros(0, 3), none).shape == (0, 3)


@property_test
@given(SEEDS, st.floats(0.0, 0.99))
def test_rays_that_start_inside_see_from_where_they_start(seed, jitter):
    generator = seeded(seed)
    low, size = torch.tensor(BOX.minimum), torch.tensor(BOX.size)
    origins = low + size * (0.01 + 0.98 * torch.rand(12, 3, generator=generator))
    directions = torch.nn.functional.normalize(torch.randn(12, 3, generator=generator), dim=-1)
    cells = torch.ones(3, 4, 2, dtype=torch.bool)
    shift = torch.full((12,), jitter)
    samples = march(Rays(origins, directions), BOX, cells, step=0.05, jitter=shift)
    assert (samples.counts > 0).all()
    for ray in range(12):
        own = slice(samples.starts[ray], samples.starts[ray] + samples.counts[ray])
        near, far = samples.near[own], samples.far[own]
        assert near[0] == 0
        assert torch.equal(near[1:], far[:-1])
        want = oracle.march(
            origins[ray].tolist(), directions[ray].tolist(), BOX, cells, 0.05, shift[ray].item()
        )
        torch.testing.assert_close(far[-1].item(), want[-1][1], atol=1e-5, rtol=1e-4)
    deep = 0.3 * origins  # inside the ball
    distance, face = cast(Rays(deep, directions), hierarchy(BALL))
    assert (face >= 0).all()
    assert (distance > 0).all()
    assert (signed_distance(deep, hierarchy(BALL)) < 0).all()


@property_test
@given(SEEDS, st.sampled_from(["point", "line", "twice the same", "behind", "infinite"]))
def test_triangles_that_show_nothing_change_no_picture_and_no_gradient(seed, kind):
    clip, faces = soup(seed, behind=True)
    extra = torch.rand(3, 4, generator=seeded(seed + 1)) * 2 - 1
    extra[:, 3] = 1.0
    match kind:
        case "point":
            extra[1:] = extra[0]
        case "line":
            extra[2] = extra[1]
        case "behind":
            extra[:, 3] = -extra[:, 3] - 0.1
        case "infinite":
            extra[1, seed % 4] = float("inf")
    corners = torch.tensor([[0, 1, 1 if kind == "twice the same" else 2]]) + len(clip)

    def drawn(clip, faces):
        clip = clip.requires_grad_()
        raster = rasterise(clip, faces, 24)
        image = interpolate(clip[:, :3], faces, raster)
        soft = antialias(image, raster, clip, faces)
        return raster.triangle, image, soft, torch.autograd.grad(image.sin().sum(), [clip])[0]

    plain = drawn(clip.clone(), faces)
    more = drawn(torch.cat([clip, extra]), torch.cat([faces, corners]))
    for before, after in zip(plain[:3], more[:3], strict=True):
        assert torch.equal(before, after)
    assert torch.equal(plain[3], more[3][: len(clip)])
    assert (more[3][len(clip) :] == 0).all()


@property_test
@given(st.integers(1, 40), st.integers(1, 3))
def test_a_mesh_without_triangles_is_a_picture_without_any(size, channels):
    clip, faces = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, 3, dtype=torch.int64)
    raster = rasterise(clip, faces, size)
    image = interpolate(torch.zeros(0, channels), faces, raster)
    soft = antialias(image, raster, clip, faces)
    assert (raster.triangle == -1).all()
    assert torch.equal(soft, torch.zeros(size, size, channels))
    assert (raster.depth == 1).all()
