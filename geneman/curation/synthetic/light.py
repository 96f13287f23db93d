"""Light and materials drawn at random, and what a camera makes of them.

P pixels. Light is summed in linear light, in the camera's frame.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

SHADES = 6
"""Colours that a texture is sorted into, so that each can be dyed."""

DYED, PATTERNED = 0.65, 0.35
"""Shares of people whose clothes are dyed, and whose dyed clothes have a pattern."""

EXTRAS = 6
"""Untextured parts that a person can wear or hold, each of its own colour."""
SOFT = 3
"""As many of them are cloth."""


@dataclass(frozen=True)
class Light:
    """Light from all around that changes smoothly, a lamp, and the camera's own rendering."""

    ambient: Float[Tensor, "9 3"]
    """Spherical harmonics of the irradiance up to degree 2 (constants left out)."""
    towards: Float[Tensor, "3"]
    """Unit direction of the lamp."""
    lamp: Float[Tensor, "3"]
    wrap: float
    """How far past the edge the lamp reaches, as a cosine."""
    gloss: float
    contact: float
    """How much nearby surfaces darken each other."""
    gamma: float
    saturation: float

    def on(
        self,
        normals: Float[Tensor, "p 3"],
        open_sky: Float[Tensor, "p"],
        lamp_seen: Float[Tensor, "p"],
    ) -> Float[Tensor, "p 3"]:
        """Give the light that falls on surfaces, by the shares they see of the sky and the lamp."""
        x, y, z = normals.unbind(dim=1)
        one = torch.ones_like(x)
        basis = torch.stack(
            [one, x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], dim=1
        )
        soft = (basis @ self.ambient).clamp_min(0.02)
        facing = ((normals @ self.towards + self.wrap) / (1 + self.wrap)).clamp_min(0)
        shaded = soft * (1 - self.contact * (1 - open_sky))[:, None]
        return shaded + (facing * lamp_seen)[:, None] * self.lamp

    def shine(self, normals: Float[Tensor, "p 3"]) -> Float[Tensor, "p 1"]:
        """Give the lamp's mirror image (Blinn's half vector, the viewer far away)."""
        half = torch.nn.functional.normalize(self.towards + torch.tensor([0.0, 0.0, 1.0]), dim=0)
        return self.gloss * (normals @ half).clamp_min(0)[:, None] ** 24

    def developed(self, linear: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
        """Turn linear light into what the photo shows, sRGB in [0, 1]."""
        grey = linear.mean(dim=1, keepdim=True)
        toned = (grey + self.saturation * (linear - grey)).clamp(1e-4, None)
        rolled = toned / (1 + 0.25 * toned.clamp_min(0.0) ** 2)  # highlights roll off
        return rolled.clamp(1e-4, 1) ** (self.gamma / 2.2)


def draw_light(random: np.random.Generator) -> Light:
    """Draw light as rooms, streets and studios have it."""
    tint = random.lognormal(0, 0.08, 3)
    ambient = np.zeros((9, 3))
    ambient[0] = random.uniform(0.35, 0.9)
    ambient[1:4] = random.normal(0, 0.16, (3, 1)) + random.normal(0, 0.03, (3, 3))
    ambient[2] += random.uniform(0.0, 0.2)  # most skies are above
    ambient[4:] = random.normal(0, 0.05, (5, 1)) + random.normal(0, 0.01, (5, 3))
    towards = random.normal((0, 0.6, 0.7), (0.9, 0.5, 0.6))
    lamp = max(random.normal(0.4, 0.35), 0.0) * random.lognormal(0, 0.07, 3)
    exposure = random.lognormal(0, 0.2) / (ambient[0, 0] + 0.5 * lamp.mean())
    return Light(
        ambient=_float(ambient * exposure * tint),
        towards=_float(towards / np.linalg.norm(towards)),
        lamp=_float(lamp * exposure * tint),
        wrap=float(random.uniform(0, 0.4)),
        gloss=float(max(random.normal(0.0, 0.12), 0.0)),
        contact=float(random.uniform(0.3, 0.9)),
        gamma=float(random.lognormal(0, 0.12)),
        saturation=float(random.lognormal(0, 0.2)),
    )


@dataclass(frozen=True)
class Materials:
    """A texture sorted into shades: which one each texel has."""

    centres: Float[Tensor, "k 3"]
    """Linear light."""
    label: UInt8[Tensor, "h w"]
    dyeable: tuple[bool, ...]
    """Not skin."""

    @staticmethod
    def of(texture: UInt8[Tensor, "h w 3"], skin_share: float = 0.0) -> "Materials":
        """Sort by k-means on a thinned texture; deterministic.

        Args:
            texture: sRGB.
            skin_share: Share of the width, from the left, that is skin: a shade of its own.
        """
        known_skin = round(skin_share * texture.shape[1])
        sample = texture[::8, known_skin::8].reshape(-1, 3).float() / 255
        order = sample.sum(dim=1).argsort()
        picks = torch.linspace(0, len(order) - 1, SHADES).long()
        centres = sample[order[picks]].clone()
        for _ in range(8):
            label = torch.cdist(sample, centres).argmin(dim=1)
            for shade in range(SHADES):
                if (label == shade).any():
                    centres[shade] = sample[label == shade].mean(dim=0)
        flat = texture.reshape(-1, 3).float() / 255
        label = torch.cdist(flat, centres).argmin(dim=1).reshape(texture.shape[:2])
        label[:, :known_skin] = SHADES
        dyeable = tuple(not _skin_like(c) for c in centres.tolist())
        centres = torch.cat([centres, centres.new_full((1, 3), 0.5)])
        return Materials(centres**2.2, label.to(torch.uint8), (*dyeable, False))


def _skin_like(colour: list[float]) -> bool:
    """Say whether an sRGB colour could be skin: red over green over blue, not too dull."""
    r, g, b = colour
    return r > g > b and r - b > 0.1 and g - b > 0.02  # noqa: PLR2004


@dataclass(frozen=True)
class Dye:
    """New colours for a person's clothes, and those of what has no texture."""

    gains: Float[Tensor, "k 3"]
    """What each material is multiplied by, linear light."""
    new: Bool[Tensor, "k"]
    """The materials that were dyed; patterns are printed on them alone."""
    soft: Bool[Tensor, "k"]
    """The materials that fold."""
    waves: Float[Tensor, "3"]
    """Waves per metre along the body's axes; zero: no pattern."""
    print: Float[Tensor, "3"]
    """What the pattern multiplies colours by."""
    kind: str
    """One of `PATTERNS`."""

    def dyed(
        self,
        albedo: Float[Tensor, "p 3"],
        label: Int[Tensor, "p"],
        places: Float[Tensor, "p 3"],
        bare: Bool[Tensor, "p"],
    ) -> Float[Tensor, "p 3"]:
        """Dye albedo (linear light) at places at rest; `bare` ones (skin, hair) become no other."""
        label = torch.where(bare & (label < self.skin), self.skin, label).long()
        dyed = albedo * self.gains[label]
        if not self.waves.any():
            return dyed.clamp(0.0, 1.0)
        phase = 2 * torch.pi * places * self.waves
        if self.kind == "stripes":
            there = phase.sum(dim=1).sin() > 0
        elif self.kind == "checks":
            there = phase.sin().prod(dim=1) > 0
        elif self.kind == "dots":
            there = (phase.cos().sum(dim=1)) > 1.4  # noqa: PLR2004 (a tenth of the cloth)
        else:
            blotch = phase.sin() + (2.3 * phase.roll(1, dims=1)).cos()
            there = blotch.sum(dim=1) > 0.4  # noqa: PLR2004 (a third)
        there = there & self.new[label]
        return torch.where(there[:, None], dyed * self.print, dyed).clamp(0.0, 1.0)

    @property
    def skin(self) -> int:
        """The material that is never dyed."""
        return len(self.gains) - EXTRAS - 1

    def cloth(self, label: Int[Tensor, "p"], bare: Bool[Tensor, "p"]) -> Bool[Tensor, "p"]:
        """Say where folds can be."""
        return self.soft[label.long()] & ~(bare & (label <= self.skin))


BANDS = 3
"""Heights of different lightness in plain clothes."""


def plain(
    random: np.random.Generator,
    albedo: Float[Tensor, "p 3"],
    cloth: Bool[Tensor, "p"],
    places: Float[Tensor, "p 3"],
) -> Float[Tensor, "p 3"]:
    """Wash out what is painted on cloth: textures show folds that the surface does not have.

    Args:
        random: How light each band along the body is.
        albedo: Linear light.
        cloth: What is washed.
        places: At rest, metres.
    """
    edges = _float(np.sort(random.uniform(0.3, 1.4, BANDS - 1)))
    light = _float(random.beta(0.9, 1.3, BANDS).clip(0.03, 0.9))[
        torch.bucketize(places[:, 2].contiguous(), edges)
    ]
    hue = albedo / albedo.mean(dim=1, keepdim=True).clamp_min(1e-3)
    washed = light[:, None] * (1 + random.uniform(0.2, 0.9) * (hue - 1))
    return torch.where(cloth[:, None], washed.clamp(0.0, 1.0), albedo)


PATTERNS = ("stripes", "checks", "dots", "blotches")


def draw_dye(random: np.random.Generator, materials: Materials) -> Dye:
    """Draw new colours for what is not skin; often keep the old."""
    count = len(materials.dyeable)
    gains = np.ones((count + EXTRAS, 3))
    if random.random() < DYED:
        for shade, dyeable in enumerate(materials.dyeable):
            if dyeable and random.random() < 0.75:  # noqa: PLR2004 (the others keep theirs)
                old = materials.centres[shade].numpy().clip(0.02)
                gains[shade] = (_colour(random).clip(0.01, 0.9) / old).clip(0.05, 12.0)
    new = (gains != 1).any(axis=1)
    gains[~new] *= random.lognormal(0, 0.2)  # skin and the rest: lighter or darker as a whole
    gains[count:] = [_colour(random).clip(0.01, 0.9) for _ in range(EXTRAS)]
    new[count:] = random.random(EXTRAS) < 0.5  # noqa: PLR2004 (the others have no pattern)
    waves = random.normal(0, 1, 3)
    waves *= random.uniform(4, 30) / np.linalg.norm(waves)
    if random.random() < 0.5:  # noqa: PLR2004 (half of all patterns are woven along the body)
        waves = np.abs(waves) * np.eye(3)[int(random.integers(3))]
    patterned = random.random() < PATTERNED
    return Dye(
        _float(gains),
        torch.from_numpy(new),
        torch.tensor((*materials.dyeable, *(n < SOFT for n in range(EXTRAS)))),
        _float(waves if patterned else np.zeros(3)),
        _float(np.exp(random.normal(0, 0.6, 3) * 0.4 + random.normal(0, 0.7))),
        str(random.choice(PATTERNS)),
    )


def _colour(random: np.random.Generator) -> NDArray[np.float64]:
    """Draw the colour of a garment: mostly a muted one, or a grey; linear light."""
    grey = random.beta(0.8, 1.4)
    if random.random() < 0.4:  # noqa: PLR2004 (grey)
        return grey * random.lognormal(0, 0.06, 3)
    return grey + random.beta(1.2, 2.0) * (random.beta(0.8, 1.4, 3) - grey)


def _float(array: object) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))
