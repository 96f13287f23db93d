"""Sapiens' normals and depth of the visible side, completed by another shape prior (METHOD 1).

The models are TorchScript: programs in torch's own closed language, which can neither import nor
call the system; torch's C++ reader rebuilds their tensors without Python's pickle.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from geneman.errors import MissingComponentError
from geneman.priors.bundle import ShapePrior, Surfaces
from geneman.priors.economy import Economy
from geneman.view import Framing

HEIGHT, WIDTH = 1024, 768
"""What the networks were trained at."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of pictures in [0, 1]."""
LEAST_GIGABYTES = 16
"""Smaller devices leave these networks, of 8.7 GB, to the CPU: half a minute, twice a photo."""


@dataclass(frozen=True)
class Estimator:
    """One scripted network: a picture in, a map of the picture's size out."""

    network: Any
    economy: Economy

    @staticmethod
    def from_file(path: Path, economy: Economy) -> "Estimator":
        """Read a scripted network.

        Raises:
            MissingComponentError: The file holds none.
        """
        try:
            with warnings.catch_warnings():
                # torch advises another format; the models are published in this one.
                warnings.filterwarnings("ignore", r"`torch\.jit\.load`", DeprecationWarning)
                network = torch.jit.load(str(path), map_location="cpu")
        except RuntimeError as error:
            raise MissingComponentError(
                "a Sapiens model must be a TorchScript file",
                value=f"'{path}'",
                remedy="run: geneman weights get normals depth",
            ) from error
        network.eval()
        return Estimator(network, economy)

    @torch.no_grad()
    def __call__(self, colour: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w c"]:
        """Ask the network; it stays on the device only for this, if it fits there at all."""
        fits = self.economy.tier.gigabytes >= LEAST_GIGABYTES
        device = self.economy.device if fits else torch.device("cpu")
        mean, deviation = (colour.new_tensor(each) for each in (MEAN, DEVIATION))
        planes = ((colour - mean) / deviation).movedim(-1, 0)[None]
        small = interpolate(planes, (HEIGHT, WIDTH), mode="bilinear", antialias=True)
        network = self.network.to(device)
        try:
            found = network(small.to(device)).float().to(colour)
        finally:
            self.network.to("cpu")
        size = colour.shape[:2]
        maps: Tensor = interpolate(found, size, mode="bilinear", align_corners=False)
        return maps[0].movedim(0, -1)


@dataclass(frozen=True)
class Sapiens:
    """A `ShapePrior`: the visible side by Sapiens, the hidden one by the prior behind it."""

    normals: Estimator | None
    depth: Estimator | None
    behind: ShapePrior
    """Completes what is known to both sides, and does all where nothing is."""

    @property
    def name(self) -> str:
        """What `run.json` calls it."""
        parts = [("normals", self.normals), ("depth", self.depth)]
        known = " and ".join(name for name, part in parts if part is not None)
        return f"Sapiens ({known}), {self.behind.name}"

    def surfaces(
        self,
        colour: Float[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"],
        landmarks: Float[Tensor, "33 4"],
        framing: Framing,
        *,
        normal: Float[Tensor, "h w 3"] | None = None,
        depth: Float[Tensor, "h w"] | None = None,
    ) -> Surfaces:
        """Estimate what is not given; see `geneman.priors.bundle.ShapePrior`."""
        inside = (mask > 0.5)[..., None]  # noqa: PLR2004 (a half is a half)
        photo = torch.where(inside, colour, torch.zeros_like(colour))
        if normal is None and self.normals is not None:
            # Sapiens' axes are the camera's here already: x right, y up, z towards the viewer.
            found = normalize(self.normals(photo), dim=-1)
            normal = torch.where(inside, found, torch.zeros_like(found))
        if depth is None and self.depth is not None:
            found = self.depth(photo)
            depth = torch.where(inside, found, torch.zeros_like(found))[..., 0]
        return self.behind.surfaces(colour, mask, landmarks, framing, normal=normal, depth=depth)
