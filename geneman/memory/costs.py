"""What one call of each network of the full family costs.

Arithmetic and parameters are counted on the real architectures (tests/memory/test_costs.py counts
them again); the rest of the numbers say where they come from.
"""

from dataclasses import dataclass

TERA, GIGA = 10**12, 10**9


@dataclass(frozen=True)
class Network:
    """One network at the size of pictures that it is used at."""

    parameters: int
    forward: int
    """Floating point operations of one image's call, multiplications and additions apart."""
    backward: int = 0
    """Of the gradient to the image, the call computed again included; 0 where none is taken."""
    single: bool = False
    """Whether it runs in single precision."""


DENOISER = Network(859_520_964, 803_273_441_280)
"""Stable Diffusion 1.5's at 64 x 64 latents, 77 words."""
CONTROLNET = Network(361_279_120, 283_291_975_680)
ENCODER = Network(34_163_664, 1_116_658_466_816, backward=2_267_676_672_000)
"""Of the codec at 512 x 512; the way back is the call once more and the gradient."""
DECODER = Network(49_490_199, 2_514_518_933_504)
ZERO123 = Network(859_532_484, 176_338_452_480, single=True)
"""Zero-1-to-3's denoiser at 32 x 32 latents, one token."""
ZERO123_ENCODER = Network(34_163_664, 272_722_165_760, backward=547_591_815_168, single=True)

CLIP_TEXT, CLIP_EYE = 123_060_480, 303_966_208
"""Parameters of CLIP ViT-L/14's towers: asked once a photo, so that only their size counts."""

ACTIVATIONS = {"denoiser": 0.8 * GIGA, "encoder": 1.7 * GIGA, "decoder": 1.5 * GIGA}
"""Bytes that a call holds besides weights, in half precision at 512 x 512 for a pair of images
(an encoder: one, with what its way back needs): its largest maps, 128 channels of 512 x 512 at
2 bytes, are 67 MB, and it keeps about 25 maps of that volume. Planned, not yet measured."""


@dataclass(frozen=True)
class Device:
    """What a maker's data sheet says of a device."""

    name: str
    memory: int
    half: float
    """Floating point operations a second, half precision products with single precision sums."""
    single: float
    bandwidth: float
    """Bytes a second of its memory."""


DEVICES = (
    Device("A100 40 GB", 40 * GIGA, 312 * TERA, 19.5 * TERA, 1.555 * TERA),
    Device("H100 SXM", 80 * GIGA, 989 * TERA, 67 * TERA, 3.35 * TERA),
    Device("RTX 4090", 24 * GIGA, 165 * TERA, 82.6 * TERA, 1.008 * TERA),
)
ARITHMETIC_SHARE, BANDWIDTH_SHARE = 0.4, 0.5
"""Of the data sheets' numbers that is counted on: what U-Nets at batch 2, and scattered reads,
commonly reach. Assumed, to be replaced by measurement."""
STEP_SECONDS = 0.02
"""Of each step that no arithmetic explains: launching some thousand kernels."""
