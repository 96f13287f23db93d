"""A person photographed once and seen from all around, and the file that keeps it.

V views with S pixels along a side; the photo has twice as many, P.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from geneman.camera import Orbit

QUALITY = 92
"""Of the pictures on disk: noise well below what a network can learn."""


@dataclass(frozen=True)
class Ring:
    """One photo of a person, and views of the same moment."""

    photo: UInt8[Tensor, "p p 4"]
    """Foreground sRGB, and cover: a cut-out from the reference camera."""
    views: UInt8[Tensor, "v s s 7"]
    """sRGB on white; cover; camera-frame normals mapped to [0, 1] on black."""
    orbits: tuple[Orbit, ...]
    sketches: UInt8[Tensor, "v s s 7"] | None = None
    """What a shape prior made of the photo, seen by the same cameras."""
    sketcher: str = ""
    """Its name."""

    def to_bytes(self) -> bytes:
        """Pack into one file: pictures and the cameras."""
        cameras = [
            [o.azimuth_deg, o.elevation_deg, o.distance, o.fov_deg, *o.centre] for o in self.orbits
        ]
        packed = _strips("", self.views)
        if self.sketches is not None:
            packed |= _strips("sketch_", self.sketches)
        return save(
            {
                "photo": _packed(self.photo),
                **packed,
                "cameras": torch.tensor(cameras, dtype=torch.float64),
            },
            metadata={"sketcher": self.sketcher},
        )

    @staticmethod
    def read(path: Path) -> "Ring":
        """Unpack what `to_bytes` gave."""
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        orbits = tuple(
            Orbit(azimuth, elevation, distance, fov, (x, y, z))
            for azimuth, elevation, distance, fov, x, y, z in found["cameras"].tolist()
        )
        views, sketches = (_pictures(kind, found, len(orbits)) for kind in ("", "sketch_"))
        assert views is not None  # every ring has them
        named = about.get("sketcher", "")
        return Ring(_unpacked(found["photo"]), views, orbits, sketches, named)


def _strips(kind: str, views: UInt8[Tensor, "v s s 7"]) -> dict[str, UInt8[Tensor, "n"]]:
    wide = torch.cat(views.unbind(), dim=1)
    return {f"{kind}colour": _packed(wide[..., :4]), f"{kind}normal": _packed(wide[..., 4:])}


def _pictures(
    kind: str, found: Mapping[str, Tensor], count: int
) -> UInt8[Tensor, "v s s 7"] | None:
    if f"{kind}colour" not in found:
        return None
    wide = torch.cat([_unpacked(found[f"{kind}{name}"]) for name in ("colour", "normal")], dim=-1)
    return torch.stack(wide.chunk(count, dim=1))


def in_bytes(image: Float[Tensor, "*s"]) -> UInt8[Tensor, "*s"]:
    """Round an image in [0, 1] to bytes."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _packed(image: UInt8[Tensor, "*s"]) -> UInt8[Tensor, "n"]:
    buffer = io.BytesIO()
    Image.fromarray(image.contiguous().numpy()).save(
        buffer, "WEBP", quality=QUALITY, method=2, exact=True
    )
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def _unpacked(data: UInt8[Tensor, "n"]) -> UInt8[Tensor, "*s"]:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data.numpy().tobytes()))))
