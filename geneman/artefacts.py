"""What the stages hand to one another, as files: safetensors, png and json, never pickle."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from geneman.camera import Orbit
from geneman.mesh import Mesh, TexturedMesh, UnwrappedMesh
from geneman.tangents import frames_of, to_object_space, to_tangent_space
from geneman.view import Framing, HiddenSide, ReferenceView

VIEW = "view.safetensors"
MESH = "mesh.safetensors"
ALBEDO = "albedo.png"
NORMAL = "normal.png"


class ViewFacts(msgspec.Struct, frozen=True):
    """What of a view is not an array."""

    framing: Framing
    prompt: str
    camera: Orbit


def save_view(view: ReferenceView, folder: Path) -> None:
    """Write a view as one file of maps."""
    maps = {name: getattr(view, name) for name in ("colour", "mask", "normal", "depth")}
    maps |= {"landmarks": view.landmarks}
    maps |= {f"hidden.{name}": getattr(view.hidden, name) for name in ("depth", "normal", "colour")}
    facts = ViewFacts(view.framing, view.prompt, view.camera)
    _save(maps, folder / VIEW, {"facts": msgspec.json.encode(facts).decode()})


def load_view(folder: Path, device: torch.device) -> ReferenceView:
    """Read what `save_view` wrote."""
    maps = load_file(folder / VIEW, device=str(device))
    with safe_open(folder / VIEW, framework="pt") as file:
        facts = msgspec.json.decode(file.metadata()["facts"], type=ViewFacts)
    hidden = HiddenSide(*(maps.pop(f"hidden.{name}") for name in ("depth", "normal", "colour")))
    return ReferenceView(
        **maps, hidden=hidden, framing=facts.framing, prompt=facts.prompt, camera=facts.camera
    )


def save_mesh(mesh: Mesh, folder: Path) -> None:
    """Write a mesh's arrays, its texture coordinates with them if it has some."""
    arrays = {"vertices": mesh.vertices, "faces": mesh.faces}
    if isinstance(mesh, UnwrappedMesh):
        arrays |= {"uv": mesh.uv, "uv_faces": mesh.uv_faces}
    _save(arrays, folder / MESH)


def load_mesh(folder: Path, device: torch.device) -> Mesh:
    """Read what `save_mesh` wrote."""
    arrays = load_file(folder / MESH, device=str(device))
    return UnwrappedMesh(**arrays) if "uv" in arrays else Mesh(**arrays)


def save_textured(textured: TexturedMesh, folder: Path) -> None:
    """Write a textured mesh: arrays, and its maps as the pictures that people can paint on."""
    mesh = textured.mesh
    arrays = {"vertices": mesh.vertices, "faces": mesh.faces}
    _save(arrays | {"uv": textured.uv, "uv_faces": textured.uv_faces}, folder / MESH)
    _save_picture(textured.albedo, folder / ALBEDO)
    normal_map = to_tangent_space(textured)
    if normal_map is not None:
        _save_picture(normal_map, folder / NORMAL)


def load_textured(folder: Path, device: torch.device) -> TexturedMesh:
    """Read what `save_textured` wrote; its maps are rounded to 8 bits."""
    arrays = load_file(folder / MESH, device=str(device))
    albedo = _load_picture(folder / ALBEDO, device)
    mesh = Mesh(arrays["vertices"], arrays["faces"])
    textured = TexturedMesh(mesh, arrays["uv"], arrays["uv_faces"], albedo)
    if not (folder / NORMAL).is_file():
        return textured
    normal_map = _load_picture(folder / NORMAL, device)
    return replace(textured, normals=to_object_space(normal_map, frames_of(textured)))


def _save_picture(picture: Float[Tensor, "h w 3"], path: Path) -> None:
    levels = (picture.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()
    # Level 1 is four times as fast as the default and a tenth larger.
    Image.fromarray(levels).save(path, compress_level=1)


def _load_picture(path: Path, device: torch.device) -> Float[Tensor, "h w 3"]:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).to(device).float() / 255


def _save(arrays: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors from any device; safetensors wants each whole and by itself."""
    own = {name: array.detach().cpu().contiguous().clone() for name, array in arrays.items()}
    save_file(own, path, metadata=metadata)
