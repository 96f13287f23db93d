"""Anny's parametric bodies of all ages and shapes, dressed with MakeHuman's clothes and hair."""

import importlib
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geneman.curation.synthetic.garments import Garment, read_garment, read_texture
from geneman.curation.synthetic.rigged import Rigged
from geneman.errors import MissingComponentError
from geneman.mesh import Mesh, vertex_normals

SIDE = 384
"""Pixels along a side of each garment's texture."""

BONES = {
    "root": "Hips",
    "spine04": "Spine",
    "spine02": "Spine1",
    "neck02": "Neck",
    "head": "Head",
    **{
        f"{theirs}.{side[0]}": f"{side}{ours}"
        for side in ("Left", "Right")
        for theirs, ours in (
            ("clavicle", "Shoulder"),
            ("upperarm01", "Arm"),
            ("lowerarm01", "ForeArm"),
            ("wrist", "Hand"),
            ("upperleg01", "UpLeg"),
            ("lowerleg01", "Leg"),
            ("foot", "Foot"),
            *(
                (f"finger{number}-{joint}", f"Hand{finger}{joint}")
                for number, finger in enumerate(("Index", "Middle", "Ring", "Pinky"), start=2)
                for joint in (1, 2, 3)
            ),
        )
    },
}
"""What the poses call the bones of Anny's rig."""

INFLUENCES = 6
"""Bones that hold one vertex, at most."""

KEPT = 4
"""Every so many suits, one is kept for validation."""

BALD, HATLESS = 0.08, 0.9
"""Shares of people."""


@dataclass(frozen=True)
class _Part:
    """A piece of a dressed body: triangles over its own vertices and texture."""

    vertices: NDArray[np.float64]
    weights: NDArray[np.float64]
    """V x B, dense."""
    faces: NDArray[np.int64]
    uv: NDArray[np.float64]
    uv_faces: NDArray[np.int64]
    texture: NDArray[np.uint8]


@dataclass
class Wardrobe:
    """MakeHuman's assets and Anny's body model, read when they are first needed."""

    folder: Path
    """Holds `clothes`, `hair` and `skins`."""
    held_out: bool = False
    """Whether bodies wear the suits that are kept for validation, or all the others."""
    _garments: dict[Path, Garment] = field(default_factory=dict)
    _skins: dict[Path, NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse before anything is rendered where Anny is absent.

        Raises:
            MissingComponentError: It is not installed.
        """
        if find_spec("anny") is None:
            raise MissingComponentError(
                "dressing people from a wardrobe needs the package anny",
                value="no such package",
                remedy="install it with: pip install 'geneman[train]', or leave out --wardrobe",
            )

    @cached_property
    def model(self) -> Any:
        """Anny with MakeHuman's whole base mesh, on which garments hang."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own defaults
            anny = importlib.import_module("anny")
            legacy = importlib.import_module("anny.models.legacy")

            return anny.Anny(
                rig=legacy.legacy_rig_to_anny("default", "blender-rootidentity"),
                topology=legacy.legacy_topology_to_anny("default", False, False),
            )

    def dressed(self, random: np.random.Generator) -> Rigged:
        """Draw a body and dress it."""
        age, gender = float(random.uniform(0.25, 1.0)), float(random.random())
        shape = {
            "age": age,
            "gender": gender,
            "muscle": float(random.uniform(0.2, 0.9)),
            "weight": float(random.uniform(0.15, 0.95)),
            "height": float(random.uniform(0.2, 0.8)),
            "proportions": float(random.uniform(0.3, 0.9)),
        }
        base, heads = self._shaped(shape)
        worn = [self._garment(path) for path in self._outfit(random, female=gender < 0.5)]  # noqa: PLR2004
        skins = sorted((self.folder / "skins" / "textures").glob("*lightskinned*.png"))
        skins += sorted((self.folder / "skins" / "textures").glob("*darkskinned*.png"))
        sex = "_female" if gender < 0.5 else "_male"  # noqa: PLR2004
        fitting = [skin for skin in skins if sex in skin.stem]
        skin = fitting[int(random.integers(len(fitting)))]
        return _joined(self, base, heads, worn, self._skin(skin))

    def _outfit(self, random: np.random.Generator, *, female: bool) -> list[Path]:
        """Choose a suit, shoes, hair and sometimes a hat."""
        sex = "female" if female else "male"
        suits = [
            path
            for number, path in enumerate(
                sorted((self.folder / "clothes").glob(f"{sex}_*/*.mhclo"))
            )
            if (number % KEPT == KEPT - 1) is self.held_out
        ]
        shoes = sorted((self.folder / "clothes").glob("shoes*/*.mhclo"))
        hair = sorted((self.folder / "hair").glob("*/*.mhclo"))
        if not female:
            hair = [path for path in hair if path.stem.startswith(("short", "afro"))]
        hats = sorted((self.folder / "clothes").glob("fedora*/*.mhclo"))
        chosen = [suits, shoes]
        if random.random() > BALD:
            chosen.append(hair)
        if random.random() > HATLESS:
            chosen.append(hats)
        return [paths[int(random.integers(len(paths)))] for paths in chosen]

    def _garment(self, path: Path) -> Garment:
        if path not in self._garments:
            self._garments[path] = read_garment(path, SIDE)
        return self._garments[path]

    def _skin(self, path: Path) -> NDArray[np.uint8]:
        if path not in self._skins:
            self._skins[path] = read_texture(path, SIDE)
        return self._skins[path]

    @torch.no_grad()
    def _shaped(self, shape: dict[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give the base mesh and the bones' heads of a shape, metres."""
        model = self.model
        share = model.get_phenotype_blendshape_coefficients(**shape).reshape(-1)
        vertices = model.template_vertices + torch.einsum("s,svi->vi", share, model.blendshapes)
        heads = model.template_bone_heads + torch.einsum(
            "s,sbi->bi", share, model.bone_heads_blendshapes
        )
        return vertices.numpy(), heads.numpy()


def _joined(
    wardrobe: Wardrobe,
    base: NDArray[np.float64],
    heads: NDArray[np.float64],
    worn: list[Garment],
    skin: NDArray[np.uint8],
) -> Rigged:
    """Put a body and what it wears into one mesh; each texture takes its place in a row."""
    model = wardrobe.model
    weights = np.zeros((len(base), len(heads)))
    indices, values = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    np.add.at(weights, (np.arange(len(base))[:, None], indices), values)
    shown = np.ones(len(base), bool)
    for garment in worn:
        shown[garment.hidden] = False
    quads, uv_quads = model.faces.numpy(), model.face_texture_coordinate_indices.numpy()
    seen = shown[quads].any(axis=1)
    parts = [
        _Part(
            base,
            weights,
            _triangles(quads[seen]),
            model.texture_coordinates.numpy(),
            _triangles(uv_quads[seen]),
            skin,
        )
    ]
    for garment in worn:
        held = (weights[garment.anchors] * garment.shares[..., None]).sum(axis=1).clip(0)
        fitted = garment.fitted(base)
        parts.append(
            _Part(fitted, held, garment.faces, garment.uv, garment.uv_faces, garment.texture)
        )
    pieces = [_split(part, index, len(parts)) for index, part in enumerate(parts)]
    starts = np.cumsum([0] + [len(piece["vertices"]) for piece in pieces])
    faces = [piece["faces"] + start for piece, start in zip(pieces, starts[:-1], strict=True)]
    whole = {
        name: np.concatenate([piece[name] for piece in pieces])
        for name in ("vertices", "normals", "uv", "weights")
    }
    strongest = np.argpartition(-whole["weights"], INFLUENCES, axis=1)[:, :INFLUENCES]
    firm = np.take_along_axis(whole["weights"], strongest, axis=1)
    names = tuple(BONES.get(name, name) for name in model.bone_labels)
    parents = tuple(int(parent) for parent in model.bone_parents)
    return Rigged(
        vertices=torch.from_numpy(whole["vertices"]).float(),
        normals=torch.from_numpy(whole["normals"]).float(),
        uv=torch.from_numpy(whole["uv"]).float(),
        faces=torch.from_numpy(np.concatenate(faces)).int(),
        joints=torch.from_numpy(strongest),
        weights=torch.from_numpy(firm / firm.sum(axis=1, keepdims=True).clip(1e-9)).float(),
        bones=names,
        parents=parents,
        heads=torch.from_numpy(heads).float(),
        straight=_straightening(names, parents, heads),
        texture=torch.from_numpy(np.concatenate([part.texture for part in parts], axis=1)),
        skin_share=1 / len(parts),
    )


def _triangles(quads: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _split(part: _Part, place: int, count: int) -> dict[str, NDArray[Any]]:
    """Give each corner with its own texture coordinates its own vertex; normals stay smooth."""
    mesh = Mesh(torch.from_numpy(part.vertices), torch.from_numpy(part.faces))
    normals = vertex_normals(mesh).numpy()
    pairs = part.faces.reshape(-1) * len(part.uv) + part.uv_faces.reshape(-1)
    unique, faces = np.unique(pairs, return_inverse=True)
    own, uv = unique // len(part.uv), part.uv[unique % len(part.uv)] % 1.0001
    return {
        "vertices": part.vertices[own],
        "normals": normals[own],
        "uv": np.stack([(uv[:, 0] + place) / count, 1 - uv[:, 1]], axis=1),
        "weights": part.weights[own],
        "faces": faces.reshape(-1, 3),
    }


def _about_y(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _straightening(
    names: tuple[str, ...], parents: tuple[int, ...], heads: NDArray[np.float64]
) -> torch.Tensor:
    """Find how limbs turn from Anny's rest pose, an A, to the T-pose: arms level, legs upright."""
    own: dict[str, NDArray[np.float64]] = {}
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        arm = heads[names.index(f"{side}Hand")] - heads[names.index(f"{side}Arm")]
        leg = heads[names.index(f"{side}Foot")] - heads[names.index(f"{side}UpLeg")]
        own[f"{side}Arm"] = _about_y(-sign * np.arctan2(-arm[2], sign * arm[0]))
        own[f"{side}UpLeg"] = _about_y(sign * np.arctan2(sign * leg[0], -leg[2]))
    whole: list[NDArray[np.float64]] = []
    for name, parent in zip(names, parents, strict=True):
        before = whole[parent] if parent >= 0 else np.eye(3)
        whole.append(own.get(name, np.eye(3)) @ before)
    return torch.from_numpy(np.stack(whole)).float()
