"""The bundled family: what trained weights add to a bundle that needs none."""

from dataclasses import replace
from pathlib import Path

from geneman.priors.bundle import Priors
from geneman.priors.bundled.image_prior import HumanImages
from geneman.priors.bundled.view_model import WEIGHTS, ViewModel
from geneman.priors.bundled.view_prior import ColourJudge, NormalJudge, ViewPainter
from geneman.storage import digest_of_file


def with_views(priors: Priors, path: Path = WEIGHTS) -> Priors:
    """Add what trained weights know of views to a bundle, if there are any.

    Args:
        priors: The bundle; nothing in it is replaced.
        path: The weights.

    Raises:
        MissingComponentError: There are weights, but diffusers is not installed.
    """
    if not path.is_file():
        return priors
    model = ViewModel.from_file(path)
    # A run's results are stale when its priors' names change: other weights are another prior.
    which = digest_of_file(path)[:8]
    return replace(
        priors,
        image=priors.image or HumanImages(model, name=f"people {which}"),
        novel_view=priors.novel_view or ColourJudge(model, name=f"colours {which}"),
        normal=priors.normal or NormalJudge(model, name=f"normals {which}"),
        views=priors.views or ViewPainter(model, name=f"views {which}"),
    )
