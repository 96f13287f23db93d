"""The network behind the bundled geometry prior: photo and body points in, both sides out.

B images, S pixels along a side (a multiple of 32). Pixels go in and come out in 4 x 4 blocks, so
that the convolutions run on maps a quarter as large, which is what a CPU can afford.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    pixel_shuffle,
    pixel_unshuffle,
    silu,
    softplus,
)

from geneman.priors.bundled.bones import MAPS
from geneman.priors.bundled.u_net import through, u_net
from geneman.storage import write_whole

BLOCK = 4
"""Side of the blocks of pixels that the convolutions see as one."""

HALF = 2
"""Side of the blocks in which details are drawn."""

KEY = 48
"""Channels by which the hidden side's blocks find those of the photo that are like them."""

ALIKE = 0.25
"""Distance of colours in the photo's range that are shades of one."""

WAVES = (1.6, 3.1, 6.3)
"""Radians from the image's middle to its edge by which blocks know where they are."""

VISIBLE, HIDDEN = (3, 1), (3, 1, 3, 1)
"""Channels: normal and depth, of the hidden side its colour besides, and how much is its own."""

DEPTH_UNIT = 0.1
"""Scene units that a raw depth of 1 stands for: about a trunk's half thickness."""

PAPER = 0.5
"""Grey that the network sees around the person."""


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Widths:
    """Channels at each level, from a quarter of the image's side to a 32nd."""

    levels: tuple[int, ...] = (64, 96, 176, 256)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    """Residual blocks at each level, each way."""
    fine: int = 32
    """Channels at half the image's side, where details are drawn."""
    bones: int = MAPS
    """Maps of the landmarks that it is shown; 0: none."""


STANDARD_WIDTHS = Widths()
"""7 million weights: 14 MB in half precision."""


@dataclass(frozen=True)
class BothSides:
    """What the network believes; depth in scene units about the reference distance."""

    normal: Float[Tensor, "b 3 s s"]
    """Unit, camera frame."""
    depth: Float[Tensor, "b 1 s s"]
    """Larger is farther; halfway between the sides its median over the person is 0."""
    hidden_normal: Float[Tensor, "b 3 s s"]
    hidden_depth: Float[Tensor, "b 1 s s"]
    hidden_colour: Float[Tensor, "b 3 s s"]
    """sRGB, not limited to [0, 1]."""
    agreed: Float[Tensor, "b 1 s s"]
    """How much of the attention looks at that colour, in [0, 1]; 1 while it is trained."""


def shown(colour: Float[Tensor, "b 3 s s"], cover: Float[Tensor, "b 1 s s"]) -> Tensor:
    """Lay a cut-out on the paper that the network expects, and add the mask: B 4 S S."""
    return torch.cat([(colour - PAPER) * cover * 2, cover * 2 - 1], dim=1)


def unit(directions: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Give directions length 1: across planes, torch's own `normalize` takes 20 times as long."""
    return directions * directions.square().sum(dim=1, keepdim=True).clamp_min(1e-24).rsqrt()


class GeometryNetwork(nn.Module):
    """A U-Net on blocks of pixels, with residual blocks and group normalisation."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.widths = widths
        levels, counts = widths.levels, widths.blocks
        self.enter = nn.Conv2d(4 * BLOCK**2, levels[0], 3, padding=1)
        self.bones = nn.Conv2d(widths.bones, levels[0], 3, padding=1) if widths.bones else None
        self.down, self.shrink, self.up, self.grow = u_net(levels, counts)
        self.finer = nn.Conv2d(levels[0], 4 * widths.fine, 3, padding=1)
        self.detail = nn.Conv2d(widths.fine + 4 * HALF**2, widths.fine, 3, padding=1)
        self.visible = nn.Conv2d(widths.fine, sum(VISIBLE) * HALF**2, 3, padding=1)
        self.hidden = nn.Conv2d(widths.fine, sum(HIDDEN), 3, padding=1)
        self.borrow = Borrowing(levels[0], levels[1])
        for shuffled in (self.finer, self.visible):
            _alike(shuffled)
        if self.bones is not None:  # who was trained without them begins as if there were none
            nn.init.zeros_(self.bones.weight)
            nn.init.zeros_(self.bones.bias)  # type: ignore[arg-type]  # there is one

    def forward(
        self, photo: Float[Tensor, "b 4 s s"], bones: Float[Tensor, "b m n n"]
    ) -> BothSides:
        """Look at photos.

        Args:
            photo: As `shown` lays them out.
            bones: `bone_maps` of the landmarks, a pixel a block; not looked at by a network that
                was trained without.
        """
        x = self.enter(pixel_unshuffle(photo, BLOCK))
        if self.bones is not None:
            x = x + self.bones(bones)
        x, wider = through(x, (self.down, self.shrink, self.up, self.grow))
        features = x
        x = silu(pixel_shuffle(self.finer(silu(x)), BLOCK // HALF))
        x = silu(self.detail(torch.cat([x, pixel_unshuffle(photo, HALF)], dim=1)))
        visible = pixel_shuffle(self.visible(x), HALF).float()
        # Nobody sees the hidden side's pixels: twice as large ones, blended, leave no grid.
        hidden = nn.functional.interpolate(
            self.hidden(x).float(), scale_factor=float(HALF), mode="bilinear"
        )
        normal, depth = visible.split(VISIBLE, dim=1)
        hidden_normal, hidden_depth, painted, own = hidden.split(HIDDEN, dim=1)
        # A shirt's back is like its front, a head's is not: the network chooses by pixel.
        dull = photo[:, :3].float().lerp(painted, own.sigmoid())
        # Contiguous: torch 2.13's backward pass on the CPU crashes on channels-last ones here.
        borrowed = self.borrow(*(x.float().contiguous() for x in (features, wider, photo, dull)))
        colour, agreed = borrowed.split((3, 1), dim=1)
        # An untrained network looks at the viewer, and away from them.
        towards = visible.new_tensor([0.0, 0.0, 1.0])[:, None, None]
        return BothSides(
            unit(normal + towards),
            depth * DEPTH_UNIT,
            unit(hidden_normal - towards),
            hidden_depth * DEPTH_UNIT,
            colour * PAPER + PAPER,
            agreed,
        )


class Borrowing(nn.Module):
    """Gives each block of the hidden side a colour that the photo shows somewhere.

    What a network paints is the mean of what may be there, which is grey; what is worn behind is
    nearly always worn in front too. So each hidden block asks all visible ones for their colour
    (attention), and near ones count more, as far as training finds that they should. While it
    learns a block wears the mean of the answers; afterwards what most of them agree on.
    """

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.width_norm, self.wider_norm = nn.GroupNorm(8, width), nn.GroupNorm(8, wider)
        given = width + wider + 2 * 3 + len(WAVES) * 4
        self.wish, self.offer = (
            nn.Sequential(nn.Conv2d(given, 96, 3, padding=1), nn.SiLU(), nn.Conv2d(96, KEY, 1))
            for _ in range(2)
        )
        self.nearness = nn.Parameter(torch.tensor(1.0))

    def forward(
        self,
        x: Float[Tensor, "b c n n"],
        wider: Float[Tensor, "b d m m"],
        photo: Float[Tensor, "b 4 s s"],
        dull: Float[Tensor, "b 3 s s"],
    ) -> Float[Tensor, "b 4 s s"]:
        """Look up the hidden side's colours.

        Args:
            x: Features of the blocks.
            wider: Features of blocks twice as large.
            photo: As `shown` lays it out.
            dull: What the network would paint, in the photo's range.

        Returns:
            Colours in the photo's range, and how much of the attention agrees on them.
        """
        with torch.autocast(x.device.type, enabled=False):  # shares need more than eight bits
            return self._borrowed(x, wider, photo, dull)

    def _borrowed(self, x: Tensor, wider: Tensor, photo: Tensor, dull: Tensor) -> Tensor:
        cover = avg_pool2d((photo[:, 3:] + 1) / 2, BLOCK)
        worn = avg_pool2d(photo[:, :3], BLOCK) / cover.clamp_min(1e-2)
        inside = cover > 0.5  # noqa: PLR2004 (a half is a half)
        place = _places(x)
        features = torch.cat(
            [
                silu(self.width_norm(x)),
                nn.functional.interpolate(silu(self.wider_norm(wider)), scale_factor=2.0),
                torch.where(inside, worn, 0.0),
                avg_pool2d(dull, BLOCK) * inside,
                torch.cat(
                    [f(place * wave) for wave in WAVES for f in (torch.sin, torch.cos)], 1
                ).expand(len(x), -1, -1, -1),
            ],
            dim=1,
        )
        wish, offer = self.wish(features), self.offer(features)
        found = torch.stack(
            [
                self._looked_up(*each, place[0])
                for each in zip(wish, offer, worn, inside, strict=True)
            ]
        )
        # Around the person the outermost blocks go on, for the blend that makes pixels of blocks.
        share = avg_pool2d(inside.float(), 3, 1, 1)
        around = avg_pool2d(found, 3, 1, 1) / share.clamp_min(1e-2)
        return nn.functional.interpolate(
            torch.where(inside, found, around), scale_factor=float(BLOCK), mode="bilinear"
        )

    def _looked_up(
        self, wish: Tensor, offer: Tensor, worn: Tensor, inside: Tensor, place: Tensor
    ) -> Tensor:
        """Answer one image's blocks: colour and agreement; 0 outside the person."""
        at = inside[0].flatten().nonzero()[:, 0]
        asked, offered, colours, where = (
            plane.flatten(1)[:, at].T for plane in (wish, offer, worn, place)
        )
        apart = torch.cdist(where, where).square() * softplus(self.nearness)
        share = (asked @ offered.T * KEY**-0.5 - apart).softmax(dim=1)
        found = share @ colours, torch.ones_like(share[:, :1])
        if not self.training:
            found = _prevailing(share, colours)
        answer = worn.new_zeros(4, inside.numel())
        return answer.index_copy(1, at, torch.cat(found, dim=1).T).reshape(4, *inside.shape[1:])


def _prevailing(
    share: Float[Tensor, "q n"], colours: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "q 3"], Float[Tensor, "q 1"]]:
    """Give the colour that most of the attention looks at, and how much of it: a mean is grey."""
    if len(colours) == 0:
        return share @ colours, share.sum(dim=1, keepdim=True)
    alike = (-(torch.cdist(colours, colours) / ALIKE).square() / 2).exp()
    votes = share @ alike
    agreed, most = votes.max(dim=1, keepdim=True)
    return (share * alike[most[:, 0]]) @ colours / agreed, agreed


def _places(like: Tensor) -> Float[Tensor, "1 2 n n"]:
    """Give the blocks' places in the image, from -1 to 1."""
    along = torch.linspace(-1, 1, like.shape[-1], device=like.device)
    return torch.stack(torch.meshgrid(along, along, indexing="xy"))[None]


def _alike(shuffled: nn.Conv2d) -> None:
    """Let the pixels of each block begin alike, as interpolation has them: else they show."""
    with torch.no_grad():
        first = shuffled.weight[:: HALF**2].clone()
        shuffled.weight.copy_(first.repeat_interleave(HALF**2, dim=0))
        nn.init.zeros_(shuffled.bias)  # type: ignore[arg-type]  # there is one


def write_weights(
    path: Path, widths: Any, state: Mapping[str, Tensor], record: Mapping[str, object]
) -> None:
    """Keep a network in half precision, with its shape and how it was trained beside it.

    Args:
        path: A .safetensors file.
        widths: The network's shape, a dataclass.
        state: Its weights.
        record: What a model card says: data, steps, figures.
    """
    halves = {name: tensor.detach().cpu().half().contiguous() for name, tensor in state.items()}
    about = {"widths": json.dumps(asdict(widths)), "record": json.dumps(dict(record))}
    write_whole(path, save(halves, metadata=about))


def read_weights(path: Path) -> tuple[GeometryNetwork, dict[str, object]]:
    """Give the network that a file holds, ready to be asked, and its training record."""

    def shaped(shape: dict[str, Any]) -> GeometryNetwork:
        levels, blocks = tuple(shape["levels"]), tuple(shape["blocks"])
        return GeometryNetwork(Widths(levels, blocks, shape["fine"], shape.get("bones", 0)))

    return read_network(path, shaped)


def read_network(
    path: Path, shaped: Callable[[dict[str, Any]], Network]
) -> tuple[Network, dict[str, object]]:
    """Give a network that `write_weights` kept, ready to be asked, and its training record.

    Args:
        path: A .safetensors file.
        shaped: Makes the network of the widths that lie beside the weights.
    """
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    network = shaped(json.loads(about["widths"]))
    network.load_state_dict(state)
    network.eval().requires_grad_(requires_grad=False)
    record: dict[str, object] = json.loads(about["record"])
    return quick(network), record


def read_record(path: Path) -> dict[str, object]:
    """Give how the weights of a file were trained."""
    with safe_open(path, framework="pt") as file:
        record: dict[str, object] = json.loads(file.metadata()["record"])
    return record


def shown_bones(network: GeometryNetwork) -> GeometryNetwork:
    """Let a network that was trained without bones be shown them: at first it finds the same."""
    if network.bones is not None:
        return network
    seeing = GeometryNetwork(replace(network.widths, bones=MAPS))
    seeing.load_state_dict({**seeing.state_dict(), **network.state_dict()})
    return seeing.train(network.training)


def quick(network: Network) -> Network:
    """Lay the weights out as the processor's convolutions like them best."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in stubs
    return network
