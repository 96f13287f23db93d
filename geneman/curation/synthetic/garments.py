"""Clothes, shoes and hair that fit any MakeHuman body: the .mhclo format.

Each vertex of a garment hangs on three vertices of the base mesh (hm08) and stands off them by
an offset that grows with the body. MakeHuman's axes: x to the person's left, y up, z forward, in
decimetres; ours: x to the person's left, z up, facing -y, in metres.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

WORLD_AXES = (0, 2, 1)
"""Our axis for each of MakeHuman's x, y, z."""


@dataclass(frozen=True)
class Garment:
    """A garment's mesh and how it hangs on the base mesh; G vertices."""

    anchors: Numbers
    """G x 3 vertices of the base mesh."""
    shares: Array
    """G x 3 weights of the anchors."""
    offsets: Array
    """G x 3, MakeHuman's axes, for the body on which the garment was made."""
    spans: tuple[tuple[int, int, float], ...]
    """For x, y, z: two base vertices, and how far apart they were there (decimetres)."""
    hidden: Numbers
    """Base vertices that the garment covers, whose skin is not drawn."""
    faces: Numbers
    """F x 3 vertices of the garment."""
    uv: Array
    """T x 2, v up."""
    uv_faces: Numbers
    texture: NDArray[np.uint8]

    def fitted(self, base: Array) -> Array:
        """Hang the garment on a body.

        Args:
            base: The body's base mesh, metres, our axes, V x 3.

        Returns:
            G x 3.
        """
        hung: Array = (base[self.anchors] * self.shares[..., None]).sum(axis=1)
        for axis, (first, second, span) in enumerate(self.spans):
            ours = WORLD_AXES[axis]
            growth = abs(base[first, ours] - base[second, ours]) / span
            sign = -1.0 if ours == 1 else 1.0  # MakeHuman's forward is our -y
            hung[:, ours] += sign * self.offsets[:, axis] * growth
        return hung


def read_garment(path: Path, side: int) -> Garment:
    """Read a .mhclo file with its .obj and texture.

    Args:
        path: The .mhclo file.
        side: Pixels along a side that the texture is brought to.
    """
    spans: dict[str, tuple[int, int, float]] = {}
    anchors, shares, offsets, hidden = [], [], [], []
    section, mesh = "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words or words[0] == "#":
            continue
        if words[0] == "obj_file":
            mesh = words[1]
        elif words[0] in ("x_scale", "y_scale", "z_scale"):
            spans[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0] in ("verts", "delete_verts"):
            section = words[0]
        elif section == "verts" and words[0].isdigit():
            whole = len(words) == 1  # one vertex holds all
            anchors.append([int(w) for w in (words * 3 if whole else words[:3])])
            shares.append([1.0, 0.0, 0.0] if whole else [float(w) for w in words[3:6]])
            offsets.append([0.0, 0.0, 0.0] if whole else [float(w) for w in words[6:9]])
        elif section == "delete_verts":
            hidden += _ranges(words)
    vertices, faces, uv, uv_faces = _read_obj(path.parent / mesh)
    if vertices != len(anchors):
        raise ValueError(f"{path}: {len(anchors)} anchors for {vertices} vertices")
    return Garment(
        anchors=np.array(anchors),
        shares=np.array(shares),
        offsets=np.array(offsets),
        spans=(spans["x"], spans["y"], spans["z"]),
        hidden=np.array(hidden, np.int64),
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        texture=read_texture(_texture_of(path), side),
    )


def _ranges(words: list[str]) -> list[int]:
    """Read '3 7 - 9' as 3, 7, 8, 9."""
    numbers: list[int] = []
    until = False
    for word in words:
        if word == "-":
            until = True
        elif until:
            numbers += range(numbers[-1] + 1, int(word) + 1)
            until = False
        else:
            numbers.append(int(word))
    return numbers


def _read_obj(path: Path) -> tuple[int, Numbers, Array, Numbers]:
    """Give the number of vertices, triangles, texture coordinates and their triangles."""
    vertices, uv, faces, uv_faces = 0, [], [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices += 1
        elif kind == "vt":
            uv.append([float(w) for w in words[:2]])
        elif kind == "f":
            corners = [[int(n or 1) - 1 for n in word.split("/")[:2]] for word in words]
            for second, third in itertools.pairwise(corners[1:]):
                faces.append([corners[0][0], second[0], third[0]])
                uv_faces.append([corners[0][1], second[1], third[1]])
    return vertices, np.array(faces), np.array(uv), np.array(uv_faces)


def _texture_of(path: Path) -> Path:
    """Find the picture that the garment's material names, or the one beside it."""
    for material in sorted(path.parent.rglob("*.mhmat")):
        for line in material.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["diffuseTexture"] and (material.parent / words[1]).exists():
                return material.parent / words[1]
    found = sorted(path.parent.rglob("*diffuse*.png")) or sorted(path.parent.rglob("*.png"))
    if not found:
        raise FileNotFoundError(f"{path}: no texture")
    return found[0]


def read_texture(path: Path, side: int) -> NDArray[np.uint8]:
    """Read a picture, square; what is transparent takes the mean colour of what is not."""
    with Image.open(path) as picture:
        small = np.asarray(picture.convert("RGBA").resize((side, side)), np.float64)
    share = small[..., 3:] / 255
    mean = (small[..., :3] * share).sum(axis=(0, 1)) / max(float(share.sum()), 1e-6)
    filled = small[..., :3] * share + mean * (1 - share)
    texture: NDArray[np.uint8] = filled.round().astype(np.uint8)
    return texture
