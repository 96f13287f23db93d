"""Whole steps of the two stages that optimise shape, and how work grows with its size."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from geneman.camera import REFERENCE, pixel_grid
from geneman.fields.networks import RadianceField
from geneman.fields.tetrahedra import Lattice, band_along, evaluate
from geneman.kernels.hash_grid import encode
from geneman.kernels.incidence import neighbours
from geneman.kernels.launch import limited
from geneman.kernels.rasterise import rasterise
from geneman.kernels.ray_march import march
from geneman.presets import STANDARD
from geneman.priors.bundle import Priors
from geneman.priors.bundled.inflation import Inflation
from geneman.progress import Event, StepDone
from geneman.schedule import Constant
from geneman.stages import nerf_init, sculpt
from geneman.training.checkpoints import NoCheckpoints
from geneman.view import ReferenceView
from tests.benchmarks.kernels_encoding import inputs
from tests.benchmarks.kernels_measure import Limits, Peer, exponent, in_turn, row
from tests.benchmarks.kernels_surfaces import draw, person
from tests.synthetic import BOX, figure_sdf, figure_view

NERF_GOAL, SCULPT_GOAL, THREADS_GOAL = 120.0, 250.0, 1.7
CPU = torch.device("cpu")


class Clock:
    """Notes when steps end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self.ends.append(time.perf_counter())

    def median(self, skip: int) -> float:
        """Give the median milliseconds of a pair of steps, halved: steps alternate in kind."""
        pairs = [b - a for a, b in zip(self.ends[skip::2], self.ends[skip + 2 :: 2], strict=False)]
        return 1e3 * statistics.median(pairs) / 2


def steps(_: Limits) -> list[dict[str, Any]]:
    view = figure_view(512)
    nerf_time, field = nerf_steps(view, 30)
    return [
        row("NeRF step, 4096 rays", nerf_time, goal=NERF_GOAL),
        row("sculpt step, 512 x 512 at 256", sculpt_steps(view, field, 24), goal=SCULPT_GOAL),
    ]


def nerf_steps(view: ReferenceView, count: int) -> tuple[float, RadianceField]:
    config = replace(STANDARD.nerf_init, steps=count, rays_per_step=4096, preview_every=10_000)
    clock = Clock()
    field = nerf_init.run(view, config=config, report=clock, **_given())
    return clock.median(count // 3), field


def sculpt_steps(view: ReferenceView, field: RadianceField, count: int) -> float:
    config = replace(
        STANDARD.sculpt, steps=count, size=512, resolution=Constant(256), preview_every=10_000
    )
    clock = Clock()
    sculpt.run(view, field, config=config, report=clock, **_given())
    return clock.median(count // 3)


def _given() -> dict[str, Any]:
    return {
        "priors": Priors(Inflation()),
        "generator": torch.Generator().manual_seed(0),
        "checkpoints": NoCheckpoints(),
        "device": CPU,
    }


Call = Callable[[], object]


def threads(_: Limits) -> list[dict[str, Any]]:
    """Compare one thread with two, of ours and of torch."""
    levels, points, table, probe = inputs()
    mesh = person(200_000)
    clip = REFERENCE.clip_coordinates(mesh.vertices)
    given = table.requires_grad_()
    work: dict[str, Call] = {
        "hash grid forward and backward": lambda: torch.autograd.grad(
            encode(points, given, levels), given, probe
        ),
        "rasterise 200k triangles at 1024": lambda: rasterise(clip, mesh.faces, 1024),
        "march 65536 rays": _marching(65_536),
    }
    found = []
    for name, call in work.items():
        two, one = in_turn([_on(2, call), _on(1, call)])
        peer = Peer("one thread", 1e3 * one, THREADS_GOAL)
        found.append(row(f"{name}, two threads", 1e3 * two, peer=peer))
    return found


def _on(count: int, call: Call) -> Call:
    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        with limited(count):
            call()
        torch.set_num_threads(before)

    return run


def _marching(rays: int) -> Call:
    shot = REFERENCE.rays(pixel_grid(round(rays**0.5)).reshape(-1, 2))
    lit = torch.ones(64, 64, 64, dtype=torch.bool)
    return lambda: march(shot, BOX, lit, step=0.012)


def growth(_: Limits) -> list[dict[str, Any]]:
    """Fit exponents: 1 is linear."""
    # Below, fixed costs rule: starting threads, listing tiles, clearing pictures.
    rays = [16_384, 65_536, 262_144, 1_048_576]
    faces, spent = [], []
    for wanted in (200_000, 800_000, 3_200_000):
        mesh = person(wanted)
        clip, across = REFERENCE.clip_coordinates(mesh.vertices), neighbours(mesh.faces)
        faces.append(len(mesh.faces))
        spent.append(in_turn([lambda m=mesh, c=clip, a=across: draw(m, c, a, 512)])[0])  # type: ignore[misc]
    areas, bands, cells = [128, 256, 512], [], []
    for resolution in areas:
        lattice = Lattice(BOX, resolution)
        band = band_along(figure_sdf, lattice)
        cells.append(len(band.cells))
        values = evaluate(figure_sdf, band.points)
        bands.append(in_turn([lambda b=band, v=values: b.surface(v)])[0])  # type: ignore[misc]
    marched = [in_turn([_marching(n)])[0] for n in rays]
    return [
        row("exponent of ray marching in rays", exponent(rays, marched), "1", goal=1.1),
        row("exponent of drawing in triangles", exponent(faces, spent), "1", goal=1.1),
        row(
            "exponent of extraction in surface area",
            exponent([n**2 for n in areas], bands),
            "1",
            goal=1.1,
        ),
        row(
            "exponent of the lattice's cells in surface area",
            exponent([n**2 for n in areas], cells),
            "1",
            goal=1.1,
        ),
    ]
