"""`geneman train`: make priors' weights."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional, arg

from geneman import device
from geneman.cli.arguments import parse, say
from geneman.curation.rings import Rings, Sketcher
from geneman.errors import OptionError
from geneman.progress import Event, Report, StepDone
from geneman.settings import nearest
from geneman.storage import storage_errors
from geneman.training.geometry_prior import train
from geneman.training.novel_view import NovelViewTraining
from geneman.training.rendered_run import GeometryTraining
from geneman.training.view_prior import ViewTraining

SHOW_EVERY = 20
"""Steps between two lines about the losses."""

PRIORS = ("geometry-prior", "view-prior", "novel-view")
"""What can be trained."""

VIEWS = 8
"""Views of a ring."""


@dataclass(frozen=True)
class Train:
    """Train a bundled prior on rendered people; run again in the same folder to go on.

    The others have other settings: see `geneman train view-prior --help`, and `novel-view`.
    """

    prior: Positional[Literal["geometry-prior"]]
    """What to train."""
    people: Path
    """Folder of rigged avatars (.glb)."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """Folder for weights, learning curve and checkpoint."""
    wardrobe: Path | None = None
    """Folder of MakeHuman's clothes, hair and skins; without it, avatars alone are shown."""
    start_from: Path | None = None
    """Weights to begin with (.safetensors), where the folder has no checkpoint to go on from."""
    settings: OmitArgPrefixes[GeometryTraining] = field(default_factory=GeometryTraining)


@dataclass(frozen=True)
class TrainViews:
    """Train the view prior on people seen from all around; run again in the same folder to go on.

    What is rendered may be kept in a folder, and rendered beforehand on another machine.
    """

    prior: Positional[Literal["view-prior"]]
    """What to train."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for weights, card, learning curves, samples and checkpoint."""
    people: Path | None = None
    """Folder of rigged avatars (.glb); not needed where all rings are rendered already."""
    wardrobe: Path | None = None
    """Folder of MakeHuman's clothes, hair and skins; without it, avatars alone are shown."""
    rings: Path | None = None
    """Folder that keeps what is rendered, 80 kB a ring; without it, nothing is kept."""
    limit: int = 0
    """Different rings to learn from, again and again; 0: always new ones."""
    render: int = 0
    """Render so many rings, and those for validation, into --rings, and do not train."""
    device: str = "auto"
    """auto, cpu or cuda."""
    settings: OmitArgPrefixes[ViewTraining] = field(default_factory=ViewTraining)


@dataclass(frozen=True)
class TrainNovelView:
    """Train the full family's Zero-1-to-3 on people; run again in the same folder to go on.

    What it makes, OUT/model, is taken by `geneman weights get geneman-3d --from`.
    """

    prior: Positional[Literal["novel-view"]]
    """What to train."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for the networks, learning curves, samples and checkpoint."""
    start_from: Path | None = None
    """Zero-1-to-3 to begin with: a folder in diffusers' layout, or the original checkpoint."""
    people: Path | None = None
    """Folder of rigged avatars (.glb); not needed where all rings are rendered already."""
    wardrobe: Path | None = None
    """Folder of MakeHuman's clothes, hair and skins; without it, avatars alone are shown."""
    rings: Path | None = None
    """Folder that keeps what is rendered, of this prior alone; without it, nothing is kept."""
    limit: int = 0
    """Different rings to learn from, again and again; 0: always new ones."""
    render: int = 0
    """Render so many rings, and those for validation, into --rings, and do not train."""
    device: str = "auto"
    """auto, cpu or cuda."""
    settings: OmitArgPrefixes[NovelViewTraining] = field(default_factory=NovelViewTraining)


def command(arguments: Sequence[str]) -> int:
    """Train until the minutes are over."""
    named = arguments[0] if arguments else "-"
    if not named.startswith("-") and named not in PRIORS:
        raise OptionError(
            "geneman train takes the name of a prior",
            value=f"'{named}'",
            remedy=nearest(named, PRIORS),
        )
    if named == "view-prior":
        return _views(arguments)
    if named == "novel-view":
        return _novel_view(arguments)
    options = parse(Train, "train", arguments)
    with storage_errors(options.out):
        weights = train(
            options.people,
            options.wardrobe,
            options.out,
            options.settings,
            _lines(),
            start_from=options.start_from,
        )
    say(str(weights))
    return 0


def _views(arguments: Sequence[str]) -> int:
    from geneman.priors.bundled.geometry_prior import GeometryPrior
    from geneman.priors.bundled.view_network import STANDARD_SHAPE
    from geneman.training import view_prior
    from geneman.training.view_sketches import GuessedViews

    options = parse(TrainViews, "train", arguments)
    sketcher = GuessedViews(GeometryPrior.from_file())
    found = _rings(options, plain=options.settings.plain, sketcher=sketcher)
    if found is None:
        return 0
    out = options.out or Path("view-prior")
    with storage_errors(out):
        view_prior.train(
            *found,
            out,
            options.settings,
            _lines(),
            device=device.choose(options.device),
            shape=replace(STANDARD_SHAPE, size=options.settings.size),
            command=shlex.join(["geneman", "train", *arguments]),
        )
    say(str(out / "view.safetensors"))
    return 0


def _novel_view(arguments: Sequence[str]) -> int:
    from geneman.priors.weights import CONVERTED
    from geneman.priors.zero123_checkpoint import in_diffusers_layout
    from geneman.training import novel_view
    from geneman.training.novel_view_model import MODEL

    options = parse(TrainNovelView, "train", arguments)
    found = _rings(options, plain=True)
    if found is None:
        return 0
    out, start = options.out or Path("novel-view"), options.start_from
    with storage_errors(out):
        if start is not None and not (out / MODEL).is_dir():
            out.mkdir(parents=True, exist_ok=True)
            # Beside the checkpoint, as a run with it would convert it; or here, if it is one file.
            start = in_diffusers_layout(start, (start if start.is_dir() else out) / CONVERTED)
        novel_view.train(
            found,
            start,
            out,
            options.settings,
            _lines(),
            device=device.choose(options.device),
            said={
                "command": shlex.join(["geneman", "train", *arguments]),
                "start": str(options.start_from or "an earlier run"),
            },
        )
    say(str(out / MODEL))
    return 0


def _rings(
    options: TrainViews | TrainNovelView, *, plain: bool, sketcher: Sketcher | None = None
) -> tuple[Rings, Rings] | None:
    """Give whom to learn from and whom never to; nobody where they were only to be rendered."""
    from geneman.training.view_sources import render, sources

    like = Rings(
        (),
        options.settings.size,
        VIEWS,
        options.settings.seed,
        folder=options.rings,
        limit=options.limit,
        plain=plain,
        sketcher=sketcher,
    )
    found = sources(options.people, options.wardrobe, like)
    if options.render:
        render(found, options.render, options.settings, say)
        return None
    return found


def _lines() -> Report:
    """Say the losses every few steps."""
    console = Console(stderr=True, highlight=False)

    def show(event: Event) -> None:
        if isinstance(event, StepDone) and event.step % SHOW_EVERY == 0:
            terms = "  ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
            console.print(f"step {event.step}  {terms}")

    return show
