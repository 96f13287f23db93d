"""The paper's family of priors, from a folder of weights: one folder a role.

Stable Diffusion with GeneMAN's denoiser, GeneMAN's Zero-1-to-3, HumanNorm's judges of normals and
depth, its editor, LPIPS; where they are there, Sapiens and a captioner too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from geneman.errors import MissingComponentError
from geneman.priors import weights
from geneman.priors.bundle import Priors
from geneman.priors.captions import Blip2
from geneman.priors.catalogue import REQUIRED
from geneman.priors.diffusion import Steering
from geneman.priors.economy import Economy
from geneman.priors.novel_view import NovelViewJudge, ZeroOneToThree
from geneman.priors.perceptual import Lpips
from geneman.priors.prompts import Medium, Wording
from geneman.priors.sapiens import Estimator, Sapiens
from geneman.priors.stable_diffusion import (
    ControlledEditor,
    StableDiffusion,
    TextJudge,
    read_controlnet,
)
from geneman.priors.zero123_checkpoint import Shape, in_diffusers_layout

IMAGE_SCALE, HUMANNORM_SCALE, EDIT_SCALE = 20.0, 30.0, 7.5
"""Of the classifier-free guidances (METHOD sections 3, 4 and 6)."""


def lacking(root: Path, roles: Sequence[str] = REQUIRED) -> list[str]:
    """List the roles whose files are not all there, unread."""
    return [role for role in roles if weights.missing(role, root / role)]


def check(root: Path) -> None:
    """Refuse a folder without the whole family.

    Raises:
        MissingComponentError: A role is missing, or an optional package.
    """
    _need_packages()
    absent = lacking(root)
    if absent:
        raise MissingComponentError(
            f"the full priors need the weights {', '.join(REQUIRED)}",
            value=f"'{root}' without {', '.join(absent)}",
            remedy="run: geneman weights get --preset paper --accept-licences, or choose "
            "--priors bundled",
        )


def full_priors(
    root: Path, behind: Priors, economy: Economy, *, zero123: Shape | None = None
) -> Priors:
    """Load the family; nothing of `behind` but its shape prior takes part.

    Args:
        root: Holds one folder a role.
        behind: The bundled priors; their shape prior completes what Sapiens sees.
        economy: Where and how the networks run.
        zero123: Sizes of a Zero-1-to-3 checkpoint that is yet to be converted.

    Raises:
        MissingComponentError: A role is missing or holds something else.
    """
    check(root)
    base = StableDiffusion.from_folder(root / "stable-diffusion", economy, unet=root / "geneman-2d")
    aligned = StableDiffusion.from_folder(root / "normal-aligned", economy, unet=base.unet)
    return replace(
        behind,
        shape=_shape(root, behind, economy),
        image=TextJudge(
            base,
            Wording(),
            IMAGE_SCALE,
            Steering.FROM_CONDITIONED,
            name=_named("GeneMAN-2D", root / "geneman-2d"),
        ),
        novel_view=NovelViewJudge(
            _zero123(root / "geneman-3d", economy, zero123),
            name=_named("GeneMAN-3D", root / "geneman-3d"),
        ),
        normal=_humannorm(root / "normal-adapted", Wording(Medium.NORMAL), economy),
        depth=_humannorm(root / "depth-adapted", Wording(Medium.DEPTH, parts=True), economy),
        views=None,
        editor=ControlledEditor(
            aligned,
            read_controlnet(root / "controlnet-normal", economy),
            scale=EDIT_SCALE,
            name=_named("HumanNorm's ControlNet", root / "controlnet-normal"),
        ),
        perceptual=Lpips.from_folder(root / "perceptual", economy),
        caption=_captioner(root, economy),
    )


def _humannorm(folder: Path, wording: Wording, economy: Economy) -> TextJudge:
    model = StableDiffusion.from_folder(folder, economy)
    name = _named(f"HumanNorm {folder.name}", folder)
    return TextJudge(model, wording, HUMANNORM_SCALE, Steering.FROM_UNCONDITIONED, name)


def _zero123(folder: Path, economy: Economy, shape: Shape | None) -> ZeroOneToThree:
    """Read Zero-1-to-3, after converting the original checkpoint if that has not been done."""
    made = in_diffusers_layout(folder, folder / weights.CONVERTED, shape)
    return ZeroOneToThree.from_folder(made, economy)


def _shape(root: Path, behind: Priors, economy: Economy) -> Sapiens:
    def read(role: str) -> Estimator | None:
        if weights.missing(role, root / role):
            return None
        return Estimator.from_file(root / role / weights.entry(role).expects[0], economy)

    return Sapiens(read("normals"), read("depth"), behind.shape)


def _captioner(root: Path, economy: Economy) -> Blip2 | None:
    present = not weights.missing("caption", root / "caption")
    return Blip2.from_folder(root / "caption", economy) if present else None


def _named(name: str, folder: Path) -> str:
    """Add to a name what tells its weights from others: a run's results depend on them.

    Hashing gigabytes at every start would take minutes: names, sizes and times must do.
    """
    told = [
        f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".ckpt")
    ]
    return f"{name} {hashlib.sha256(repr(told).encode()).hexdigest()[:8]}"


def _need_packages() -> None:
    import importlib.util

    if importlib.util.find_spec("transformers") is None:
        raise MissingComponentError(
            "the full priors need the package transformers",
            value="a Python without it",
            remedy="run: pip install 'geneman[full]'",
        )
