"""People photographed once and seen from all around: what a view prior learns from.

V views with S pixels along a side; the photo has twice as many, P. Views are lit by the light
that the photo has on the whole: a lamp's shadow belongs to a photo, not to a texture.

The person stands where every shape prior puts a photo's: half-way between the two sides the median
depth is the reference distance. So a prior's sketches of the views lie where the views do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from geneman.camera import REFERENCE, Orbit
from geneman.curation.ring import Ring, in_bytes
from geneman.curation.synthetic.avatars import read_avatar
from geneman.curation.synthetic.bodies import Wardrobe
from geneman.curation.synthetic.light import Dye, Light, draw_dye, draw_light
from geneman.curation.synthetic.photograph import Scene, image, photographed
from geneman.curation.synthetic.poses import draw_pose
from geneman.curation.synthetic.sample import SMALLEST, Person
from geneman.curation.synthetic.seeing import both_sides, posed
from geneman.curation.synthetic.shots import Framed, draw_shot, frame
from geneman.curation.synthetic.surfaces import Look, Surface
from geneman.curation.synthetic.worn import draw_extras
from geneman.errors import OptionError
from geneman.storage import write_whole

EVERYTHING = torch.tensor([-math.inf, -math.inf, math.inf, math.inf])
"""Edges that cut nothing: left, bottom, right, top."""

FINER = 2
"""Samples along a pixel's side."""

ELEVATION = -10.0, 45.0
"""Degrees that views are asked for (METHOD section 3)."""

CLOSE = 0.3
"""Share of views that look closely at the head or the chest, if they are small in the photo."""

PER_PERSON = 4
"""Rings of the same dressed body in a row: dressing one takes longer than rendering a ring."""


@runtime_checkable
class Sketcher(Protocol):
    """Says from a photo what its views may look like."""

    @property
    def name(self) -> str:
        """Which one it is: sketches of another are not learnt from."""

    def __call__(
        self, photo: Float[Tensor, "p p 4"], orbits: Sequence[Orbit], size: int
    ) -> Float[Tensor, "v s s 7"]:
        """Draw views as rings have them, but in [0, 1].

        Args:
            photo: sRGB and cover in [0, 1].
            orbits: The cameras.
            size: S.
        """


@dataclass(frozen=True)
class Rings:
    """Rings by number: each index gives one, the same on every machine and run.

    What has been rendered is kept in a folder, if there is one; where all that is asked for
    lies there, neither people nor a renderer are needed.
    """

    files: tuple[Path, ...]
    """Avatars; may be empty if everything is rendered already."""
    size: int
    """S."""
    count: int
    """V."""
    seed: int
    wardrobe: Wardrobe | None = None
    bodies: float = 0.4
    """Share of dressed bodies among the people."""
    folder: Path | None = None
    """Where rendered rings are kept."""
    limit: int = 0
    """Different rings, which come again and again; 0: endlessly many."""
    plain: bool = False
    """Whether all views are taken as the photo is, but for their angles: Zero-1-to-3 can be told
    of no others."""
    sketcher: Sketcher | None = None
    """Draws what is known of the views beforehand, if that is to be learnt from."""
    _people: dict[tuple[str, int], Person] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def ring(self, index: int) -> Ring:
        """Give the ring with a number, rendered or read.

        Raises:
            OptionError: It has to be rendered, and there is nobody to render; or what lies in
                the folder was rendered at another size, looks closely where it should not, or was
                not sketched by this prior.
        """
        index = index % self.limit if self.limit else index
        if self.folder is None:
            return self._rendered(index)
        path = self.folder / f"{self.seed:03}-{index:07}.safetensors"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, self._rendered(index).to_bytes())
        # What was just rendered is read as well: the next run must see the same bits.
        ring = Ring.read(path)
        if ring.views.shape[:2] != (self.count, self.size):
            raise OptionError(
                f"Rings must have {self.count} views of {self.size} pixels",
                value=f"{ring.views.shape[0]} of {ring.views.shape[1]} in '{path.name}'",
                remedy="name another folder with --rings, or train at their --size",
            )
        if self.plain and not all(map(is_plain, ring.orbits)):
            raise OptionError(
                "These rings must look from the photo's distance alone",
                value=f"close views in '{path.name}'",
                remedy="name another folder with --rings: each prior has its own",
            )
        if self.sketcher is not None and ring.sketcher != self.sketcher.name:
            raise OptionError(
                f"These rings must have sketches by '{self.sketcher.name}'",
                value=f"'{ring.sketcher}' in '{path.name}'" if ring.sketcher else "none",
                remedy="name another folder with --rings: each prior has its own",
            )
        return ring

    def _rendered(self, index: int) -> Ring:
        if not self.files:
            raise OptionError(
                "A view prior learns from people, rendered before or now",
                value=f"no ring {index}" + (f" in '{self.folder}'" if self.folder else ""),
                remedy="name a folder of avatars with --people",
            )
        random = np.random.default_rng((self.seed, index))
        ring = draw_ring(self._person(index), random, self.size, self.count, plain=self.plain)
        if self.sketcher is None:
            return ring
        drawn = self.sketcher(ring.photo.float() / 255, ring.orbits, self.size)
        return replace(ring, sketches=in_bytes(drawn), sketcher=self.sketcher.name)

    def _person(self, index: int) -> Person:
        """Read an avatar or dress a body; the last few are kept."""
        number = index // PER_PERSON
        random = np.random.default_rng((self.seed, 1, number))
        dressed = self.wardrobe is not None and random.random() < self.bodies
        which = int(random.integers(len(self.files)))
        key = ("body", number) if dressed else ("avatar", which)
        if key not in self._people:
            while len(self._people) >= 32:  # noqa: PLR2004 (avatars; half a gigabyte)
                del self._people[next(iter(self._people))]
            if dressed and self.wardrobe is not None:
                self._people[key] = Person.of(self.wardrobe.dressed(random))
            else:
                self._people[key] = Person.of(read_avatar(self.files[which]))
        return self._people[key]


def draw_ring(
    person: Person, random: np.random.Generator, size: int, count: int, *, plain: bool = False
) -> Ring:
    """Pose, dress, light and photograph a person at random, and look from all around.

    Args:
        person: Who.
        random: All that is random.
        size: S.
        count: V.
        plain: Whether views differ from the photo in their angles alone.
    """
    while True:
        shot, dye, pose = draw_shot(random), draw_dye(random, person.materials), draw_pose(random)
        surface = person.rigged.surface.joined(draw_extras(random, person.figure, pose))
        points, normals = posed(surface, person.rigged.moves(pose))
        seen = shot.turn(points)
        head = seen[: len(person.head)][person.head]
        framed = frame(shot, seen, head)
        scene = _Scene(person, framed.points, shot.turn(normals), surface, dye)
        front, back = scene.sides(REFERENCE, 2 * size, framed.edges())
        if len(front.pixels) > SMALLEST * (2 * size) ** 2:
            break
    scene = scene.centred((front.depth + back.depth) / 2)
    light = draw_light(random)
    both = Scene(front.pixels, front.normal, front.depth, back.depth, 2 * size)
    bright, _ = both.lit(light, scene.dyed(front), scene.dyed(back))
    inside = image(torch.ones(len(front.pixels), 1), front.pixels, 2 * size)[..., 0] > 0
    colour, matte = photographed(image(bright, front.pixels, 2 * size), inside, random)
    evenly = _as_bright(light, front, scene.dyed(front), bright)
    orbits = draw_orbits(scene.points[: len(person.head)][person.head], random, count, plain=plain)
    rest = scene.cut(framed)
    views = [rest.picture(orbit, size, evenly) for orbit in orbits]
    photo = torch.cat([colour * (matte[..., None] > 0), matte[..., None]], dim=-1)
    return Ring(in_bytes(photo), in_bytes(torch.stack(views)), orbits)


def draw_orbits(
    head: Float[Tensor, "h 3"], random: np.random.Generator, count: int, *, plain: bool = False
) -> tuple[Orbit, ...]:
    """Draw cameras all around; some look closely at the head or the chest (METHOD section 4).

    Args:
        head: Points of the head, world.
        random: All that is random.
        count: V.
        plain: Whether they differ from the photo's in their angles alone.
    """
    start = random.uniform(0, 360)
    low, high = head.amin(dim=0), head.amax(dim=0)
    tall = float(high[2] - low[2])
    orbits = []
    for number in range(count):
        azimuth = (start + 360 * (number + random.uniform(0, 1)) / count + 180) % 360 - 180
        elevation = _elevation(random)
        if plain:
            orbits.append(Orbit(azimuth, elevation))
            continue
        # A head fills 35 to 50 % of a close view; with chest and shoulders 20 to 30 %.
        share = random.uniform(0.35, 0.5) if random.random() < 0.6 else random.uniform(0.2, 0.3)  # noqa: PLR2004
        near = tall / share * REFERENCE.focal / 2
        if random.random() < CLOSE and near < 0.8 * REFERENCE.distance:
            x, y, z = ((low + high) / 2).tolist()
            down = tall * max(0.0, 0.35 / share - 0.9)
            orbits.append(Orbit(azimuth, elevation, near, centre=(x, y, z - down)))
        elif random.random() < 0.5:  # noqa: PLR2004 (the camera that stages ask most)
            orbits.append(Orbit(azimuth, elevation))
        else:
            distance, fov = random.uniform(2.9, 3.5), random.uniform(20, 25)
            orbits.append(Orbit(azimuth, elevation, distance, fov))
    return tuple(orbits)


def is_plain(orbit: Orbit) -> bool:
    """Say whether a camera differs from the photo's in its angles alone."""
    return orbit == replace(
        REFERENCE, azimuth_deg=orbit.azimuth_deg, elevation_deg=orbit.elevation_deg
    )


def _elevation(random: np.random.Generator) -> float:
    """Half of them uniform in degrees, half on the sphere (METHOD section 2)."""
    if random.random() < 0.5:  # noqa: PLR2004 (a half is a half)
        return float(random.uniform(*ELEVATION))
    low, high = (math.sin(math.radians(bound)) for bound in ELEVATION)
    return math.degrees(math.asin(random.uniform(low, high)))


@dataclass(frozen=True)
class _Evenly:
    """The photo's light without its directions: what textures are wanted in."""

    light: Light
    fallen: Float[Tensor, "3"]

    def on(self, albedo: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
        """Light an albedo; gives sRGB."""
        return self.light.developed(albedo * self.fallen)


def _as_bright(
    light: Light,
    front: Look,
    albedo: Float[Tensor, "p 3"],
    seen: Float[Tensor, "p 3"],
) -> _Evenly:
    """Average the light, as bright as the photo, shadows included, is on the whole."""
    everywhere = torch.ones(len(front.pixels))
    fallen = light.on(front.normal, everywhere, everywhere).mean(dim=0)
    evenly = light.developed(albedo * fallen)
    return _Evenly(light, fallen * ((seen**2.2).mean() / (evenly**2.2).mean().clamp_min(1e-6)))


@dataclass(frozen=True)
class _Scene:
    """A posed person before the cameras."""

    person: Person
    points: Float[Tensor, "v 3"]
    """World, in scene units, framed as the photo."""
    normals: Float[Tensor, "v 3"]
    """The reference camera's frame."""
    surface: Surface
    dye: Dye

    def sides(
        self, orbit: Orbit, size: int, edges: Float[Tensor, "4"] = EVERYTHING
    ) -> tuple[Look, Look]:
        """See the person from a camera: the near side and the far one."""
        closer = torch.tensor([*[orbit.focal / REFERENCE.focal] * 2, 1.0])
        points = REFERENCE.to_world(orbit.to_camera(self.points) * closer)
        normals = orbit.turn_to_camera(REFERENCE.turn_to_world(self.normals)).contiguous()
        return both_sides(points, normals, self.surface, self.person.textures, edges, size)

    def centred(self, middle: Float[Tensor, "p"]) -> "_Scene":
        """Move the person along the photo's rays until half-way the reference distance is.

        Args:
            middle: Depth half-way between the sides, at the photo's pixels.
        """
        nearer = REFERENCE.distance / float(middle.median())
        return replace(self, points=REFERENCE.to_world(nearer * REFERENCE.to_camera(self.points)))

    def dyed(self, look: Look) -> Float[Tensor, "p 3"]:
        """Give the albedo that a side shows, in linear light."""
        bare = self.person.figure.bare(look.places)
        return self.dye.dyed(look.albedo, look.label, look.places, bare)

    def cut(self, framed: Framed) -> "_Scene":
        """Take away the triangles that lie wholly beyond the photo's edges."""
        x, y, _ = REFERENCE.project(self.points).unbind(dim=1)
        kept = (x >= framed.left) & (x <= framed.right) & (y >= framed.bottom)
        faces = self.surface.faces
        faces = faces[kept[faces.long()].any(dim=1)].contiguous()
        return replace(self, surface=replace(self.surface, faces=faces))

    def picture(self, orbit: Orbit, size: int, light: _Evenly) -> Float[Tensor, "s s 7"]:
        """Average samples into the layers of one view."""
        look, _ = self.sides(orbit, FINER * size)
        one = torch.ones(len(look.pixels), 1)
        layers = torch.cat([light.on(self.dyed(look)), one, look.normal / 2 + 0.5], dim=1)
        planes = image(layers, look.pixels, FINER * size).movedim(-1, 0)[None]
        whole = avg_pool2d(planes, FINER)[0].movedim(0, -1)
        return torch.cat([whole[..., :3] + 1 - whole[..., 3:4], whole[..., 3:]], dim=-1)
