"""The numbers of stage 1."""

import math
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from geneman.fields.networks import RadianceConfig
from geneman.schedule import Constant, Ramp, Schedule, Switch


@dataclass(frozen=True)
class NerfInitConfig:
    """Paper and released-code values; those marked "ours" have no counterpart there."""

    steps: Annotated[int, Meta(ge=1, le=100_000)] = 5000
    """Gradient steps."""
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.01
    """Adam's, for everything."""
    field: RadianceConfig = field(default_factory=RadianceConfig)
    """Size of the field."""
    resolution: Schedule = Switch(128, 384, at=3000)
    """Side of the rendered images in pixels."""
    open_levels: Schedule = Ramp(8, 16, 2000, 6000)
    """How many levels of the hash grid take part, rounded down."""
    rays_per_step: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Ours: random pixels a step, in squares of 2 x 2 near the person; 0 renders whole images."""
    start_from_surfaces: bool = False
    """Ours: start with the density of the view's two surfaces instead of Magic3D's blob."""
    ray_step: Annotated[float, Meta(gt=1e-4, lt=0.5)] = math.sqrt(3) * 2 / 512
    """Length of a sample in scene units: 512 along the diagonal of [-1, 1]^3."""
    occupancy_resolution: Annotated[int, Meta(ge=4, le=256)] = 32
    """Cells along each side of the box."""
    occupancy_threshold: Annotated[float, Meta(ge=0, lt=1)] = 0.01
    """Share of the light that a sample must stop to count."""
    occupancy_every: Annotated[int, Meta(ge=1)] = 16
    """Steps between two looks at the occupancy grid."""
    reference_every: Annotated[int, Meta(ge=1)] = 4
    """One reference step in so many; the others are guidance steps."""
    elevation: tuple[float, float] = (-10.0, 45.0)
    """Of random cameras, in degrees."""
    progressive_until: Annotated[int, Meta(ge=0)] = 200
    """Steps over which the cameras' range opens from the reference pose to the whole."""
    background: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Grey level: white."""

    rgb: Schedule = Constant(1000)
    """Mean squared error of the colour over the background."""
    mask: Schedule = Constant(0.05)
    """Squared error of the opacity, summed over the image's pixels."""
    depth: Schedule = Constant(10)
    """Mean squared error after the target's scale and shift are fitted."""
    pearson: Schedule = Constant(0)
    """One minus the correlation of the depths (the paper's text)."""
    normal: Schedule = Constant(0)
    """Mean squared error of the visible normals (the paper's text)."""
    normal_smoothness: Schedule = Constant(5)
    """Mean squared difference of the normals of neighbouring pixels."""
    normal_smoothness_3d: Schedule = Switch(5, 2, at=4000)
    """Mean difference of normals at points 0.01 scene units apart."""
    orientation: Schedule = Switch(1, 10, at=2000)
    """Keeps visible normals from facing away."""
    sparsity: Schedule = Switch(0.1, 10, at=2000)
    """Keeps guidance views from filling up."""
    opaque: Schedule = Switch(0.1, 10, at=2000)
    """Keeps pixels from staying half transparent."""
    guidance_2d: Schedule = Constant(0.1)
    """Weight of the image prior; 0 throughout: it is not asked."""
    guidance_3d: Schedule = Constant(0.3)
    """Weight of the novel-view prior; 0 throughout: it is not asked."""
    noise_low: Schedule = Ramp(0.7, 0.2, 0, 200)
    """Lowest diffusion time, as a share of the priors' training range."""
    noise_high: Schedule = Ramp(0.85, 0.5, 0, 200)
    """Highest diffusion time."""

    metric_depth: Schedule = Constant(1000)
    """Ours, without learned priors: squared depth error in scene units, on both sides."""
    hidden_colour: Schedule = Constant(1000)
    """Ours: squared colour error of the far side."""
    hidden_normal: Schedule = Constant(1)
    """Ours: squared normal error of the far side."""
    hull: Schedule = Constant(10)
    """Ours: mean opacity of random points outside the mask's visual hull."""
    symmetry: Schedule = Constant(1)
    """Ours: squared difference of the opacities of mirrored points, if the mask is mirrored."""
    views: Annotated[int, Meta(ge=0, le=64)] = 0
    """Ours: views drawn once by the prior of views, and learnt from where no prior is asked."""
    view_every: Annotated[int, Meta(ge=1)] = 2
    """Ours: one in so many guidance steps looks at a drawn view, the others at the far side."""
    view_colour: Schedule = Constant(300)
    """Ours: squared colour error of drawn views, by their confidence."""
    view_mask: Schedule = Constant(0.02)
    """Ours: squared error of the opacity in drawn views, summed over the image's pixels."""
    view_normal: Schedule = Constant(1)
    """Ours: squared normal error of drawn views, by their confidence."""
    preview_every: Annotated[int, Meta(ge=1)] = 50
    """Steps between two pictures."""
    preview_size: Annotated[int, Meta(ge=16, le=1024)] = 128
    """Pixels along a side of a picture."""
