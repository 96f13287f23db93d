"""The recipe of a reconstruction, and three of them.

PAPER is METHOD.md to the letter, for a GPU with the paper's priors: the defaults of each stage's
configuration. DRAFT and STANDARD are ours, for two CPU cores without learned priors.
"""

from dataclasses import dataclass, field

from geneman.preprocess.prepare import PrepareConfig
from geneman.stages.finish import FinishConfig
from geneman.stages.latent_texture import LatentTextureConfig
from geneman.stages.nerf_init import NerfInitConfig
from geneman.stages.pixel_texture import PixelTextureConfig
from geneman.stages.sculpt import SculptConfig


@dataclass(frozen=True)
class Recipe:
    """The settings of all stages, by the stages' names."""

    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    nerf_init: NerfInitConfig = field(default_factory=NerfInitConfig)
    sculpt: SculptConfig = field(default_factory=SculptConfig)
    latent_texture: LatentTextureConfig = field(default_factory=LatentTextureConfig)
    pixel_texture: PixelTextureConfig = field(default_factory=PixelTextureConfig)
    finish: FinishConfig = field(default_factory=FinishConfig)


PAPER = Recipe()

STANDARD = Recipe()
DRAFT = Recipe()
PRESETS = {"draft": DRAFT, "standard": STANDARD, "paper": PAPER}
