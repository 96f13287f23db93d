"""`geneman reconstruct`: the main job."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import torch
from rich.console import Console
from rich.table import Table
from tyro.conf import EnumChoicesFromValues, Positional, arg

from geneman.chain import CHAIN
from geneman.cli.arguments import parse, say, take_overrides, wants_help
from geneman.cli.family import fit_to, is_full, run_with_bundled, run_with_full, weights_root
from geneman.cli.live import shown
from geneman.cli.plan import Planned, show
from geneman.cli.references import measure
from geneman.device import choose
from geneman.errors import OptionError
from geneman.handmade import HandMade, MeshFrame, with_handmade
from geneman.handmade_files import read_mesh, read_texture
from geneman.pipeline import Request, reconstruct
from geneman.presets import FULL, PAPER, PRESETS
from geneman.priors.bundle import Priors
from geneman.priors.full import check
from geneman.run_folder import STAGES, RunFolder
from geneman.settings import describe, nearest, override
from geneman.stages.finish import ALBEDO, MODEL, NORMAL, PREVIEW, TURNTABLE
from geneman.storage import storage_errors


@dataclass(frozen=True)
class Reconstruct:
    """Turn one photo of a person into a textured 3D person.

    A run that was stopped goes on when the same command is given again; stages whose settings
    and inputs did not change are kept.
    """

    photo: Positional[Path]
    """The photo; any size and format, its transparency is taken as the mask."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """The run folder: new, or one to go on with."""
    preset: str = "draft"
    """draft (a minute on two cores), standard (two to five minutes), or for a GPU with the
    paper's priors: swift (minutes), released (the authors' code) or paper (their text)."""
    priors: str = "auto"
    """Whom the stages ask: bundled (no download), full (the paper's), or auto: what the preset
    is made for."""
    weights: Path | None = None
    """The folder of the full priors' weights, one folder a role; the usual one if not given."""
    compile: bool = False
    """Compile the full priors' networks on a CUDA device: minutes more at the start, and less time
    a step; how much less has not been measured."""
    dry_run: bool = False
    """Only print stages, models, licences, memory and time of a run with the full priors."""
    mask: Path | None = None
    """Who is the person: png or bool npy of the photo's size."""
    normal: Path | None = None
    """Normals of the visible side: 8-bit png, camera frame, n = 2c - 1."""
    depth: Path | None = None
    """Depth of the visible side: 8- or 16-bit png or npy, larger is farther."""
    landmarks: Path | None = None
    """MediaPipe's 33 body points: npy."""
    prompt: str | None = None
    """What the photo shows, in words."""
    mesh: Path | None = None
    """A mesh made by hand, in the place of sculpt's: .glb, or .npz or .safetensors with vertices,
    faces and perhaps uv and uv_faces, to which the texture then keeps."""
    mesh_frame: Annotated[MeshFrame, EnumChoicesFromValues] = MeshFrame.METRES
    """Where it lies: metres (as in model.glb), scene (as sculpt's result) or anywhere (it is
    brought to where its outline fills the photo's). z up (a .glb: y up), facing the camera."""
    texture: Path | None = None
    """A painted texture, in the place of pixel_texture's: png, jpeg or webp of any size."""
    discard: tuple[str, ...] = ()
    """Stages whose results were made by hand and may be computed again."""
    start: Annotated[str | None, arg(name="from")] = None
    """Run this stage and those after it again."""
    until: str | None = None
    """Stop after this stage."""
    device: str = "auto"
    """auto, cpu or cuda."""
    seed: int = 0
    """The same seed on the same device gives the same person, to the bit."""
    losses: bool = False
    """Show the loss values beside the bars."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print one json object a line for each event."""

    def given(self) -> dict[str, Path | str]:
        """Give what replaces estimates."""
        names = ("mask", "normal", "depth", "landmarks", "prompt")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def handmade(self) -> HandMade:
        """Read what was made by hand.

        Raises:
            MeshFileError: A file is none, or does not fit.
        """
        mesh, painted = (None, None) if self.mesh is None else read_mesh(self.mesh)
        albedo = None if self.texture is None else read_texture(self.texture)
        if albedo is None and self.start == STAGES[-1]:
            albedo = painted  # nothing else is left to make a texture
        return HandMade(mesh, self.mesh_frame, albedo)


def command(arguments: Sequence[str]) -> int:
    """Reconstruct, show how it goes, and say where the results are."""
    if wants_help(arguments):
        _help()
        return 0
    others, overrides = take_overrides(arguments)
    options = parse(Reconstruct, "reconstruct", others)
    request = _request(options, overrides)
    console = Console(stderr=True, highlight=False)
    device, root = choose(options.device), weights_root(options.weights)
    full = is_full(options.priors, options.preset)
    if options.dry_run:
        _show_plan(options, request, device, full=full)
        return 0
    if full:
        check(root)
    made = options.handmade()
    wanted = {"quiet": options.quiet, "json": options.json, "losses": options.losses}
    with RunFolder.locked(options.output) as run:
        chain = with_handmade(CHAIN, made, run, device)
        with shown(**wanted, console=console) as report:

            def once(request: Request, priors: Priors) -> None:
                reconstruct(request, run, chain, priors=priors, device=device, report=report)

            if full:
                run_with_full(request, device, root, once, compiling=options.compile)
            else:
                run_with_bundled(request, once)
        with storage_errors(run.path):
            run.record.reference = measure(run, device)
            run.save()
        _conclude(run, options)
    return 0


def _request(options: Reconstruct, overrides: dict[str, str]) -> Request:
    """Check everything that can be checked before a folder is made."""
    if options.preset not in PRESETS:
        raise OptionError(
            "--preset must be one of " + ", ".join(PRESETS),
            value=f"'{options.preset}'",
            remedy=nearest(options.preset, PRESETS),
        )
    request = Request(
        photo=options.photo,
        recipe=override(PRESETS[options.preset], overrides),
        preset=options.preset,
        given=options.given(),
        seed=options.seed,
        start=options.start,
        until=options.until,
        discard=options.discard,
    )
    request.digests()
    request.selected()
    return request


def _show_plan(options: Reconstruct, request: Request, device: torch.device, *, full: bool) -> None:
    """Print what a run would take.

    Raises:
        OptionError: It would not ask the full priors.
    """
    if not full:
        raise OptionError(
            "--dry-run plans runs with the full priors",
            value=f"--preset {options.preset} with the bundled ones",
            remedy="choose one of --preset " + ", ".join(sorted(FULL)) + ", or --priors full",
        )
    root = weights_root(options.weights)
    planned = Planned(options.preset, fit_to(request, device), root, device)
    show(planned, as_json=options.json)


def _conclude(run: RunFolder, options: Reconstruct) -> None:
    """Say where the results are."""
    if options.quiet or options.until not in (None, STAGES[-1]):
        return
    names = [MODEL, TURNTABLE, PREVIEW, ALBEDO, NORMAL, "run.json"]
    files = {name: str(run.path / name) for name in names if (run.path / name).is_file()}
    if options.json:
        facts = {"event": "Finished", "files": files, "reference": run.record.reference}
        say(msgspec.json.encode(facts).decode())
        return
    for name, path in files.items():
        say(f"{name:<15} {path}")
    for name, value in run.record.reference.items():
        say(f"{name:<15} {value:.4g}")


def _help() -> None:
    """Print the options, then every setting of the recipe."""
    with contextlib.suppress(SystemExit):
        parse(Reconstruct, "reconstruct", ["--help"])
    table = Table(title="--recipe.STAGE.FIELD VALUE", title_justify="left", box=None)
    for column in ("setting", "type", "paper", "limits", "what"):
        table.add_column(column, overflow="fold")
    for field in describe(PAPER):
        default = msgspec.json.encode(field.default).decode()
        table.add_row(field.path, field.type, default, field.limits, field.text)
    Console(highlight=False).print(table)
