"""The network that draws folds, fingers and features into the geometry prior's normals.

Whoever looks at a whole person in 256 pixels sees limbs and trunk. This one looks at 512, at what
is near each pixel alone: its jet, which tells how light falls on cloth and skin.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from geneman.priors.bundled.geometry_network import read_network
from geneman.priors.bundled.jets import COUNT, MIRROR, jets


@dataclass(frozen=True)
class DetailWidths:
    """Channels of the hidden layers."""

    hidden: tuple[int, ...] = (96, 96)


STANDARD_DETAIL = DetailWidths()
"""17,666 weights: 36 KB in half precision."""


class DetailNetwork(nn.Module):
    """A perceptron that tells from a pixel's jet how far its smooth normal has to turn."""

    def __init__(self, widths: DetailWidths) -> None:
        super().__init__()
        self.widths = widths
        layers: list[nn.Module] = []
        for given, width in zip((COUNT, *widths.hidden), widths.hidden, strict=False):
            layers += [nn.Linear(given, width), nn.SiLU()]
        self.hidden = nn.Sequential(*layers)
        self.leave = nn.Linear(widths.hidden[-1], 2)
        self.register_buffer("mirror", MIRROR.clone(), persistent=False)
        # Untrained, it leaves the normals as they are.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, given: Float[Tensor, "n j"]) -> Float[Tensor, "n 2"]:
        """Give what is added to the normals across and up, before they are made unit again.

        It is asked about the mirror image, too: what it says of both is one.
        """
        once: Tensor = self.leave(self.hidden(given))
        again: Tensor = self.leave(self.hidden(given * self.get_buffer("mirror")))
        return torch.stack([once[..., 0] - again[..., 0], once[..., 1] + again[..., 1]], -1) / 2


def turned(normal: Float[Tensor, "n 3"], turn: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Turn unit normals by what a network found; they stay unit."""
    return normalize(torch.cat([normal[:, :2] + turn, normal[:, 2:]], dim=1), dim=1)


@torch.no_grad()
def detailed(
    network: DetailNetwork, photo: Float[Tensor, "b 4 s s"], normal: Float[Tensor, "b 3 s s"]
) -> Float[Tensor, "b 3 s s"]:
    """Draw the details that photos show into smooth normals.

    Args:
        network: A trained one.
        photo: As `geometry_network.shown` lays it out; 512 pixels a side.
        normal: Unit, camera frame; anything outside the person.

    Returns:
        Unit normals, camera frame; outside the person those that were given.
    """
    found = normal.movedim(1, -1).clone()
    inside = photo[:, 3] > -1
    seen = jets(photo, normal).movedim(1, -1)[inside]
    found[inside] = turned(found[inside], network(seen))
    return found.movedim(-1, 1)


def read_detail_weights(path: Path) -> tuple[DetailNetwork, dict[str, object]]:
    """Give the network that a file holds, ready to be asked, and its training record."""
    return read_network(path, lambda shape: DetailNetwork(DetailWidths(tuple(shape["hidden"]))))
