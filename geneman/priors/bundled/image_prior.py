"""The bundled image prior: the view prior that has forgotten the photo (Stable Diffusion's place).

Training dropped the photo now and then, so the same network knows what people look like at all,
from whichever side the camera says: what view words in a prompt do for the paper's prior.
"""

from dataclasses import dataclass

from geneman.priors.bundle import Guidance
from geneman.priors.bundled.view_model import ViewModel
from geneman.priors.bundled.view_prior import judge
from geneman.view import ReferenceView


@dataclass(frozen=True)
class HumanImages:
    """A `GuidancePrior` of colours in front of white that asks only whether they show a person."""

    model: ViewModel
    name: str = "view prior: people"

    def condition(self, view: ReferenceView) -> Guidance:
        """Keep the photo's camera; nothing else of it counts, and there is nothing to steer by."""
        return judge(self.model.photographed(view), "colour", 1.0, forgotten=True)
