"""Read rigged avatars from GLB files (the VALID library, MIT, and others that name bones alike)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geneman.curation.synthetic.rigged import Rigged
from geneman.errors import MeshFileError
from geneman.gltf import from_gltf_axes
from geneman.gltf_reader import GlbReader, chunks, local_matrix, side_by_side


def avatar_files(folder: Path) -> list[Path]:
    """List the avatars in a folder.

    Raises:
        MeshFileError: There is none.
    """
    found = sorted(folder.glob("*.glb"))
    if not found:
        raise MeshFileError(
            "the folder of avatars must hold .glb files",
            value=f"'{folder}'",
            remedy="give the folder that the VALID avatars were copied to",
        )
    return found


def identity(file: Path) -> str:
    """Give the person whom an avatar file shows (Black_F_2 of Black_F_2_Medi)."""
    return file.stem.rsplit("_", 1)[0]


def read_avatar(path: Path) -> Rigged:
    """Read one avatar.

    Raises:
        MeshFileError: The file is no whole GLB 2.0 or holds nobody with a skeleton.
    """
    try:
        return _Avatar(*chunks(path)).rigged()
    except (KeyError, IndexError, ValueError) as error:
        raise MeshFileError(
            "an avatar must be a whole GLB 2.0 with skinned meshes",
            value=f"{path} ({type(error).__name__}: {error})",
            remedy="leave the file out",
        ) from error


class _Avatar(GlbReader):
    """Follows skins as well as meshes."""

    def rigged(self) -> Rigged:
        """Join all skinned meshes; they hang on one skeleton."""
        nodes, skins = self.document["nodes"], self.document["skins"]
        parts = [node for node in nodes if "skin" in node and "mesh" in node]
        order, parents, rest = self._skeleton(skins[parts[0]["skin"]]["joints"])
        place = {node: index for index, node in enumerate(order)}
        pieces, materials = [], []
        for part in parts:
            skin = skins[part["skin"]]
            binds = self.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
            numbers = np.array([place[joint] for joint in skin["joints"]])
            to_rest = rest[numbers] @ binds
            for primitive in self.document["meshes"][part["mesh"]]["primitives"]:
                piece = self._piece(primitive["attributes"], to_rest)
                piece["joints"] = numbers[piece["joints"]]
                piece["faces"] = self.accessor(primitive["indices"]).reshape(-1, 3).astype(int)
                pieces.append(piece)
                materials.append(primitive.get("material"))
        kinds = sorted(set(materials), key=lambda m: -1 if m is None else m)
        texture, shares = side_by_side([self.albedo(kind) for kind in kinds])
        offsets = np.cumsum([0.0] + [float(share[0]) for share in shares])
        for piece, material in zip(pieces, materials, strict=True):
            kind = kinds.index(material)
            piece["uv"] = (piece["uv"] % 1.0) * shares[kind] + np.array([offsets[kind], 0.0])
        starts = np.cumsum([0] + [len(piece["points"]) for piece in pieces])
        for piece, start in zip(pieces, starts[:-1], strict=True):
            piece["faces"] += start
        whole = {name: np.concatenate([p[name] for p in pieces]) for name in pieces[0]}
        return Rigged(
            vertices=from_gltf_axes(_float(whole["points"])),
            normals=from_gltf_axes(_float(whole["normals"])),
            uv=_float(whole["uv"]),
            faces=torch.from_numpy(whole["faces"].astype(np.int32)),
            joints=torch.from_numpy(whole["joints"].astype(np.int64)),
            weights=_float(whole["weights"]),
            bones=tuple(nodes[node]["name"] for node in order),
            parents=tuple(parents),
            heads=from_gltf_axes(_float(rest[:, :3, 3])),
            straight=torch.eye(3).expand(len(order), 3, 3),
            texture=torch.from_numpy(np.round(texture * 255).astype(np.uint8)),
        )

    def _skeleton(self, joints: list[int]) -> tuple[list[int], list[int], NDArray[np.float64]]:
        """Give the joints' nodes, parents first, each one's parent, and their global matrices."""
        nodes = self.document["nodes"]
        parent_of = {
            child: index for index, node in enumerate(nodes) for child in node.get("children", [])
        }
        order: list[int] = []
        rest = set(joints)
        while rest:
            ready = sorted(joint for joint in rest if parent_of.get(joint) not in rest)
            order += ready
            rest -= set(ready)
        place = {joint: index for index, joint in enumerate(order)}
        parents = [place.get(parent_of.get(joint, -1), -1) for joint in order]
        matrices = []
        for joint in order:
            matrix, above = local_matrix(nodes[joint]), parent_of.get(joint)
            while above is not None:
                matrix, above = local_matrix(nodes[above]) @ matrix, parent_of.get(above)
            matrices.append(matrix)
        return order, parents, np.stack(matrices)

    def _piece(
        self, attributes: dict[str, int], to_rest: NDArray[np.float64]
    ) -> dict[str, NDArray[Any]]:
        """Read one primitive in the rest pose; its joints are numbered as its skin lists them."""
        joints = self.accessor(attributes["JOINTS_0"]).astype(np.int64)
        weights = self.accessor(attributes["WEIGHTS_0"]).astype(np.float64)
        weights = weights / weights.sum(axis=1, keepdims=True).clip(1e-6)
        moves = np.einsum("vk,vkij->vij", weights, to_rest[joints])[:, :3]
        points = self.accessor(attributes["POSITION"]).astype(np.float64)
        uv = np.zeros((len(points), 2))
        if "TEXCOORD_0" in attributes:
            uv = self.accessor(attributes["TEXCOORD_0"]).astype(np.float64)
        turned = np.einsum("vij,vj->vi", moves[:, :, :3], self.accessor(attributes["NORMAL"]))
        length = np.linalg.norm(turned, axis=1, keepdims=True).clip(1e-9)
        return {
            "points": np.einsum("vij,vj->vi", moves[:, :, :3], points) + moves[:, :, 3],
            "normals": turned / length,
            "uv": uv,
            "joints": joints,
            "weights": weights,
        }


def _float(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
