"""Stage 4: turn the colour field into a texture and refine it (METHOD sections 6, 6b and 7).

The mesh is decimated and unwrapped, and the atlas painted from the photo and the field. With an
editor the colours then follow its repainted views, on one of two routes: the paper's, which moves
texels, or the released recipe's, which moves the colour field first. At the end of either the
texels are fitted to the photo, so that the input view shows it again. What is finer than the
triangles goes into a normal map beside them.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geneman.camera import Orbit
from geneman.fields.adam import optimiser_of
from geneman.fields.atlas import UvMap, decimate, unwrap
from geneman.fields.networks import ColourField
from geneman.fields.texels import fill_gaps, lay_out
from geneman.kernels.texture import read_texture
from geneman.mesh import Mesh, TexturedMesh, UnwrappedMesh
from geneman.priors.bundle import Editor, Priors
from geneman.progress import ImagePreview, Report
from geneman.renderers.baking import Baked, bake
from geneman.renderers.painting import paint
from geneman.renderers.projection import Trust, project
from geneman.renderers.textured import Look, look
from geneman.schedule import Constant, Ramp, Schedule
from geneman.training.checkpoints import Checkpoints, NoCheckpoints
from geneman.training.loop import Losses, minimise
from geneman.view import ReferenceView

STAGE = "pixel_texture"

PREVIEW_SIZE = 320
DOUBTFUL = 0.1
"""Weight of pixels where the shape may not lie under the photo: outlines, steep slopes."""
LAST_RATE = 0.1
"""Share of the texels' learning rate that is left at the last step."""

Colours = Callable[[Look], Tensor]
"""What a camera sees of the work so far: one colour for each covered pixel."""


@dataclass(frozen=True)
class Refinement:
    """How colours follow the editor's views."""

    steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    """Gradient steps."""
    difference: Literal["mse", "l1"]
    """Mean squared or mean absolute difference from the edited view, with weight 1."""
    perceptual_weight: Annotated[float, msgspec.Meta(ge=0)]
    """Perceptual distance from it."""
    noise_low: Schedule
    """Lowest diffusion time the editor starts from, as a share of the training range."""
    noise_high: Schedule
    """Highest such time."""
    edit_every: Annotated[int, msgspec.Meta(ge=1)] = 30
    """At multiples of this step a view is edited anew."""


PAPER_ROUTE = Refinement(
    steps=1000,
    difference="mse",
    perceptual_weight=10.0,
    noise_low=Ramp(start=0.50, stop=0.20, begin=0, end=1000),
    noise_high=Ramp(start=0.51, stop=0.21, begin=0, end=1000),
)
"""Steps and losses are the paper's; weights and noise, which it does not tell, are ours."""
RELEASED_ROUTE = Refinement(
    steps=10_000,
    difference="l1",
    perceptual_weight=100.0,
    noise_low=Constant(0.50),
    noise_high=Constant(0.51),
)


@dataclass(frozen=True)
class PixelTextureConfig:
    """Numbers of the fine texture."""

    target_faces: Annotated[int, msgspec.Meta(ge=500, le=2_000_000)] = 100_000
    """Triangles of the textured mesh (ours)."""
    texture_size: Annotated[int, msgspec.Meta(ge=64, le=8192)] = 2048
    """Side of the texture in texels (ours; the released code exports 1024)."""
    gutter: Annotated[int, msgspec.Meta(ge=1, le=64)] = 6
    """Empty texels around each chart, filled with its border colours (ours)."""
    normal_map: bool = True
    """Bake what is finer than the triangles, from the sculpted surface and the photo's normals,
    into a normal map; there is none where a mesh made by hand has charts that overlap (ours)."""
    normal_map_size: Annotated[int, msgspec.Meta(ge=64, le=8192)] = 1024
    """Its side in texels: the photo's normals are no finer (ours)."""
    reach: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.15
    """Scene units over which the photo's tone fades into the field's (ours)."""
    hidden_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """How far what is believed of the hidden side is painted over the field as the photo is (ours);
    not where drawn views have taught the field better, or an editor has moved it."""
    route: Literal["uv", "field"] = "field"
    """What the editor's views move: texels (paper) or the colour field (released recipe)."""
    uv: Refinement = PAPER_ROUTE
    """The paper's route."""
    field: Refinement = RELEASED_ROUTE
    """The released recipe's route."""
    fit_steps: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    """Steps that fit the texels to the photo where no editor's views move them (ours)."""
    keep_weight: Annotated[float, msgspec.Meta(ge=0)] = 5000.0
    """Mean squared distance of the texels from the painted ones while fitting (ours): holds
    those that only doubtful pixels see, which would break up into blotches."""
    reference_size: Annotated[int, msgspec.Meta(ge=32, le=4096)] = 1024
    """Side in pixels at which the photo is compared."""
    render_size: Annotated[int, msgspec.Meta(ge=32, le=2048)] = 512
    """Side in pixels of the views that the editor repaints."""
    views: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 120
    """Views around the person that the editor repaints."""
    views_per_step: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    """Views drawn in each of its steps."""
    reference_every: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    """Every how many steps the photo is shown; the others belong to the editor."""
    reference_weight: Annotated[float, msgspec.Meta(ge=0)] = 1000.0
    """Mean absolute difference from the photo."""
    field_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    """Learning rate of the colour field, encoding and network alike."""
    texel_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.005
    """Learning rate of the texels at first; it falls to a tenth (ours)."""
    preview_every: Annotated[int, msgspec.Meta(ge=1)] = 50
    """Steps between previews."""


class Texture(torch.nn.Module):
    """Texels that are optimised: sRGB."""

    def __init__(
        self, image: Float[Tensor, "s s 3"], inside: Bool[Tensor, "s s"], atlas: UvMap
    ) -> None:
        super().__init__()
        self.texels = torch.nn.Parameter(image.clone())
        self.inside, self.atlas = inside, atlas

    def colours(self, seen: Look) -> Float[Tensor, "p 3"]:
        """Give what a camera sees of it."""
        return read_texture(self.texels, seen.footprints(self.atlas, len(self.texels)))


class Targets:
    """The editor's latest picture of each view."""

    def __init__(self) -> None:
        self.pictures: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, object]:
        """Give all pictures by the number of their view."""
        return dict(self.pictures)

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Continue from them."""
        self.pictures = {
            name: picture for name, picture in state_dict.items() if isinstance(picture, Tensor)
        }


@dataclass(frozen=True)
class _Photo:
    """The photo at the pixels where the mesh shows it."""

    seen: Look
    colours: Float[Tensor, "p 3"]
    weights: Float[Tensor, "p"]

    def misfit(self, colours: Float[Tensor, "p 3"]) -> Float[Tensor, ""]:
        """Weighted mean absolute difference."""
        difference = (colours - self.colours).abs().mean(dim=1)
        misfit: Tensor = (self.weights * difference).sum() / self.weights.sum().clamp_min(1e-6)
        return misfit


@dataclass
class _Edits:
    """Pulls colours towards the editor's views."""

    editor: Editor
    priors: Priors
    recipe: Refinement
    config: PixelTextureConfig
    mesh: Mesh
    generator: torch.Generator
    targets: Targets = field(default_factory=Targets)

    def losses(self, step: int, colours: Colours) -> Losses:
        """Compare some views with their edited pictures, after editing them where it is due."""
        chosen = torch.randint(
            self.config.views, (self.config.views_per_step,), generator=self.generator
        ).tolist()
        orbits = [Orbit(azimuth_deg=360 * view / self.config.views) for view in chosen]
        seen = [look(self.mesh, orbit, self.config.render_size) for orbit in orbits]
        images = torch.stack([each.picture(colours(each)) for each in seen])
        names = [str(view) for view in chosen]
        missing = [name not in self.targets.pictures for name in names]
        if step % self.recipe.edit_every == 0 or any(missing):
            self._edit(step, images.detach(), seen, names)
        wanted = torch.stack([self.targets.pictures[name] for name in names])
        gap = images - wanted
        squared = self.recipe.difference == "mse"
        losses = {"edit": gap.square().mean() if squared else gap.abs().mean()}
        if self.priors.perceptual is not None:
            distance = self.priors.perceptual(images, wanted)
            losses["perceptual"] = self.recipe.perceptual_weight * distance
        return losses

    def _edit(self, step: int, images: Tensor, seen: Sequence[Look], names: Sequence[str]) -> None:
        recipe = self.recipe
        with torch.no_grad():
            edited = self.editor(
                images,
                torch.stack([each.normals for each in seen]),
                [each.orbit for each in seen],
                noise=(recipe.noise_low(step), recipe.noise_high(step)),
                generator=self.generator,
            )
        self.targets.pictures |= dict(zip(names, edited.clone().unbind(), strict=True))


def run(  # noqa: PLR0913 (the contract of every stage)
    view: ReferenceView,
    mesh: Mesh,
    colour: ColourField,
    *,
    priors: Priors,
    config: PixelTextureConfig,
    report: Report,
    generator: torch.Generator,
    checkpoints: Checkpoints,
    device: torch.device,
) -> TexturedMesh:
    """Decimate, unwrap and paint the mesh, and refine what is painted.

    Args:
        view: The photo.
        mesh: The sculpted surface, closed and outward; one that is unwrapped already is neither
            decimated nor unwrapped again.
        colour: The coarse texture; it is not changed.
        priors: `editor` and `perceptual` are used where they are present; where `views` is, the
            field is believed of the hidden side.
        config: Numbers.
        report: Receives the steps and previews.
        generator: The only source of randomness.
        checkpoints: Where the state is kept.
        device: Where to compute; view, mesh and colour lie there.
    """
    small = mesh if isinstance(mesh, UnwrappedMesh) else decimate(mesh, config.target_faces)
    photo = _photo(view, small, config.reference_size)
    previews = [look(small, orbit, PREVIEW_SIZE) for orbit in (view.camera, Orbit(180.0))]

    def preview(step: int, colours: Colours) -> None:
        if step % config.preview_every == 0:
            with torch.no_grad():
                pictures = [seen.picture(colours(seen)).clamp(0, 1) for seen in previews]
            report(ImagePreview(STAGE, step, torch.cat(pictures, dim=1).cpu()))

    edits = None
    if priors.editor is not None:
        recipe = config.uv if config.route == "uv" else config.field
        edits = _Edits(priors.editor.condition(view), priors, recipe, config, small, generator)
    moved = False
    if edits is not None and config.route == "field":
        colour = copy.deepcopy(colour)
        _refine_field(colour, photo, edits, preview, report, checkpoints)
        # What is left is exact and quick, so it starts again if it is interrupted.
        edits, checkpoints, moved = None, NoCheckpoints(), True
    size = config.texture_size
    if isinstance(mesh, UnwrappedMesh):
        atlas = UvMap(mesh.uv, mesh.uv_faces, 0)
    else:
        atlas = unwrap(small, size=size, gutter=config.gutter)
    texels = lay_out(small, atlas, size)
    painted = paint(
        view,
        small,
        texels,
        colour.colour,
        trust=Trust(),
        reach=config.reach,
        hidden=0.0 if moved or priors.views else config.hidden_share,
    )
    inside = texels.inside()
    texture = Texture(fill_gaps(texels.image(painted), inside), inside, atlas).to(device)
    _refine_texture(texture, photo, edits, config, preview, report, checkpoints, generator)
    albedo = fill_gaps(texture.texels.detach().clamp(0, 1), inside)
    bare = Mesh(small.vertices, small.faces)
    normals = None
    if config.normal_map:
        normals = bake(view, Baked(small, atlas, mesh), config.normal_map_size)
    return TexturedMesh(bare, atlas.uv, atlas.faces, albedo, normals)


Preview = Callable[[int, Colours], None]


def _refine_field(
    colour: ColourField,
    photo: _Photo,
    edits: _Edits,
    preview: Preview,
    report: Report,
    checkpoints: Checkpoints,
) -> None:
    """Let the colour field follow the editor (the released recipe)."""
    config = edits.config

    def colours(seen: Look) -> Tensor:
        return colour.colour(seen.points)

    def objective(step: int) -> Losses:
        preview(step, colours)
        if step % config.reference_every == 0:
            return {"reference": config.reference_weight * photo.misfit(colours(photo.seen))}
        return edits.losses(step, colours)

    minimise(
        objective,
        optimiser_of(colour.parameters(), colour.encoding, rate=config.field_rate),
        stage=STAGE,
        steps=edits.recipe.steps,
        report=report,
        checkpoints=checkpoints,
        parts={"field": colour, "targets": edits.targets},
        generator=edits.generator,
    )


def _refine_texture(
    texture: Texture,
    photo: _Photo,
    edits: _Edits | None,
    config: PixelTextureConfig,
    preview: Preview,
    report: Report,
    checkpoints: Checkpoints,
    generator: torch.Generator,
) -> None:
    """Fit the texels to the photo, and to the editor's views if there are any (the paper's)."""
    painted = texture.texels.detach().clone()
    count = 3 * texture.inside.sum()
    prints = photo.seen.footprints(texture.atlas, config.texture_size)
    optimiser = torch.optim.Adam(
        [texture.texels], config.texel_rate, (0.9, 0.99), 1e-15, fused=True
    )
    steps = config.fit_steps if edits is None else edits.recipe.steps

    def objective(step: int) -> Losses:
        preview(step, texture.colours)
        left = 1 - step / steps
        for group in optimiser.param_groups:
            group["lr"] = config.texel_rate * (LAST_RATE + (1 - LAST_RATE) * left)
        if edits is not None and step % config.reference_every != 0:
            return edits.losses(step, texture.colours)
        shown = photo.misfit(read_texture(texture.texels, prints))
        losses = {"reference": config.reference_weight * shown}
        if edits is None:
            # Texels outside move only where a footprint reads them, and are held there too.
            moved = torch.nn.functional.mse_loss(texture.texels, painted, reduction="sum")
            losses["keep"] = config.keep_weight * moved / count
        return losses

    minimise(
        objective,
        optimiser,
        stage=STAGE,
        steps=steps,
        report=report,
        checkpoints=checkpoints,
        parts={"texture": texture} | ({} if edits is None else {"targets": edits.targets}),
        generator=generator,
    )


def _photo(view: ReferenceView, mesh: Mesh, size: int) -> _Photo:
    """Look up the photo's colours where the mesh shows them, at `size` pixels."""
    size = min(size, view.size)
    seen = look(mesh, view.camera, size)
    maps = torch.cat([view.colour, view.mask[..., None]], dim=-1).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(maps, size=(size, size), mode="area")
    at_pixels = resized[0].flatten(1)[:, seen.pixels].T
    trusted = project(view, mesh, seen.points, seen.directions, trust=Trust()).confidence
    inside = (at_pixels[:, 3] > 0.5).float()  # noqa: PLR2004 (a half is a half)
    weights = inside * (DOUBTFUL + (1 - DOUBTFUL) * trusted)
    return _Photo(seen, at_pixels[:, :3].contiguous(), weights)
