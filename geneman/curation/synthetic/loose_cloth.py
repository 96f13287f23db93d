"""Loose cloth, which no body template has: spun around a body's outline at rest, hung on its bones.

Rest frame: z up, facing -y, metres.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from geneman.curation.synthetic.figure import TURNS, Figure, no_texture, without_texture
from geneman.curation.synthetic.solids import tube
from geneman.curation.synthetic.surfaces import Surface

Array = NDArray[np.float64]

ROWS = 18
"""Of the mesh of a skirt."""

DRESSES = 0.4
"""Share of skirts that begin at the chest."""


def skirt(random: np.random.Generator, figure: Figure, material: int) -> Surface:
    """Spin cloth around hips and legs, wider towards the hem, with folds; a dress begins higher."""
    hips, knee = figure.head_of("Hips")[2], figure.head_of("LeftLeg")[2]
    top = hips + random.uniform(0, 0.1)
    if random.random() < DRESSES:
        top = figure.head_of("Spine1")[2] + random.uniform(0.05, 0.2)
    hem = knee + random.uniform(-0.85, 0.6) * (hips - knee)
    z = np.linspace(top, max(hem, 0.03), ROWS)
    angle = np.arange(TURNS) * 2 * np.pi / TURNS
    flare, count = random.uniform(0.0, 0.45), int(random.integers(4, 12))
    depth, phase, twist = random.uniform(0, 0.12), *random.uniform(0, 6.3, 2)
    radius, rows = np.zeros(TURNS), []
    lowest_tight = hips + 0.05  # from there on, cloth hangs
    for height, own in zip(z, figure.radii(z) + 0.012, strict=True):
        below = max(hips - height, 0.0)
        radius = np.maximum(own, radius) if height < lowest_tight else own
        wide = radius + flare * below * 0.6
        fold = np.sin(count * angle + phase + 0.8 * np.sin(angle * 2 + twist))
        rows.append(wide * (1 + depth * min(below / 0.3, 1.0) * fold))
    rings = np.stack(rows)
    x = figure.axis[0] + rings * np.cos(angle)
    y = figure.axis[1] + rings * np.sin(angle)
    points = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=-1).reshape(-1, 3)
    follow = np.clip((hips - points[:, 2]) / max(hips - knee, 0.1), 0, 1)
    follow = 0.85 * follow * follow * (3 - 2 * follow)
    left = 1 / (1 + np.exp(-(points[:, 0] - figure.axis[0]) / 0.035))
    shares = np.stack([1 - follow, follow * left, follow * (1 - left)], axis=1)
    bones = [figure.bone(name) for name in ("Hips", "LeftUpLeg", "RightUpLeg")]
    return without_texture(
        points, tube(ROWS, TURNS), np.broadcast_to(bones, shares.shape), shares, material
    )


def jacket(random: np.random.Generator, figure: Figure, material: int) -> Surface:
    """Lift trunk and sleeves off the body, unevenly."""
    used, faces = np.unique(figure.jacket, return_inverse=True)
    points = figure.rigged.vertices.numpy()[used].astype(np.float64)
    normals = figure.rigged.normals.numpy()[used]
    waves = random.normal(0, 12, (3, 3))
    lift = random.uniform(0.012, 0.03) + 0.006 * np.sin(
        points @ waves + random.uniform(0, 6, 3)
    ).sum(1)
    surface = figure.rigged.surface
    return Surface(
        torch.from_numpy(points + normals * np.maximum(lift, 0.004)[:, None]).float(),
        surface.normals[used],
        no_texture(len(used), material),
        torch.from_numpy(faces.reshape(-1, 3)).int(),
        surface.joints[used],
        surface.weights[used],
    )


def scarf(random: np.random.Generator, figure: Figure, material: int) -> list[Surface]:
    """Wind a roll around the neck and let an end hang down the chest."""
    neck = figure.head_of("Neck")
    spine, bone = figure.bone("Spine1"), figure.bone("Neck")
    wide, thick = random.uniform(0.085, 0.12), random.uniform(0.025, 0.045)
    across, along = np.meshgrid(
        np.arange(12) * 2 * np.pi / 12, np.arange(TURNS) * 2 * np.pi / TURNS, indexing="ij"
    )
    wobble = 1 + 0.15 * np.sin(3 * along + random.uniform(0, 6)) + 0.1 * np.sin(5 * along + across)
    ring = wide + thick * np.cos(across) * wobble
    points = np.stack(
        [
            neck[0] + ring * np.sin(along),
            neck[1] + 0.01 + ring * np.cos(along),
            neck[2] + 0.02 + thick * np.sin(across) * wobble + 0.025 * np.cos(along),
        ],
        axis=-1,
    ).reshape(-1, 3)
    shares = np.full((len(points), 2), 0.5)
    bones = np.broadcast_to([bone, spine], shares.shape)
    parts = [without_texture(points, tube(12, TURNS, closed=True), bones, shares, material)]
    if random.random() < 0.6:  # noqa: PLR2004 (else the ends are tucked away)
        parts.append(_hanging_end(random, figure, neck, material))
    return parts


def _hanging_end(
    random: np.random.Generator, figure: Figure, neck: Array, material: int
) -> Surface:
    length, width, aside = (
        random.uniform(0.2, 0.6),
        random.uniform(0.05, 0.09),
        random.normal(0, 0.05),
    )
    down, over = np.meshgrid(np.linspace(0, 1, 14), np.linspace(-1, 1, 8), indexing="ij")
    z = neck[2] - 0.02 - down * length
    front = figure.radii(z[:, 0])[:, round(TURNS * 0.75) % TURNS]
    y = figure.axis[1] - front[:, None] - 0.02 - 0.012 * np.cos(over * 4 + down * 5)
    x = neck[0] + aside + over * width * (1 + 0.2 * np.sin(down * 7))
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    low = np.clip(down.reshape(-1) * length / 0.4, 0, 1)
    shares = np.stack([1 - low, low], axis=1)
    bones = np.broadcast_to([figure.bone("Spine1"), figure.bone("Spine")], shares.shape)
    return without_texture(points, tube(14, 8, around=False), bones, shares, material)
