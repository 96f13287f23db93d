"""Who takes part in a benchmark: the product, what it must beat, and what it is without a part.

Each gets a photo and a folder, and gives a textured mesh in the scene of the view's camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from geneman.artefacts import load_textured, load_view
from geneman.evaluation.mirrored import GRID, mirrored_photo
from geneman.mesh import TexturedMesh
from geneman.pipeline import Request, Stage, reconstruct
from geneman.presets import Recipe
from geneman.priors.bundle import Priors
from geneman.priors.bundled.geometry_prior import GeometryPrior
from geneman.priors.bundled.inflation import Inflation
from geneman.progress import Report
from geneman.run_folder import RunFolder
from geneman.settings import to_json
from geneman.storage import digest_of
from geneman.view import ReferenceView

OURS, INFLATION, UNTAUGHT = "ours", "inflation", "without_learned_priors"
"""The product, and the two baselines of every benchmark."""

BASELINES = (INFLATION, UNTAUGHT)


@dataclass(frozen=True)
class Answer:
    """What a candidate made of a photo."""

    view: ReferenceView
    textured: TexturedMesh
    """In scene units, as the view's camera saw it."""
    seconds: float
    """Of all its stages together, however often it was stopped."""


@runtime_checkable
class Candidate(Protocol):
    """Turns a photo into a person."""

    @property
    def folder(self) -> str:
        """Name of the folder that it works in; candidates with the same recipe may share one."""

    @property
    def fingerprint(self) -> str:
        """What it would have to be measured anew for, if it changed."""

    def answer(self, photo: Path, folder: Path, report: Report) -> Answer:
        """Go on with what the folder holds, and give the result."""


@dataclass(frozen=True)
class Reconstruction:
    """The method's stages up to the texture, with some priors and a recipe."""

    folder: str
    recipe: Recipe
    priors: Priors
    chain: Mapping[str, Stage]
    device: torch.device
    until: str = "pixel_texture"

    @property
    def fingerprint(self) -> str:
        """Settings and priors by name: a prior's name tells its weights."""
        bundle = {
            name: getattr(prior, "name", type(prior).__qualname__)
            for name, prior in vars(self.priors).items()
            if prior is not None
        }
        return digest_of([to_json(self.recipe), bundle, self.until, self.device.type])

    def answer(self, photo: Path, folder: Path, report: Report) -> Answer:
        """Reconstruct; see `Candidate`."""
        self.bring_up_to_date(photo, folder, report)
        run = RunFolder.read(folder)
        seconds = sum(summary.seconds for summary in run.record.stages.values())
        return Answer(
            load_view(run.result("prepare"), torch.device("cpu")),
            load_textured(run.result("pixel_texture"), torch.device("cpu")),
            seconds,
        )

    def bring_up_to_date(self, photo: Path, folder: Path, report: Report) -> None:
        """Run the stages that the folder does not hold yet."""
        request = Request(photo, self.recipe, preset="", until=self.until)
        with RunFolder.locked(folder) as run:
            reconstruct(
                request, run, self.chain, priors=self.priors, device=self.device, report=report
            )


@dataclass(frozen=True)
class MirroredPhoto:
    """Mask inflation with the photo on both sides: what `prepare` knows without learning."""

    preparation: Reconstruction

    @property
    def folder(self) -> str:
        """The preparation is that of the pipeline without learned priors."""
        return self.preparation.folder

    @property
    def fingerprint(self) -> str:
        """That of the preparation, and of the grid."""
        return digest_of(["mirrored photo", GRID, self.preparation.fingerprint])

    def answer(self, photo: Path, folder: Path, report: Report) -> Answer:
        """Close the view's depth maps; see `Candidate`."""
        self.preparation.bring_up_to_date(photo, folder, report)
        run = RunFolder.read(folder)
        view = load_view(run.result("prepare"), torch.device("cpu"))
        return Answer(view, mirrored_photo(view), run.record.stages["prepare"].seconds)


def candidates(
    recipe: Recipe, priors: Priors, chain: Mapping[str, Stage], device: torch.device
) -> dict[str, Candidate]:
    """Give the product and its baselines by name."""
    untaught = Reconstruction(UNTAUGHT, recipe, Priors(shape=Inflation()), chain, device)
    return {
        OURS: Reconstruction(OURS, recipe, priors, chain, device),
        INFLATION: MirroredPhoto(replace(untaught, until="prepare")),
        UNTAUGHT: untaught,
    }


def ablations(
    recipe: Recipe, priors: Priors, chain: Mapping[str, Stage], device: torch.device
) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Give the product without each of its parts, and why a part cannot be left out."""
    reduced: dict[str, tuple[Recipe, Priors]] = {}
    absent: dict[str, str] = {}
    if isinstance(priors.shape, Inflation):
        absent["without_geometry_prior"] = "there are no weights of the geometry prior"
    else:
        reduced["without_geometry_prior"] = (recipe, replace(priors, shape=Inflation()))
    if priors.views is None:
        absent["without_view_prior"] = "there are no weights of the view prior"
        absent["without_multi_view_trick"] = "it needs the view prior"
    else:
        blind = replace(priors, image=None, novel_view=None, normal=None, views=None)
        reduced["without_view_prior"] = (recipe, blind)
        absent["without_multi_view_trick"] = "these recipes draw whole views instead of editing"
    if getattr(priors.shape, "detail", None) is None:
        absent["without_details"] = "there are no weights of the detail network"
    else:
        assert isinstance(priors.shape, GeometryPrior)
        reduced["without_details"] = (recipe, replace(priors, shape=priors.shape.smooth()))
    faceless = replace(recipe, prepare=replace(recipe.prepare, face=False))
    reduced["without_head_pass"] = (faceless, priors)
    untaught = Priors(shape=Inflation())  # one run serves both, if nothing else was learned
    made: dict[str, Candidate] = {}
    for name, (changed, fewer) in reduced.items():
        folder = UNTAUGHT if fewer == untaught else name
        made[name] = Reconstruction(folder, changed, fewer, chain, device)
    return made, absent
