"""Triangles to pixels beside Mitsuba 3, and tetrahedra to triangles beside the dense algorithm."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geneman.camera import REFERENCE
from geneman.fields.tetrahedra import Band, Lattice, band_along, evaluate
from geneman.kernels.antialias import antialias
from geneman.kernels.incidence import neighbours
from geneman.kernels.rasterise import interpolate, rasterise
from geneman.mesh import Mesh
from tests.benchmarks.kernels_measure import Limits, Peer, Work, in_turn, peak_growth, row
from tests.oracles import marching_tets_dense as dense
from tests.synthetic import BOX, figure_sdf

TRIANGLES = (20_000, 200_000)
SIZES = (512, 1024)
RASTER_GOAL, TETS_GOAL = 5.0, 10.0
DENSE = "dense marching tetrahedra in torch"


def person(triangles: int) -> Mesh:
    """Give the synthetic person with about so many triangles."""
    coarse = band_along(figure_sdf, Lattice(BOX, 64))
    found = len(coarse.surface(evaluate(figure_sdf, coarse.points)).faces)
    band = band_along(figure_sdf, Lattice(BOX, round(64 * (triangles / found) ** 0.5)))
    return band.surface(evaluate(figure_sdf, band.points))


def draw(mesh: Mesh, clip: Tensor, across: Tensor, size: int) -> Tensor:
    """Give positions and cover, with soft silhouettes."""
    raster = rasterise(clip, mesh.faces, size)
    image = interpolate(mesh.vertices, mesh.faces, raster)
    cover = (raster.triangle >= 0).to(image)[..., None]
    return antialias(torch.cat([image, cover], dim=2), raster, clip, mesh.faces, across)


def rasterising(limits: Limits) -> list[dict[str, Any]]:
    found = []
    for triangles in TRIANGLES:
        mesh = person(triangles)
        clip, across = REFERENCE.clip_coordinates(mesh.vertices), neighbours(mesh.faces)
        tracer = _tracer(mesh)
        if tracer is not None and not tracer.follows():
            raise RuntimeError("Mitsuba keeps the tree of vertices that have moved.")
        for size in SIZES:
            calls: list[Any] = [partial(rasterise, clip, mesh.faces, size)]
            calls.append(partial(draw, mesh, clip, across, size))
            calls.append(partial(_with_gradients, mesh, across, size))
            if tracer is not None:
                calls += [partial(tracer.trace, size), partial(tracer.rebuilt, size)]
                calls.append(partial(tracer.rebuilt, size, samples=4))
            times = [1e3 * value for value in in_turn(calls)]
            # Vertices and corners are read, and index, two weights and depth written.
            work = Work(16 * len(mesh.vertices) + 12 * len(mesh.faces) + 16 * size * size)
            what = f"{triangles // 1000}k triangles at {size}"
            soft = Work(work.bytes + 32 * size * size)
            names = ("rasterise", "rasterise, interpolate and antialias")
            peers: list[Peer | None] = [None, None]
            if tracer is not None:
                peers[0] = Peer("Mitsuba 3, rays alone", times[3], None)
                peers[1] = Peer("Mitsuba 3, new mesh, 4 rays a pixel", times[5], RASTER_GOAL)
                peer = Peer("Mitsuba 3, new mesh, 1 ray a pixel", times[4], RASTER_GOAL)
                found.append(row(f"rasterise a new mesh, {what}", times[0], peer=peer))
            for name, value, peer_or_none, needs in zip(
                names, times[:2], peers, (work, soft), strict=True
            ):
                share = limits.share(needs, value / 1e3)
                found.append(row(f"{name}, {what}", value, peer=peer_or_none, limit_share=share))
            found.append(row(f"the same with gradients to vertices, {what}", times[2]))
    return found


def _with_gradients(mesh: Mesh, across: Tensor, size: int) -> None:
    vertices = mesh.vertices.clone().requires_grad_()
    moved = Mesh(vertices, mesh.faces)
    draw(moved, REFERENCE.clip_coordinates(vertices), across, size).square().mean().backward()


class Tracer:
    """Mitsuba's first hits of the camera's rays: index, weights, distance."""

    def __init__(self, mesh: Mesh) -> None:
        import drjit as dr
        import mitsuba as mi

        mi.set_variant("llvm_ad_rgb")
        self.mi, self.dr = mi, dr
        self.shape = mi.Mesh("person", len(mesh.vertices), len(mesh.faces))
        self.params = mi.traverse(self.shape)
        self.shift = 1e-4
        self.vertices = mi.Float(mesh.vertices.numpy().ravel())
        self.params["vertex_positions"] = self.vertices
        self.params["faces"] = mi.UInt32(mesh.faces.numpy().astype(np.uint32).ravel())
        self.params.update()
        self.scene = mi.load_dict({"type": "scene", "person": self.shape})
        self.within = mi.traverse(self.scene)

    def trace(self, size: int, samples: int = 1) -> None:
        """Send rays through pixels and wait for what they hit."""
        mi, dr = self.mi, self.dr
        side = round(size * samples**0.5)
        index = dr.arange(mi.UInt32, side * side)
        x = (mi.Float(index % side) + 0.5) * (2 / side) - 1
        z = 1 - (mi.Float(index // side) + 0.5) * (2 / side)
        eye = REFERENCE.position().tolist()
        towards = dr.normalize(mi.Vector3f(x / REFERENCE.focal, 1.0, z / REFERENCE.focal))
        hit = self.scene.ray_intersect_preliminary(mi.Ray3f(mi.Point3f(eye), towards))
        dr.eval(hit.t, hit.prim_index, hit.prim_uv)
        dr.sync_thread()

    def follows(self) -> bool:
        """Say whether a hit moves with the vertices, so whether the tree is really built anew."""
        mi = self.mi
        found = []
        for shift in (0.0, 0.05):
            self.within["person.vertex_positions"] = self.vertices + shift
            self.within.update()
            eye = mi.Point3f(REFERENCE.position().tolist())
            ray = mi.Ray3f(eye, mi.Vector3f(0.0, 1.0, 0.0))
            found.append(np.array(self.scene.ray_intersect_preliminary(ray).t).item())
        return abs(found[1] - found[0]) > 0.01

    def rebuilt(self, size: int, samples: int = 1) -> None:
        """Do so after the vertices have moved, as they do at every step of an optimisation."""
        # Vertices that come back as they were could leave the tree as it was.
        self.shift = -self.shift
        self.within["person.vertex_positions"] = self.vertices + self.shift
        self.within.update()
        self.trace(size, samples)


def _tracer(mesh: Mesh) -> Tracer | None:
    """Give the peer, or None where it is not installed (extra `bench`)."""
    try:
        return Tracer(mesh)
    except ImportError:
        return None


def marching(limits: Limits) -> list[dict[str, Any]]:
    found = []
    for resolution in (128, 256):
        lattice = Lattice(BOX, resolution)
        ours, theirs = _OnBand(lattice), _OnBox(lattice)
        memory = peak_growth(ours.build), peak_growth(theirs.build)
        mine, other = in_turn([ours.extract, theirs.extract], 3)
        band = ours.built
        # Values, corners and edges are read once; crossings and corners of faces written.
        work = Work(4 * len(band.points) + 40 * len(band.tets) + 8 * len(band.edges))
        name = f"marching tetrahedra at {resolution}"
        peer, share = Peer(DENSE, 1e3 * other, TETS_GOAL), limits.share(work, mine)
        found.append(row(f"{name}, gradients to values", 1e3 * mine, peer=peer, limit_share=share))
        if memory[0] and memory[1]:
            other_memory = Peer(DENSE, memory[1] / 2**20, TETS_GOAL)
            size = memory[0] / 2**20
            found.append(row(f"{name}, memory with its lattice", size, "MiB", peer=other_memory))
    return found


class _OnBand:
    """Ours: tetrahedra along the surface."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice

    def build(self) -> None:
        self.built: Band = band_along(figure_sdf, self.lattice)
        self.values = evaluate(figure_sdf, self.built.points).requires_grad_()
        self.extract()

    def extract(self) -> None:
        mesh = self.built.surface(self.values)
        torch.autograd.grad(mesh.vertices.sum(), self.values)


class _OnBox:
    """The peer: all of the box."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice

    def build(self) -> None:
        self.points, self.tets = dense.lattice(self.lattice.box, self.lattice.shape)
        self.values = evaluate(figure_sdf, self.points).requires_grad_()
        self.extract()

    def extract(self) -> None:
        vertices, _ = dense.extract(self.points, self.values, self.tets)
        torch.autograd.grad(vertices.sum(), self.values)
