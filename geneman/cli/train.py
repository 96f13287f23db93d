"""`geneman train`: make the bundled priors' weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional, arg

from geneman.cli.arguments import parse, say
from geneman.progress import Event, StepDone
from geneman.storage import storage_errors
from geneman.training.geometry_prior import GeometryTraining, train

SHOW_EVERY = 20
"""Steps between two lines about the losses."""


@dataclass(frozen=True)
class Train:
    """Train a bundled prior on rendered people; run again in the same folder to go on."""

    prior: Positional[Literal["geometry-prior"]]
    """What to train."""
    people: Path
    """Folder of rigged avatars (.glb)."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """Folder for weights, learning curve and checkpoint."""
    wardrobe: Path | None = None
    """Folder of MakeHuman's clothes, hair and skins; without it, avatars alone are shown."""
    settings: OmitArgPrefixes[GeometryTraining] = field(default_factory=GeometryTraining)


def command(arguments: Sequence[str]) -> int:
    """Train until the minutes are over."""
    options = parse(Train, "train", arguments)
    console = Console(stderr=True, highlight=False)

    def show(event: Event) -> None:
        if isinstance(event, StepDone) and event.step % SHOW_EVERY == 0:
            terms = "  ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
            console.print(f"step {event.step}  {terms}")

    with storage_errors(options.out):
        train(options.people, options.wardrobe, options.out, options.settings, show)
    say(str(options.out / "geometry.safetensors"))
    return 0
