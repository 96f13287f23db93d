"""One rendered person: the photo that a network is shown, and both sides that it should find.

S pixels along a side. The photo is framed and cut out as `prepare` does it; depth is along the
viewing axis in scene units, and halfway between the two sides its median is the reference
distance, as every shape prior gives it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.camera import REFERENCE
from geneman.curation.synthetic.figure import Figure
from geneman.curation.synthetic.folds import creased
from geneman.curation.synthetic.landmarks import Joints, noticed
from geneman.curation.synthetic.light import Materials, draw_dye, draw_light, plain
from geneman.curation.synthetic.photograph import Scene, image, photographed
from geneman.curation.synthetic.poses import draw_pose
from geneman.curation.synthetic.rigged import Rigged
from geneman.curation.synthetic.seeing import both_sides, posed
from geneman.curation.synthetic.shots import draw_shot, frame
from geneman.curation.synthetic.surfaces import Textures
from geneman.curation.synthetic.worn import draw_extras
from geneman.view import Framing

SMALLEST = 0.04
"""Least share of the square that a person covers in a photo worth learning from."""


@dataclass(frozen=True)
class Sample:
    """Images are H W C; values outside `inside` are 0 in all but `colour` and `cover`."""

    colour: Float[Tensor, "s s 3"]
    """sRGB, as a cut-out has it: clean inside, anything outside."""
    cover: Float[Tensor, "s s"]
    """As a matting algorithm gives it: with errors along the edge."""
    inside: Bool[Tensor, "s s"]
    """The pixels where the person truly is."""
    normal: Float[Tensor, "s s 3"]
    depth: Float[Tensor, "s s"]
    hidden_normal: Float[Tensor, "s s 3"]
    hidden_depth: Float[Tensor, "s s"]
    hidden_colour: Float[Tensor, "s s 3"]
    landmarks: Float[Tensor, "33 4"]
    """MediaPipe's body points, as it may find them: x, y in [-1, 1], y up, z, visibility."""
    framing: Framing
    """How much of the person is shown."""


@dataclass(frozen=True)
class Person:
    """An avatar with what is found out once for all its pictures."""

    rigged: Rigged
    materials: Materials
    textures: Textures
    head: Bool[Tensor, "v"]
    figure: Figure
    joints: Joints

    @staticmethod
    def of(rigged: Rigged) -> "Person":
        """Find out what is needed; what hangs on the head's bone belongs to the head."""
        above = list(rigged.parents)
        head: list[bool] = []
        for bone, parent in zip(rigged.bones, above, strict=True):
            head.append(bone == "Head" or (parent >= 0 and head[parent]))
        share = torch.tensor(head)[rigged.joints.long()] * rigged.weights
        materials = Materials.of(rigged.texture, rigged.skin_share)
        textures = Textures.of(rigged.texture, materials.label, len(materials.dyeable))
        upper = share.sum(dim=1) > 0.5  # noqa: PLR2004 (mostly)
        return Person(
            rigged, materials, textures, upper, Figure.of(rigged, upper), Joints.of(rigged)
        )


def draw_sample(
    person: Person, random: np.random.Generator, size: int, *, washed: float = 0.0
) -> Sample:
    """Pose, dress, light and photograph a person at random.

    Args:
        person: Who.
        random: All that is random.
        size: Pixels along a side.
        washed: Share of people whose clothes show nothing but their own folds.
    """
    while True:
        shot, dye, pose = draw_shot(random), draw_dye(random, person.materials), draw_pose(random)
        surface = person.rigged.surface.joined(draw_extras(random, person.figure, pose))
        moves = person.rigged.moves(pose)
        points, normals = posed(surface, moves)
        seen = shot.turn(points)
        framed = frame(shot, seen, seen[: len(person.head)][person.head])
        turned = shot.turn(normals).contiguous()
        edges = framed.edges()
        front, back = both_sides(framed.points, turned, surface, person.textures, edges, size)
        if len(front.pixels) > SMALLEST * size * size:
            break
    light = draw_light(random)
    bare = [person.figure.bare(look.places) for look in (front, back)]
    colours = [
        dye.dyed(look.albedo, look.label, look.places, skin)
        for look, skin in zip((front, back), bare, strict=True)
    ]
    cloth = dye.cloth(front.label, bare[0])
    if washed and random.random() < washed:
        colours[0] = plain(random, colours[0], cloth, front.places)
    normal, left = creased(random, front, cloth, framed.scale, size)
    scene = Scene(front.pixels, normal, front.depth, back.depth, size)
    seen_colours, hidden_colours = scene.lit(light, colours[0] * left[:, None], colours[1])
    shift = REFERENCE.distance - float(((front.depth + back.depth) / 2).median())
    inside = image(torch.ones(len(front.pixels), 1), front.pixels, size)[..., 0] > 0
    colour, cover = photographed(image(seen_colours, front.pixels, size), inside, random)

    def plane(values: Float[Tensor, "p c"]) -> Float[Tensor, "s s c"]:
        return image(values, front.pixels, size)

    where = framed.placed(shot.turn(person.joints.carried(moves)))
    return Sample(
        colour=colour,
        cover=cover,
        inside=inside,
        normal=plane(normal),
        depth=plane(front.depth[:, None] + shift)[..., 0],
        hidden_normal=plane(back.normal),
        hidden_depth=plane(back.depth[:, None] + shift)[..., 0],
        hidden_colour=plane(hidden_colours),
        landmarks=noticed(
            person.joints.landmarks(where, plane(front.depth[:, None])[..., 0]), random
        ),
        framing=shot.framing,
    )
