"""People to measure reconstructions by: a cut-out photo, its camera, and the truth in 3D.

V vertices, F triangles, S pixels along a side, T texels along a side. Nobody here was trained on:
identities, outfits and suits are those that `people.split` and `Wardrobe` keep apart.

    DIR/CASE/input.png      RGBA, transparent around the person
    DIR/CASE/camera.json    fov_deg, distance, elevation_deg, azimuth_deg, centre (metres, z up)
    DIR/CASE/truth.glb      textured, metres, glTF's axes, posed
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from geneman.camera import REFERENCE, Orbit
from geneman.curation.synthetic.avatars import read_avatar
from geneman.curation.synthetic.bodies import Wardrobe
from geneman.curation.synthetic.light import Dye, Light, draw_dye, draw_light
from geneman.curation.synthetic.photograph import image
from geneman.curation.synthetic.poses import draw_pose
from geneman.curation.synthetic.sample import SMALLEST, Person
from geneman.curation.synthetic.seeing import both_sides, posed
from geneman.curation.synthetic.seeing_plain import coloured
from geneman.curation.synthetic.shots import Framed, Shot, frame
from geneman.curation.synthetic.surfaces import Surface
from geneman.curation.synthetic.worn import draw_extras
from geneman.errors import OptionError
from geneman.gltf import write_glb
from geneman.mesh import Mesh, TexturedMesh
from geneman.storage import write_whole
from geneman.view import Framing

PHOTO, CAMERA, TRUTH = "input.png", "camera.json", "truth.glb"
"""Names of a case's files."""

FRAMINGS = (Framing.FULL_BODY, Framing.HALF_BODY, Framing.FULL_BODY, Framing.HEAD)
"""In turn: half of the cases show whole bodies."""

BELOW_CROWN = {Framing.HALF_BODY: (2.6, 4.2), Framing.HEAD: (1.5, 2.1)}
"""Heights of the head below its top at which a photo may be cut."""

FINER = 2
"""Samples along a pixel's side."""

TEXELS = 6
"""Texels along the short sides of each triangle's own patch of the texture."""


@dataclass(frozen=True)
class BenchmarkCase:
    """One person, photographed and known from all sides."""

    photo: Float[Tensor, "s s 4"]
    """sRGB and cover."""
    camera: Orbit
    """Where the photo was taken from, metres."""
    truth: TexturedMesh
    """Metres, z up, in the light that the photo has on the whole."""

    def write(self, folder: Path) -> None:
        """Write the three files; the camera last, so that a whole case has one."""
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (self.photo.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / PHOTO)
        write_glb(folder / TRUTH, self.truth)
        write_whole(folder / CAMERA, json.dumps(asdict(self.camera), indent=2).encode())


@dataclass(frozen=True)
class Benchmark:
    """Cases by number: each index gives one, the same on every machine and run."""

    files: tuple[Path, ...]
    """Avatars of identities that are never trained on."""
    wardrobe: Wardrobe | None = None
    """Dresses every other four bodies in suits that are never trained on."""
    size: int = 768
    """S."""
    seed: int = 0

    def case(self, index: int) -> BenchmarkCase:
        """Draw the case with a number."""
        random = np.random.default_rng((self.seed, index))
        framing, turn = FRAMINGS[index % len(FRAMINGS)], index // len(FRAMINGS)
        if self.wardrobe is not None and turn % 2:
            rigged = self.wardrobe.dressed(random)
        else:
            order = np.random.default_rng(self.seed).permutation(len(self.files))
            rigged = read_avatar(self.files[order[index % len(order)]])
        return draw_case(Person.of(rigged), framing, random, self.size)


def write_cases(benchmark: Benchmark, count: int, out: Path) -> Iterator[str]:
    """Write cases that are not there yet, and name each as it is there.

    Args:
        benchmark: The cases.
        count: How many.
        out: A folder that gets a folder for each.

    Raises:
        OptionError: No case was asked for.
    """
    if count < 1:
        raise OptionError(
            "--cases must be at least 1", value=count, remedy="leave it out for 24 cases"
        )
    for index in range(count):
        name = f"{index:03d}_{FRAMINGS[index % len(FRAMINGS)].value}"
        if not (out / name / CAMERA).is_file():
            benchmark.case(index).write(out / name)
        yield name


def draw_case(
    person: Person, framing: Framing, random: np.random.Generator, size: int
) -> BenchmarkCase:
    """Pose, dress, light and photograph a person at random, from near the front.

    Args:
        person: Who.
        framing: How much of them the photo shows.
        random: All that is random.
        size: Pixels along the photo's sides.
    """
    while True:
        shot, dye, pose = (
            _shot(random, framing),
            draw_dye(random, person.materials),
            draw_pose(random),
        )
        surface = person.rigged.surface.joined(draw_extras(random, person.figure, pose))
        points, normals = posed(surface, person.rigged.moves(pose))
        seen = shot.turn(points)
        framed = frame(shot, seen, seen[: len(person.head)][person.head])
        light = draw_light(random)
        photo, fallen = _photographed(
            person, surface, framed, shot.turn(normals).contiguous(), dye, light, size
        )
        if float(photo[..., 3].mean()) > SMALLEST:
            break
    truth = baked(person, surface, points, dye, light, fallen)
    return BenchmarkCase(photo, camera_of(framed, shot), truth)


def camera_of(framed: Framed, shot: Shot) -> Orbit:
    """Give the camera, in the person's metres, that sees what the reference camera is shown."""
    turn = replace(REFERENCE, azimuth_deg=shot.azimuth_deg, elevation_deg=shot.elevation_deg)
    distance = REFERENCE.distance / framed.scale
    behind = torch.tensor([0.0, 0.0, distance])
    x, y, z = (-turn.turn_to_world(framed.shift / framed.scale + behind)).tolist()
    return replace(turn, distance=distance, centre=(x, y, z))


def _shot(random: np.random.Generator, framing: Framing) -> Shot:
    """Draw a view of somebody who faces the camera, more or less, as people are photographed."""
    below = random.uniform(*BELOW_CROWN[framing]) if framing in BELOW_CROWN else math.inf
    azimuth, elevation = random.normal(0, 12), random.normal(3, 5)
    return Shot(float(azimuth), float(elevation), 0.0, float(below), math.inf)


def _photographed(
    person: Person,
    surface: Surface,
    framed: Framed,
    normals: Float[Tensor, "v 3"],
    dye: Dye,
    light: Light,
    size: int,
) -> tuple[Float[Tensor, "s s 4"], Float[Tensor, "3"]]:
    """Take the photo, without cast shadows; besides the light that falls on the whole."""
    fine = FINER * size
    front, _ = both_sides(framed.points, normals, surface, person.textures, framed.edges(), fine)
    albedo = dye.dyed(front.albedo, front.label, front.places, person.figure.bare(front.places))
    everywhere = torch.ones(len(front.pixels))
    fallen = light.on(front.normal, everywhere, everywhere)
    colours = light.developed(albedo * fallen + light.shine(front.normal))
    planes = image(torch.cat([colours, everywhere[:, None]], dim=1), front.pixels, fine)
    mean = avg_pool2d(planes.movedim(-1, 0)[None], FINER)[0].movedim(0, -1)
    cover = mean[..., 3:]
    # A cut-out has the person's own colours along the edge, not those of an empty background.
    return torch.cat([mean[..., :3] / cover.clamp_min(1e-6), cover], dim=-1), fallen.mean(dim=0)


def baked(
    person: Person,
    surface: Surface,
    points: Float[Tensor, "v 3"],
    dye: Dye,
    light: Light,
    fallen: Float[Tensor, "3"],
) -> TexturedMesh:
    """Give a dyed person one texture, in even light; each triangle has a patch of its own.

    A patch is a square whose lower left half is the triangle, its corners at the middles of
    texels, so that nothing of a neighbour is ever blended in.
    """
    faces = surface.faces.long()
    across = math.ceil(math.sqrt(len(faces)))
    side = across * TEXELS
    shares = _patch()
    colours = torch.zeros(across * across, len(shares), 3)
    corners = faces.repeat_interleave(len(shares), dim=0)
    albedo, label, places = coloured(
        corners, shares.repeat(len(faces), 1)[..., None], surface, person.textures
    )
    dyed = dye.dyed(albedo, label, places, person.figure.bare(places))
    colours[: len(faces)] = light.developed(dyed * fallen).reshape(len(faces), -1, 3)
    square = colours.reshape(across, across, TEXELS, TEXELS, 3)
    albedo_image = square.transpose(1, 2).reshape(side, side, 3)
    number = torch.arange(len(faces))
    corner = torch.tensor([[0.0, 0.0], [TEXELS - 1.0, 0.0], [0.0, TEXELS - 1.0]]) + 0.5
    first = torch.stack([number % across, number // across], dim=1) * TEXELS
    uv = (first[:, None] + corner) / side
    uv[..., 1] = 1 - uv[..., 1]
    uv_faces = torch.arange(3 * len(faces)).reshape(-1, 3)
    return TexturedMesh(Mesh(points, faces), uv.reshape(-1, 2), uv_faces, albedo_image)


def _patch() -> Float[Tensor, "t 3"]:
    """Give each texel's shares of the corners, row by row; those outside are moved to the edge."""
    steps = torch.arange(TEXELS) / (TEXELS - 1)
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    both = torch.stack([across, down], dim=-1).reshape(-1, 2)
    both = both / both.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.cat([1 - both.sum(dim=1, keepdim=True), both], dim=1)
