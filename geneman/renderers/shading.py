"""Pictures of the result: the bare colours for measuring, and studio light for looking.

P covered samples, S samples along a side. Light is summed in linear light and every sum stays
below 1, so that nothing clips. The key and fill lights hang on the camera (turning the person
never turns them dark); the soft light from all around is fixed to the person and found once.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from geneman.camera import Orbit
from geneman.colour import to_linear, to_srgb
from geneman.kernels.rasterise import Raster, corner_weights, rasterise
from geneman.mesh import Mesh, TexturedMesh, smooth_normals, vertex_normals

Colour = tuple[float, float, float]

HALVINGS = 2
"""Charts have narrow margins: two halvings of the texture bleed at most four texels in."""

SMOOTHING = 3
"""Rounds of averaging that rid the soft light of the specks that a coarse depth map leaves."""


class Look(enum.StrEnum):
    """What a picture is for."""

    ALBEDO = "albedo"
    """The texture in mild light: photos bring their own shading."""
    CLAY = "clay"
    """One warm grey in strong light: judges the shape."""


@dataclass(frozen=True)
class Studio:
    """Lights in the camera's frame (x right, y up, z towards the viewer), and the paper behind."""

    background: Colour = (0.91, 0.915, 0.92)
    """sRGB; flat, so that nothing bands and films compress well."""
    key: Colour = (-0.62, 0.58, 0.53)
    fill: Colour = (0.80, 0.05, 0.60)
    wrap: float = 0.25
    """How far past the edge a light reaches, as a cosine: softness."""
    clay: Colour = (0.70, 0.645, 0.595)
    """Linear light."""


STUDIO = Studio()


@dataclass(frozen=True)
class Drawing:
    """A bare picture of a textured mesh, averaged over the samples of each pixel."""

    colour: Float[Tensor, "h w 3"]
    """Unlit texture colours, sRGB, not mixed with a background; 0 where nothing is seen."""
    cover: Float[Tensor, "h w"]
    """Share of the pixel that is covered."""
    normal: Float[Tensor, "h w 3"]
    """Unit normals in the camera's frame; 0 where nothing is seen."""


@dataclass(frozen=True)
class Halvings:
    """A map on the surface and its halvings, to be read at about one texel a sample."""

    levels: tuple[Float[Tensor, "1 3 _ _"], ...]
    texels: Float[Tensor, "f"]
    """Area of each face on the map itself."""


@dataclass(frozen=True)
class Subject:
    """A textured mesh made ready to be photographed many times (`seated`)."""

    textured: TexturedMesh
    normals: Float[Tensor, "v 3"]
    sky: Float[Tensor, "v"]
    """Share of the surrounding light that reaches each vertex."""
    albedo: Halvings
    relief: Halvings | None
    """Of the finer normals, if the mesh has them."""


def seated(textured: TexturedMesh, *, sky: Float[Tensor, "v"] | None = None) -> Subject:
    """Work out once what every picture of a mesh needs.

    Args:
        textured: The mesh in any unit.
        sky: Soft light at the vertices, if known already; otherwise `sky_light`.
    """
    finer = textured.normals
    return Subject(
        textured,
        smooth_normals(textured.mesh),
        sky_light(textured.mesh) if sky is None else sky,
        _halved(textured, textured.albedo),
        None if finer is None else _halved(textured, finer),
    )


def _halved(textured: TexturedMesh, image: Float[Tensor, "h w 3"]) -> Halvings:
    levels = [image.movedim(-1, 0)[None].contiguous()]
    while len(levels) <= HALVINGS and min(levels[-1].shape[-2:]) > 1:
        levels.append(avg_pool2d(levels[-1], 2))
    a, b, c = textured.uv[textured.uv_faces.long()].unbind(dim=1)
    (abx, aby), (acx, acy) = (b - a).unbind(dim=-1), (c - a).unbind(dim=-1)
    area = 0.5 * (abx * acy - aby * acx).abs() * (image.shape[0] * image.shape[1])
    return Halvings(tuple(levels), area)


def draw(textured: TexturedMesh, orbit: Orbit, size: int, *, supersample: int = 2) -> Drawing:
    """Draw without any light: what an evaluation compares with a photo.

    The normals are the triangles' own, never the finer ones: those were taken from the photo.

    Args:
        textured: The mesh in the world of the camera.
        orbit: Camera.
        size: Pixels along a side.
        supersample: Samples along each side of a pixel.
    """
    samples = size * supersample
    raster = _see(textured.mesh, orbit, samples)
    normals = _at(vertex_normals(textured.mesh), textured.mesh.faces, raster)
    normals = orbit.turn_to_camera(normals)
    uv = _at(textured.uv, textured.uv_faces, raster)
    colours = _read(_halved(textured, textured.albedo), uv, raster)
    ones = torch.ones_like(colours[:, :1])
    planes = torch.cat([colours, normalize(normals, dim=-1), ones], dim=-1)
    mean = _pooled(_spread(planes, raster), supersample)
    cover = mean[..., 6]
    return Drawing(
        mean[..., :3] / cover.clamp(min=1e-6)[..., None], cover, normalize(mean[..., 3:6], dim=-1)
    )


def photograph(
    subject: Subject,
    orbit: Orbit,
    size: int,
    *,
    look: Look = Look.ALBEDO,
    studio: Studio = STUDIO,
    supersample: int = 2,
) -> Float[Tensor, "h w 3"]:
    """Take a picture in studio light, antialiased, on the studio's background.

    Finer normals, if the mesh has them, turn the light as in an engine.

    Args:
        subject: The mesh in the world of the camera.
        orbit: Camera.
        size: Pixels along a side.
        look: Textured, or clay.
        studio: Lights and background.
        supersample: Samples along each side of a pixel.
    """
    mesh = subject.textured.mesh
    raster = _see(mesh, orbit, size * supersample)
    carried = torch.cat([subject.normals, subject.sky[:, None]], dim=-1)
    values = _at(carried, mesh.faces, raster)
    facing, reached = values[:, :3], values[:, 3:]
    uv = _at(subject.textured.uv, subject.textured.uv_faces, raster)
    if subject.relief is not None:
        facing = _read(subject.relief, uv, raster)
    normals = orbit.turn_to_camera(normalize(facing, dim=-1))
    key, fill = (_lit(normals, light, studio.wrap) for light in (studio.key, studio.fill))
    above = 0.5 + 0.5 * normals[:, 1:2]
    if look is Look.CLAY:
        light = reached.square() * (0.10 + 0.12 * above + 0.14 * fill)
        light = light + reached * 0.64 * key
        colours = light * normals.new_tensor(studio.clay)
    else:
        shade = 0.55 + 0.45 * reached
        light = shade * (0.52 + 0.08 * above + 0.10 * fill) + (0.5 + 0.5 * reached) * 0.30 * key
        colours = light * to_linear(_read(subject.albedo, uv, raster))
    paper = to_linear(colours.new_tensor(studio.background))
    mean = _pooled(_spread(colours - paper, raster), supersample) + paper
    return to_srgb(mean)


def sky_light(
    mesh: Mesh, *, directions: int = 64, size: int = 192, slack: float = 0.012
) -> Float[Tensor, "v"]:
    """Give the share of an evenly bright surrounding that each vertex sees (ambient occlusion).

    The mesh is drawn from points spread evenly on a sphere; a vertex sees those in which it is
    not behind another surface.

    Args:
        mesh: Closed surface.
        directions: How many points of view.
        size: Pixels along a side of each view.
        slack: Distance behind a surface that still counts as on it, as a share of the mesh's
            longest side: below a pixel of `size`, the surface would shadow itself.
    """
    normals, around = vertex_normals(mesh), enclosing(mesh)
    longest = max((mesh.vertices.amax(dim=0) - mesh.vertices.amin(dim=0)).tolist())
    seen, possible = torch.zeros_like(normals[:, 0]), torch.zeros_like(normals[:, 0])
    for index in range(directions):
        # Fibonacci's spiral: even on the sphere for any number of points.
        elevation = math.degrees(math.asin(1 - (2 * index + 1) / directions))
        azimuth = 360 * index * (math.sqrt(5) - 1) / 2
        orbit = Orbit(azimuth % 360, elevation, around.distance, around.fov_deg, around.centre)
        facing = (normals @ orbit.rotation().to(normals)[:, 2]).clamp(min=0)
        projected = orbit.project(mesh.vertices)
        nearest = _depth_map(mesh, orbit, size)
        at = grid_sample(
            nearest[None, None],
            (projected[:, :2] * projected.new_tensor([1.0, -1.0]))[None, None],
            mode="nearest",
            align_corners=False,
        )[0, 0, 0]
        seen += facing * (projected[:, 2] <= at + slack * longest)
        possible += facing
    share = seen / possible.clamp(min=1e-6)
    for _ in range(SMOOTHING):
        share = _averaged(share, mesh)
    return share


def enclosing(mesh: Mesh, *, fov_deg: float = 20.0) -> Orbit:
    """Give a camera that keeps the whole mesh in frame from any side."""
    low, high = mesh.vertices.amin(dim=0), mesh.vertices.amax(dim=0)
    centre = (low + high) / 2
    radius = float((mesh.vertices - centre).norm(dim=-1).max())
    distance = radius / math.sin(math.radians(fov_deg) / 2)
    x, y, z = centre.tolist()
    return Orbit(0.0, 0.0, distance, fov_deg, (x, y, z))


def fitted(
    mesh: Mesh,
    azimuths: Sequence[float],
    *,
    elevation_deg: float = 0.0,
    fov_deg: float = 20.0,
    fill: float = 0.92,
) -> Orbit:
    """Give the nearest camera whose frame the mesh fills to `fill` at the fullest azimuth.

    Returns:
        The camera at the first azimuth; the others share its distance and centre.
    """
    around = enclosing(mesh, fov_deg=fov_deg)
    centre = mesh.vertices.new_tensor(around.centre)
    distance = 0.0
    for azimuth in azimuths:
        orbit = Orbit(azimuth, elevation_deg, 1.0, fov_deg)
        across, up, nearer = orbit.turn_to_camera(mesh.vertices - centre).unbind(dim=-1)
        # |x| focal / (distance - nearer) <= fill, solved for the distance.
        need = torch.maximum(across.abs(), up.abs()) * (orbit.focal / fill) + nearer
        distance = max(distance, float(need.max()))
    return Orbit(azimuths[0], elevation_deg, distance, fov_deg, around.centre)


def _see(mesh: Mesh, orbit: Orbit, samples: int) -> Raster:
    """Rasterise in units of the camera's distance: clip planes are meant for scene units."""
    scale = 3.0 / orbit.distance
    x, y, z = orbit.centre
    near = Orbit(
        orbit.azimuth_deg,
        orbit.elevation_deg,
        3.0,
        orbit.fov_deg,
        (x * scale, y * scale, z * scale),
    )
    return rasterise(near.clip_coordinates(mesh.vertices * scale), mesh.faces, samples)


def _at(attributes: Float[Tensor, "v c"], faces: Tensor, raster: Raster) -> Float[Tensor, "p c"]:
    """Blend what the corners carry, at the covered samples only."""
    corners = faces.long()[raster.triangle.reshape(-1)[raster.pixels].long()]
    weights = corner_weights(raster)
    total = attributes[corners[:, 0]] * weights[:, :1]
    for corner in (1, 2):
        total = total.addcmul(attributes[corners[:, corner]], weights[:, corner : corner + 1])
    return total


def _read(image: Halvings, uv: Float[Tensor, "p 2"], raster: Raster) -> Float[Tensor, "p 3"]:
    """Look a map up, halved until one texel is about one sample."""
    level = image.levels[_level(image, raster)]
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)[None, None]
    found = grid_sample(level, grid, align_corners=False, padding_mode="border")
    return found[0, :, 0].T.contiguous()


def _level(image: Halvings, raster: Raster) -> int:
    """How often a map may be halved before it is coarser than the samples."""
    seen = torch.zeros_like(image.texels, dtype=torch.bool)
    seen[raster.triangle.reshape(-1)[raster.pixels].long()] = True
    texels_a_sample = float(image.texels[seen].sum()) / max(len(raster.pixels), 1)
    return min(int(math.log2(max(texels_a_sample, 1.0)) / 2), len(image.levels) - 1)


def _spread(values: Float[Tensor, "p c"], raster: Raster) -> Float[Tensor, "s s c"]:
    """Put the covered samples' values in their places, 0 elsewhere."""
    size = raster.size
    image = values.new_zeros(size * size, values.shape[-1])
    image[raster.pixels.long()] = values
    return image.reshape(size, size, -1)


def _pooled(image: Float[Tensor, "s s c"], factor: int) -> Float[Tensor, "h w c"]:
    """Average squares of samples."""
    if factor == 1:
        return image
    return avg_pool2d(image.movedim(-1, 0)[None], factor)[0].movedim(0, -1)


def _averaged(values: Float[Tensor, "v"], mesh: Mesh) -> Float[Tensor, "v"]:
    """Replace each vertex's value by the mean over the faces around it."""
    per_face = values[mesh.faces.long()].mean(dim=1)
    total, count = torch.zeros_like(values), torch.zeros_like(values)
    for corner in mesh.faces.long().unbind(dim=1):
        total = total.index_add(0, corner, per_face)
        count = count.index_add(0, corner, torch.ones_like(per_face))
    return torch.where(count > 0, total / count.clamp(min=1), values)


def _depth_map(mesh: Mesh, orbit: Orbit, size: int) -> Float[Tensor, "s s"]:
    """Distance along the viewing axis to the nearest surface; infinite where there is none."""
    raster = _see(mesh, orbit, size)
    depth = orbit.project(mesh.vertices)[:, 2:]
    image = depth.new_full((size * size,), math.inf)
    image[raster.pixels.long()] = _at(depth, mesh.faces, raster)[:, 0]
    return image.reshape(size, size)


def _lit(normals: Float[Tensor, "p 3"], light: Colour, wrap: float) -> Float[Tensor, "p 1"]:
    """Light that reaches a little past the edge, in [0, 1]."""
    direction = normalize(normals.new_tensor(light), dim=0)
    return ((normals @ direction + wrap) / (1 + wrap)).clamp(min=0)[:, None]
