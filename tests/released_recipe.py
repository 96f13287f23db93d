"""What the released configurations and the paper's text say, row by row, beside our settings.

`python -m tests.released_recipe` writes the table into docs/full-recipe.md. A row with a setting
is compared; one without says where else the number lives, or why there is none.
"""

from dataclasses import dataclass
from pathlib import Path

from geneman.memory.costs import DEVICES, GIGA
from geneman.memory.fitting import fitted
from geneman.presets import PAPER, PRESETS, RELEASED
from geneman.priors.economy import TIERS
from geneman.schedule import Constant, Ramp, Switch
from geneman.settings import to_json

DOCS = Path(__file__).parent.parent / "docs" / "full-recipe.md"
END = "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """One number of the method."""

    section: str
    """Of METHOD: 1, 3 to 7."""
    what: str
    released: object
    """As the released configuration has it, in our units."""
    setting: str | None = None
    """Dotted path in our recipe, or nothing."""
    why: str = ""
    """Needed where ours differs, and where there is no setting."""
    paper: object = None
    """As the paper's text has it, where it differs and tells."""
    paper_setting: str | None = None
    """Dotted path in PAPER, where its route takes the number from another setting."""

    @property
    def papers(self) -> object:
        """Give PAPER's value."""
        path = self.paper_setting or self.setting
        return None if path is None else at(PAPER, path)

    @property
    def ours(self) -> object:
        """Give RELEASED's value."""
        return None if self.setting is None else at(RELEASED, self.setting)

    @property
    def equal(self) -> bool:
        """Say whether ours is the released one."""
        return self.setting is not None and self.ours == self.released


def at(recipe: object, path: str) -> object:
    for name in path.split("."):
        recipe = getattr(recipe, name)
    return recipe


N, S, L, P = "nerf_init", "sculpt", "latent_texture", "pixel_texture"
GRID = 1.447269
ROWS = (
    Row("1", "side of the recentred square", 1024, "prepare.size"),
    Row("1", "share of it that the person fills", 0.9, why="`MARGIN` in preprocess/recentring"),
    Row("2", "reference camera: distance, field of view", (3.0, 20.0), why="`REFERENCE` in camera"),
    Row("2", "view words change at, degrees", 45.0, why="`THRESHOLD_DEG` in priors/prompts"),
    Row("2", "batch", 1, f"{L}.views_per_step", paper="several (4: ours)"),
    Row("3", "steps", 5000, f"{N}.steps"),
    Row("3", "learning rate", 0.01, f"{N}.learning_rate"),
    Row(
        "3",
        "resolution",
        Switch(128, 384, at=3000),
        f"{N}.resolution",
        paper=Switch(256, 384, at=3000),
    ),
    Row("3", "hash levels", 16, f"{N}.field.encoding.levels"),
    Row("3", "table, power of two", 19, f"{N}.field.encoding.log2_table"),
    Row("3", "coarsest cells", 16, f"{N}.field.encoding.base"),
    Row("3", "growth", GRID, f"{N}.field.encoding.growth"),
    Row("3", "hidden units", 64, f"{N}.field.width"),
    Row("3", "blob: density at the middle", 10.0, f"{N}.field.blob_density"),
    Row("3", "blob: radius", 0.5, f"{N}.field.blob_radius"),
    Row("3", "step of a normal", 0.01, f"{N}.field.normal_step"),
    Row("3", "open levels", Ramp(8, 16, 2000, 6000), f"{N}.open_levels"),
    Row("3", "cells of the occupancy grid", 32, f"{N}.occupancy_resolution"),
    Row("3", "least alpha", 0.01, f"{N}.occupancy_threshold"),
    Row("3", "one reference step in", 4, f"{N}.reference_every"),
    Row("3", "elevations", (-10.0, 45.0), f"{N}.elevation"),
    Row("3", "cameras open until", 200, f"{N}.progressive_until"),
    Row("3", "background", 1.0, f"{N}.background"),
    Row("3", "colour", Constant(1000), f"{N}.rgb"),
    Row("3", "mask, summed", Constant(0.05), f"{N}.mask"),
    Row("3", "depth, aligned", Constant(10), f"{N}.depth", paper="0"),
    Row("3", "depth, Pearson", Constant(0), f"{N}.pearson", paper="weight not told (0.05: ours)"),
    Row("3", "normals", Constant(0), f"{N}.normal", paper="weight not told (10: ours)"),
    Row("3", "normal smoothness", Constant(5), f"{N}.normal_smoothness"),
    Row("3", "normal smoothness, 3D", Switch(5, 2, at=4000), f"{N}.normal_smoothness_3d"),
    Row("3", "orientation", Switch(1, 10, at=2000), f"{N}.orientation"),
    Row("3", "sparsity", Switch(0.1, 10, at=2000), f"{N}.sparsity"),
    Row("3", "opaque", Switch(0.1, 10, at=2000), f"{N}.opaque"),
    Row("3", "weight of the 2D prior", Constant(0.1), f"{N}.guidance_2d"),
    Row("3", "weight of the 3D prior", Constant(0.3), f"{N}.guidance_3d"),
    Row("3", "least time", Ramp(0.7, 0.2, 0, 200), f"{N}.noise_low"),
    Row("3", "most time", Ramp(0.85, 0.5, 0, 200), f"{N}.noise_high"),
    Row("3", "scale of the 2D prior, in effect 21", 20.0, why="`IMAGE_SCALE` in priors/full"),
    Row("3", "scale of the 3D prior", 5.0, why="`NovelViewJudge.scale` in priors/novel_view"),
    Row("3", "precision", "16-mixed", why="networks run in half precision, fields in single"),
    Row(
        "3",
        "mesh export",
        "marching cubes, 256",
        f"{S}.initial_resolution",
        "in the person's box: twice as fine",
    ),
    Row("3", "density of the surface", 25.0, f"{S}.density_threshold"),
    Row("4", "steps", 3000, f"{S}.steps"),
    Row("4", "learning rate", Constant(2e-5), f"{S}.learning_rate"),
    Row(
        "4",
        "cells of the lattice along [-1, 1]",
        512,
        f"{S}.resolution",
        "along the person's box, which is 244 of the cube's 512 cells",
    ),
    Row("4", "growth", 1.381913, f"{S}.field.encoding.growth"),
    Row("4", "open levels", Ramp(8, 16, 250, 2250), f"{S}.open_levels"),
    Row("4", "renders", 512, f"{S}.size"),
    Row("4", "one reference step in", 2, f"{S}.reference_every"),
    Row(
        "4",
        "steps that fit the first surface",
        5000,
        why="the distance to it is kept on a lattice, exact",
    ),
    Row("4", "cameras and parts", "METHOD 4", why="`ZONES` in renderers/viewpoints"),
    Row(
        "4",
        "normals, 1 - cos",
        3000.0,
        f"{S}.normal_weight",
        paper="mean squared error (2/3 of 1 - cos)",
    ),
    Row("4", "LPIPS of normals", 100.0, f"{S}.perceptual_weight"),
    Row("4", "mask, summed", 1.0, f"{S}.mask_weight"),
    Row("4", "distance from the first surface", 1500.0, f"{S}.distance_weight"),
    Row("4", "normal consistency", Switch(0.0, 1000.0, at=2000), f"{S}.consistency_weight"),
    Row("4", "Laplacian", Switch(0.0, 5000.0, at=2000), f"{S}.laplacian_weight"),
    Row("4", "weight of each judge", 1.0, f"{S}.guidance_weight"),
    Row("4", "scale of both judges", 30.0, why="`HUMANNORM_SCALE` in priors/full"),
    Row("4", "most time, normals", Switch(0.80, 0.21, at=2000), f"{S}.normal_noise"),
    Row("4", "most time, depth", Switch(0.81, 0.11, at=2000), f"{S}.depth_noise"),
    Row("4", "least time", 0.02, why="`LOWEST_NOISE` in stages/sculpt"),
    Row("4", "depth weight", 0.1, why="configured there, never read"),
    Row("5", "steps", 2000, f"{L}.steps", paper=10_000),
    Row("5", "renders", 1024, f"{L}.render_size"),
    Row("5", "one reference step in", 2, f"{L}.reference_every"),
    Row("5", "growth", GRID, f"{L}.field.encoding.growth"),
    Row("5", "learning rate, encoding", 0.01, f"{L}.encoding_rate"),
    Row("5", "learning rate, network", 0.001, f"{L}.network_rate"),
    Row("5", "colour", 1000.0, f"{L}.reference_weight"),
    Row("5", "its difference", "l1", f"{L}.reference_difference", paper="mse"),
    Row("5", "mask", 0.1, why="configured there, never read; the surface is frozen"),
    Row("5", "weight of the 2D prior", 0.1, f"{L}.image_weight"),
    Row("5", "weight of the 3D prior", 0.3, f"{L}.novel_view_weight"),
    Row("5", "least time", Ramp(0.7, 0.2, 0, 200), f"{L}.noise_low"),
    Row("5", "most time", Ramp(0.85, 0.5, 0, 200), f"{L}.noise_high"),
    Row("5", "lowest camera", -10.0, f"{L}.elevation_low"),
    Row("5", "highest camera", 45.0, f"{L}.elevation_high"),
    Row("6", "route", "field", f"{P}.route", paper="uv"),
    Row("6", "steps", 10_000, f"{P}.field.steps", paper=1000, paper_setting=f"{P}.uv.steps"),
    Row("6", "views", 120, f"{P}.views"),
    Row("6", "renders", 512, f"{P}.render_size"),
    Row("6", "one reference step in", 2, f"{P}.reference_every"),
    Row(
        "6",
        "views are edited at multiples of",
        30,
        f"{P}.field.edit_every",
        paper_setting=f"{P}.uv.edit_every",
    ),
    Row("6", "colour", 1000.0, f"{P}.reference_weight"),
    Row(
        "6",
        "difference from the edit",
        "l1",
        f"{P}.field.difference",
        paper="mse",
        paper_setting=f"{P}.uv.difference",
    ),
    Row(
        "6",
        "LPIPS from the edit",
        100.0,
        f"{P}.field.perceptual_weight",
        paper="not told (10: ours)",
        paper_setting=f"{P}.uv.perceptual_weight",
    ),
    Row(
        "6",
        "least time",
        Constant(0.50),
        f"{P}.field.noise_low",
        paper="not told (0.5 to 0.2: ours)",
        paper_setting=f"{P}.uv.noise_low",
    ),
    Row(
        "6",
        "most time",
        Constant(0.51),
        f"{P}.field.noise_high",
        paper="not told (0.51 to 0.21: ours)",
        paper_setting=f"{P}.uv.noise_high",
    ),
    Row(
        "6",
        "learning rate",
        0.01,
        f"{P}.field_rate",
        paper="not told (0.005: ours)",
        paper_setting=f"{P}.texel_rate",
    ),
    Row("6", "edit: scale", 7.5, why="`EDIT_SCALE` in priors/full"),
    Row("6", "edit: ControlNet's strength", 1.0, why="`ControlledEditor.strength`"),
    Row("6", "edit: strides of", 25, why="`Repaint.steps`: 40 from pure noise, 21 from 500"),
    Row("7", "texture", 1024, f"{P}.texture_size", "2048: the photo has more to show"),
)
"""Every number of METHOD's sections 1 to 7 that a configuration has."""


def shown(value: object) -> str:
    """Write a value as a reader of yaml would."""
    match value:
        case None:
            text = ""
        case Constant(number):
            text = shown(number)
        case Switch(before, after, step):
            text = f"{before:g}, {after:g} from {step}"
        case Ramp(start, stop, begin, end):
            text = f"{start:g} to {stop:g}, {begin} to {end}"
        case tuple():
            text = " to ".join(shown(part) for part in value)
        case float():
            text = f"{value:g}"
        case _:
            text = str(value)
    return text


def table() -> str:
    """Give the rows in Markdown."""
    lines = ["| METHOD | what | released | `released` here | paper's text | `paper` here | |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in ROWS:
        same = "equal" if row.equal else ""
        note = "; ".join(part for part in (same, row.why) if part)
        cells = (
            *(row.section, row.what, shown(row.released), shown(row.ours)),
            *(shown(row.paper), shown(row.papers), note),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tiers() -> str:
    """Give the planned memory of RELEASED's stages at every tier, in Markdown."""
    lines = ["| tier | does | nerf_init | sculpt | latent_texture | pixel_texture |"]
    lines.append("|---|---|---|---|---|---|")
    for tier in TIERS:
        stages = fitted(RELEASED, tier).stages[1:]
        needs = " | ".join(f"{stage.memory / GIGA:.1f}" for stage in stages)
        lines.append(f"| {tier.gigabytes} GB | {tier} | {needs} |")
    return "\n".join(lines)


def times() -> str:
    """Give the planned seconds of the presets' stages on every device, in Markdown."""
    heads = ("preset", "device", "nerf_init", "sculpt", "latent_texture", "pixel_texture")
    lines = [f"| {' | '.join(heads)} | all, minutes |", "|---" * 7 + "|"]
    for name in ("swift", "released", "paper"):
        stages = fitted(PRESETS[name], TIERS[0]).stages
        for device in DEVICES:
            each = " | ".join(f"{stage.seconds(device):,.0f}" for stage in stages[1:])
            minutes = sum(stage.seconds(device) for stage in stages) / 60
            lines.append(f"| {name} | {device.name} | {each} | {minutes:.0f} |")
    return "\n".join(lines)


def differences() -> set[str]:
    """List the settings in which PAPER differs from RELEASED, by dotted path."""

    def walk(first: object, second: object, path: str) -> set[str]:
        if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
            found = (walk(first[name], second[name], f"{path}.{name}") for name in first)
            return set().union(*found)
        return set() if first == second else {path.lstrip(".")}

    return walk(to_json(RELEASED), to_json(PAPER), "")


def block(name: str, text: str) -> str:
    """Give a generated part of the docs, with its marks."""
    return f"<!-- generated: {name} -->\n\n{text}\n\n{END}"


BLOCKS = {"memory": tiers, "time": times, "released numbers": table}

if __name__ == "__main__":
    docs = DOCS.read_text()
    for name, write in BLOCKS.items():
        head, _, rest = docs.partition(f"<!-- generated: {name} -->")
        docs = head + block(name, write()) + rest.partition(END)[2]
    DOCS.write_text(docs)
