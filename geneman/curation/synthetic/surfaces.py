"""What is seen of a person, and what it is seen from. V vertices, F triangles, P covered pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Textures:
    """What the surface of a person is coloured with; T texels along the sides."""

    texels: UInt8[Tensor, "h w 3"]
    """sRGB."""
    label: UInt8[Tensor, "h w"]
    """The material of each texel."""
    linear: Float[Tensor, "256"]
    """Linear light of each 8-bit value."""
    shades: int
    """Materials of the texture; untextured parts have the numbers from here on."""

    @staticmethod
    def of(texels: UInt8[Tensor, "h w 3"], label: UInt8[Tensor, "h w"], shades: int) -> "Textures":
        """Make the table of linear light besides."""
        linear = (torch.arange(256) / 255) ** 2.2
        return Textures(texels.contiguous(), label.contiguous(), linear, shades)


@dataclass(frozen=True)
class Look:
    """What the covered pixels of one side show."""

    pixels: Int[Tensor, "p"]
    """Flat indices, ascending; the same for both sides."""
    normal: Float[Tensor, "p 3"]
    """Unit, camera frame; sheets (hair, skirts) face the viewer from both of their sides."""
    depth: Float[Tensor, "p"]
    albedo: Float[Tensor, "p 3"]
    """Linear light; white on untextured parts."""
    label: Int[Tensor, "p"]
    """Material."""
    places: Float[Tensor, "p 3"]
    """Where the surface is at rest, metres."""


@dataclass(frozen=True)
class Surface:
    """What the kernels read of a person, in the layout that they read."""

    vertices: Float[Tensor, "v 3"]
    """At rest."""
    normals: Float[Tensor, "v 3"]
    uv: Float[Tensor, "v 2"]
    """In [0, 1]; of untextured parts -1 - n, with n their number among these."""
    faces: Int[Tensor, "f 3"]
    joints: Int[Tensor, "v k"]
    weights: Float[Tensor, "v k"]

    def joined(self, others: "list[Surface]") -> "Surface":
        """Put surfaces on the same bones into one."""
        if not others:
            return self
        parts = [self, *others]
        starts = torch.tensor([0] + [len(part.vertices) for part in parts]).cumsum(0)
        most = max(part.joints.shape[1] for part in parts)

        def wide(tensor: Tensor) -> Tensor:
            return torch.nn.functional.pad(tensor, (0, most - tensor.shape[1]))

        return Surface(
            torch.cat([part.vertices for part in parts]),
            torch.cat([part.normals for part in parts]),
            torch.cat([part.uv for part in parts]),
            torch.cat([part.faces + int(s) for part, s in zip(parts, starts, strict=False)]),
            torch.cat([wide(part.joints) for part in parts]),
            torch.cat([wide(part.weights) for part in parts]),
        )
