"""Functions of space that are learnt: hash grids read by one-hidden-layer networks.

N points, in world coordinates; each field knows the box that it fills and normalises by.
Every field is one safetensors file: weights, and its configuration as metadata.
"""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

import msgspec
import torch
from jaxtyping import Float
from msgspec import Meta
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from geneman.errors import RunFolderError
from geneman.kernels.hash_grid import FEATURES, HashLevels, encode, encode_beside
from geneman.kernels.perceptron import fits, perceptron
from geneman.kernels.table_adam import TableGradients
from geneman.mesh import Box

F = TypeVar("F", bound="Field")


@dataclass(frozen=True)
class EncodingConfig:
    """A multiresolution hash grid (METHOD section 3; Instant-NGP)."""

    levels: Annotated[int, Meta(ge=1, le=24)] = 16
    """Number of lattices."""
    log2_table: Annotated[int, Meta(ge=8, le=24)] = 19
    """Most entries of a level, as a power of two."""
    base: Annotated[int, Meta(ge=2, le=256)] = 16
    """Cells along the box's longest side in the coarsest lattice."""
    growth: Annotated[float, Meta(ge=1.0, le=4.0)] = 1.447269
    """From a lattice to the next finer one; 4096 cells in the sixteenth."""

    def layout(self) -> HashLevels:
        """Place the levels in the table."""
        return HashLevels.geometric(self.levels, self.base, self.growth, 2**self.log2_table)


@dataclass(frozen=True)
class FieldConfig:
    """A hash grid and the width of the networks that read it."""

    encoding: EncodingConfig = field(default_factory=EncodingConfig)
    width: Annotated[int, Meta(ge=4, le=512)] = 64
    """Hidden units of each network."""


@dataclass(frozen=True)
class RadianceConfig(FieldConfig):
    """A density and a colour (METHOD section 3)."""

    blob_density: float = 10.0
    """Density at the origin before training, before the softplus (Magic3D)."""
    blob_radius: Annotated[float, Meta(gt=0)] = 0.5
    """Distance in scene units at which that has fallen to 0."""
    normal_step: Annotated[float, Meta(gt=0)] = 0.01
    """Scene units between the points whose densities give a normal."""


class HashEncoding(nn.Module):
    """A trainable hash grid over a box."""

    def __init__(self, config: EncodingConfig, box: Box, generator: torch.Generator) -> None:
        super().__init__()
        self.levels, self.box = config.layout(), box
        self.open_levels = self.levels.count
        """Finer levels than these give 0: set it as training proceeds."""
        self.gradients: TableGradients | None = None
        """Where the table's gradients add up, if its optimiser wants them apart."""
        table = torch.rand(self.levels.offsets[-1], FEATURES, generator=generator)
        self.table = nn.Parameter(2e-4 * table - 1e-4)  # as Instant-NGP: nearly nothing

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n features"]:
        """Encode world points."""
        inside, open_levels = self.box.normalise(points), self.open_levels
        # On CUDA another package may do the work: its gradients come by torch.
        if self.gradients is None or points.device.type == "cuda":
            return encode(inside, self.table, self.levels, open_levels=open_levels)
        return encode_beside(
            inside, self.table, self.levels, self.gradients, open_levels=open_levels
        )


class Perceptron(nn.Module):
    """One hidden layer, ReLU, no biases."""

    def __init__(self, into: int, width: int, out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = nn.Parameter(_uniform(width, into, generator))
        self.last = nn.Parameter(_uniform(out, width, generator))

    def forward(self, features: Float[Tensor, "n into"]) -> Float[Tensor, "n out"]:
        """Map each row."""
        on_cpu = features.device.type == "cpu" and features.dtype is torch.float32
        if on_cpu and fits(self.hidden):
            return perceptron(features, self.hidden, self.last)
        return functional.linear(
            functional.relu(functional.linear(features, self.hidden)), self.last
        )


class Field(nn.Module):
    """What the fields share: a box, an encoding, and one file to live in."""

    Config: ClassVar[type[FieldConfig]] = FieldConfig

    def __init__(self, config: FieldConfig, box: Box, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.box = config, box
        self.encoding = HashEncoding(config.encoding, box, generator)

    def _network(self, out: int, generator: torch.Generator) -> Perceptron:
        """Make a network that reads the encoding."""
        features = FEATURES * self.encoding.levels.count
        return Perceptron(features, self.config.width, out, generator)

    def save(self, path: Path) -> None:
        """Write weights and configuration into one file, whole or not at all."""
        weights = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        metadata = {
            "field": type(self).__name__,
            "config": msgspec.json.encode(self.config).decode(),
            "box": msgspec.json.encode(self.box).decode(),
            "open_levels": str(self.encoding.open_levels),
        }
        temporary = path.with_suffix(".partial")
        save_file(weights, temporary, metadata=metadata)
        os.replace(temporary, path)

    @classmethod
    def load(cls: type[F], path: Path, device: torch.device | None = None) -> F:
        """Read what `save` wrote.

        Raises:
            RunFolderError: There is no such file, or it holds something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise RunFolderError(
                f"{path} must hold a {cls.__name__}", value=error, remedy="re-run its stage"
            ) from error
        if metadata.get("field") != cls.__name__:
            raise RunFolderError(
                f"{path} must hold a {cls.__name__}",
                value=metadata.get("field", "a file without that label"),
                remedy="re-run its stage",
            )
        grid = weights.get("grid")
        loaded = cls(
            msgspec.json.decode(metadata["config"], type=cls.Config),
            msgspec.json.decode(metadata["box"], type=Box),
            torch.Generator(),
            **({} if grid is None else {"grid": grid}),
        )
        loaded.load_state_dict(weights)
        loaded.encoding.open_levels = int(metadata["open_levels"])
        return loaded.to(device)


class RadianceField(Field):
    """Density and colour: what NeRF learns. No dependence on the viewing direction."""

    Config = RadianceConfig
    config: RadianceConfig
    grid: Float[Tensor, "x y z"] | None

    def __init__(
        self,
        config: RadianceConfig,
        box: Box,
        generator: torch.Generator,
        grid: Float[Tensor, "x y z"] | None = None,
    ) -> None:
        """Make an untrained field.

        Args:
            config: Its size.
            box: Where it lives; outside its density is 0.
            generator: Source of the first weights.
            grid: Density before the softplus that the network's output is added to, at points
                that fill the box from face to face; None for the blob of the configuration.
        """
        super().__init__(config, box, generator)
        self.register_buffer("grid", grid)
        self.density_network = self._network(1, generator)
        self.colour_network = self._network(3, generator)

    def density(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Give the absorption per scene unit, at least 0."""
        return self._density(points, self.encoding(points))

    def colour(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Give the emitted colour, sRGB in [0, 1]."""
        return torch.sigmoid(self.colour_network(self.encoding(points)))

    def density_and_colour(
        self, points: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """Give both from one look at the hash grid."""
        features = self.encoding(points)
        return self._density(points, features), torch.sigmoid(self.colour_network(features))

    def normal(
        self, points: Float[Tensor, "n 3"], density: Float[Tensor, "n"]
    ) -> Float[Tensor, "n 3"]:
        """Give the unit direction in which the density falls, by forward differences.

        Args:
            points: Where.
            density: The field's density there, known already.
        """
        steps = self.config.normal_step * torch.eye(3, device=points.device)
        ahead = self.density((points[:, None] + steps).reshape(-1, 3)).reshape(-1, 3)
        return functional.normalize(density[:, None] - ahead, dim=-1)

    def _density(self, points: Tensor, features: Tensor) -> Tensor:
        if self.grid is None:
            radius = points.norm(dim=-1) / self.config.blob_radius
            start = self.config.blob_density * (1 - radius)
        else:
            start = interpolate(self.grid, self.box, points)
        density = functional.softplus(self.density_network(features)[:, 0] + start)
        return density * self.box.contains(points)


class SdfField(Field):
    """A signed distance, positive outside: a known one, and what is learnt to add to it."""

    grid: Float[Tensor, "x y z"]
    reach: Float[Tensor, ""]

    def __init__(
        self,
        config: FieldConfig,
        box: Box,
        generator: torch.Generator,
        grid: Float[Tensor, "x y z"],
        *,
        reach: float = 0.0,
    ) -> None:
        """Make a field that starts (nearly) as `grid` says.

        Args:
            config: Its size.
            box: Where it lives; beyond it takes the values at the nearest face.
            generator: Source of the first weights.
            grid: The frozen first distance, at points that fill the box from face to face.
            reach: The most that may be added to it, in scene units; 0 sets no bound.
        """
        super().__init__(config, box, generator)
        self.register_buffer("reach", torch.tensor(reach))
        self.register_buffer("grid", grid)
        self.network = self._network(1, generator)

    def initial(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Give the frozen first distance in scene units."""
        return interpolate(self.grid, self.box, points)

    def distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Give the signed distance in scene units."""
        return self.initial(points) + self.added(points)

    def added(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Give what is learnt to add to the first distance."""
        learnt: Tensor = self.network(self.encoding(points))[:, 0]
        if self.reach > 0:
            # Small additions go through unchanged.
            learnt = self.reach * torch.tanh(learnt / self.reach)
        return learnt


class ColourField(Field):
    """A colour at every point: the texture before there is a surface to paint it on."""

    def __init__(self, config: FieldConfig, box: Box, generator: torch.Generator) -> None:
        super().__init__(config, box, generator)
        self.network = self._network(3, generator)

    def colour(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Give the colour, sRGB in [0, 1]."""
        return torch.sigmoid(self.network(self.encoding(points)))


def interpolate(
    grid: Float[Tensor, "x y z"], box: Box, points: Float[Tensor, "n 3"]
) -> Float[Tensor, "n"]:
    """Read a lattice that fills a box from face to face, trilinearly; beyond, its nearest face."""
    low, size = points.new_tensor(box.minimum), points.new_tensor(box.size)
    inside = (points - low) / size * 2 - 1
    # grid_sample names the axes of its volume z, y, x and wants the points as x, y, z.
    values: Tensor = functional.grid_sample(
        grid.permute(2, 1, 0)[None, None],
        inside[None, None, None],
        align_corners=True,
        padding_mode="border",
    )
    return values[0, 0, 0, 0]


def lattice(box: Box, shape: tuple[int, int, int]) -> Float[Tensor, "x y z 3"]:
    """Give points that fill a box from face to face: where the values of a grid belong."""
    axes = [
        torch.linspace(low, high, count)
        for low, high, count in zip(box.minimum, box.maximum, shape, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """First weights of a layer: He's bound for uniform numbers, as torch's linear layers."""
    bound = 1 / math.sqrt(columns)
    return (2 * torch.rand(rows, columns, generator=generator) - 1) * bound
