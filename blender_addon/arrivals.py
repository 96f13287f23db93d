# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrives from the backend is put into the scenes, each at its time.

A job's results go to the scene that it was started from. Previews move the mesh and leave no
trace in the undo history; what a finished stage gave becomes one undo step of its name. While
somebody edits, sculpts or paints, results wait, the newest in the place of older ones. A person
that was deleted, or undone, stays away until Show in Scene brings it back.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import comparing, dressing, scene_import
from .arrays import Pixels
from .naming import mode_title, stage_title
from .photo import MASK
from .placement import GUESS, to_metres
from .protocol import JobRemoved, Placement, StageEnded
from .translations import told
from .updates import Fetched, PictureShown, SurfaceShown, TextureShown, Update

OBJECT_MODE, FINISH = "OBJECT", "finish"
TEXTURES = {"albedo.png": scene_import.ALBEDO, "normal.png": scene_import.NORMAL}
"""The role of the image that shows a file."""
_Z = 2


@dataclass(frozen=True)
class Piece:
    """A part of what is to be shown that is done in one go."""

    do: Callable[[], None]
    lasting: bool = True
    """Whether it belongs to an undo step, and so waits while anything is edited."""


@dataclass
class Link:
    """A job, and the scene that its results go to."""

    job: str
    label: str
    scene: int
    """`session_uid`: it survives undo and renaming."""
    run: str = ""
    """The run's settings and seed as json, for the result to keep."""
    held: SurfaceShown | TextureShown | None = None
    """The newest that is not in the scene yet."""
    due: str = ""
    """The stage that has ended since the last undo step."""
    made: bool = False
    """Whether a person was ever put into the scene."""
    lost: bool = False
    """Whether it has been deleted since."""
    waiting: str = ""
    """Why something is held, in a sentence; empty if nothing is."""
    changed: bool = False
    """Whether the scene has changed since the last undo step."""
    work: deque[Piece] = field(default_factory=deque)
    """Pieces of what is being shown that are still to be done: each looks everything up anew,
    because anything may happen between two ticks."""


class Arrivals:
    """Puts updates into scenes; only the main thread uses it."""

    def __init__(
        self,
        live: Callable[[str], bool],
        hurry: Callable[[], bool] = lambda: False,
        texture: Callable[[str, str], Path | None] = lambda _job, _name: None,
    ) -> None:
        """Begin with no job linked.

        Args:
            live: Says whether a stage's work is to be seen.
            hurry: Says whether the rest has to wait for the next tick.
            texture: Gives a finished job's texture by its file's name, if that lies here.
        """
        self._live, self._hurry, self._texture = live, hurry, texture
        self._shown: dict[int, str] = {}
        self._links: dict[str, Link] = {}
        self._newest: dict[int, str] = {}
        self._picture: PictureShown | None = None
        self._unseen: Pixels | None = None
        """Of the live image, what its icon in the panel does not show yet: a tick later."""
        self.revision = 0
        """Grows with everything that the panel would show."""

    # ---- links ------------------------------------------------------------------------------

    def link(self, job: str, label: str, scene: Any, run: str = "") -> None:
        """Let a job's results go to a scene from now on."""
        known = self._links.get(job)
        self._links[job] = Link(job, label, scene.session_uid, run or (known.run if known else ""))
        self._newest[scene.session_uid] = job
        scene.geneman.job = job

    def linked(self, job: str) -> Link | None:
        """Give a job's link."""
        return self._links.get(job)

    def person_made(self, job: str) -> bool:
        """Say whether a job has a person in its scene, as far as is known without looking."""
        link = self._links.get(job)
        return link is not None and link.made and not link.lost

    def pictured(self, job: str, stage: str) -> bool:
        """Say whether the live image shows this stage of this job."""
        shown = self._picture
        return shown is not None and (shown.job, shown.stage) == (job, stage)

    def forget_scenes(self) -> None:
        """Another file was loaded: link the jobs that its scenes remember, and no others."""
        self._links.clear()
        self._newest.clear()
        for scene in bpy.data.scenes:
            job = scene.geneman.job
            if job:
                found = scene_import.person_of(job)
                self.link(job, found.name if found is not None else "Person", scene)
                self._links[job].made = found is not None
                if found is not None:
                    self._links[job].run = str(found.get(scene_import.RUN, ""))
        self._shown.clear()
        self._mend_textures()

    def after_undo(self) -> None:
        """Undo took back what the scenes remember of their jobs; the jobs themselves go on."""
        for scene in bpy.data.scenes:
            job = self._newest.get(scene.session_uid, "")
            if job and scene.geneman.job != job:
                scene.geneman.job = job
        self.revision += 1
        for link in self._links.values():
            link.lost = link.made and scene_import.person_of(link.job) is None
        if self._picture is not None and scene_import.LIVE_IMAGE in bpy.data.images:
            self._show_picture(self._picture)
        self._mend_textures()

    def _mend_textures(self) -> None:
        """Let textures show what is packed in them, and those that lost their pixels have them.

        Blender keeps an image's pixels over undo, although another file may be packed in it then.
        """
        for image in bpy.data.images:
            if image.get(scene_import.ROLE) not in TEXTURES.values():
                continue
            if scene_import.empty(image):
                self._refill(image)
            packed = str(image.get(scene_import.PACKED, ""))
            if packed != self._shown.get(image.session_uid, packed) and not image.is_dirty:
                image.buffers_free()
            self._shown[image.session_uid] = packed

    def _refill(self, image: Any) -> None:
        """Give a texture its pixels again, if its person still shows what they were made for."""
        job = str(image.get(scene_import.JOB, ""))
        person = scene_import.person_of(job)
        if person is None or person.get(scene_import.SHOWN) != FINISH:
            return
        names = [name for name, role in TEXTURES.items() if role == image[scene_import.ROLE]]
        path = self._texture(job, names[0])
        if path is not None:
            scene_import.pack_file(image, path.read_bytes())

    def bring_back(self, job: str) -> None:
        """Let a person that was deleted come again."""
        link = self._links[job]
        link.made = link.lost = False

    # ---- arrivals ---------------------------------------------------------------------------

    def apply(self, update: Update) -> None:
        """Take an update in."""
        self.revision += 1
        match update:
            case PictureShown(job=job, stage=stage) if job in self._links:
                if self._live(stage):
                    self._picture = update
                    self._show_picture(update)
            case SurfaceShown(job=job) | TextureShown(job=job) if job in self._links:
                self._links[job].held = update
                self._settle(self._links[job])
            case StageEnded(job=job, stage=stage) if job in self._links:
                self._links[job].due = stage
                self._settle(self._links[job])
            case Fetched():
                self._fetched(update)
            case JobRemoved(job=job):
                self._links.pop(job, None)

    def show_beside(self, shown: SurfaceShown | TextureShown) -> None:
        """Put what a stage made beside its person, as one undo step."""
        link = self._links.get(shown.job)
        if link is not None:
            link.work.append(Piece(lambda: self._put_beside(link, shown)))
            link.work.append(Piece(lambda: _remember(link, shown.stage)))
            self._go_on(link)

    def settle(self) -> None:
        """Try again what was held; costs nothing when nothing is."""
        if self._unseen is not None and scene_import.LIVE_IMAGE in bpy.data.images:
            show_in_panel(bpy.data.images[scene_import.LIVE_IMAGE], self._unseen)
            self._unseen, self.revision = None, self.revision + 1
        for link in self._links.values():
            if link.held is not None or link.work or (link.due and link.changed):
                self._settle(link)

    def holding(self) -> Iterator[Link]:
        """Give the links whose results wait for somebody to finish editing."""
        return (link for link in self._links.values() if link.waiting)

    def _settle(self, link: Link) -> None:
        """Show what is held and give it its undo step, as far as that is possible now."""
        self._go_on(link)
        if link.work:
            return
        held, person = link.held, scene_import.person_of(link.job)
        lasting = bool(link.due) or isinstance(held, TextureShown) or person is None
        if self._waits(link, person, lasting=lasting):
            return
        if held is not None and (lasting or self._live(held.stage)):
            link.held = None
            link.work.append(Piece(lambda: self._put(link, held), lasting))
            if isinstance(held, TextureShown):
                link.work.append(Piece(lambda: _unwrap(link.job, held)))
                link.work.append(Piece(lambda: self._dress(link, held)))
        stage = link.due or (held.stage if held is not None else "")
        if lasting:
            link.work.append(Piece(lambda: _remember(link, stage)))
        link.due = ""
        self._go_on(link)

    def _go_on(self, link: Link) -> None:
        """Do what is begun, a piece at a time, until the tick's time is over."""
        while link.work:
            person = scene_import.person_of(link.job)
            if self._waits(link, person, lasting=link.work[0].lasting):
                return
            link.work.popleft().do()
            if self._hurry():
                return

    def _waits(self, link: Link, person: Any | None, *, lasting: bool) -> bool:
        """Note whether something is in the way."""
        waiting = _in_the_way(person, lasting=lasting)
        if waiting != link.waiting:
            link.waiting, self.revision = waiting, self.revision + 1
        return bool(waiting)

    def _put(self, link: Link, held: SurfaceShown | TextureShown) -> None:
        """Put a surface into the scene."""
        scene, person = self._scene(link), scene_import.person_of(link.job)
        link.lost = person is None and link.made
        if link.lost or scene is None:
            link.work.clear()
            return
        if person is None:
            person = scene_import.new_person(link.job, link.label, scene)
            link.made = True
        _write(held, person)
        person[scene_import.SHOWN] = held.stage
        if link.run:
            person[scene_import.RUN] = link.run
        link.changed = True

    def _put_beside(self, link: Link, shown: SurfaceShown | TextureShown) -> None:
        scene, person = self._scene(link), scene_import.person_of(link.job)
        if scene is not None and person is not None:
            comparing.stage_beside(link.job, person, scene, shown)
            link.changed = True

    def _dress(self, link: Link, held: TextureShown) -> None:
        """Give a person its texture."""
        person = scene_import.person_of(link.job)
        if person is not None:
            texture = held.texture
            dressing.dress(person, link.job, texture.albedo, texture.normal_map)
            for role in TEXTURES.values():
                image = scene_import.texture_of(link.job, role)
                if image is not None:
                    self._note_packed(image)

    def _note_packed(self, image: Any) -> None:
        """Remember what an image shows from now on."""
        self._shown[image.session_uid] = str(image[scene_import.PACKED])

    def _scene(self, link: Link) -> Any | None:
        for scene in bpy.data.scenes:
            if scene.session_uid == link.scene:
                return scene
        return None

    def _show_picture(self, shown: PictureShown) -> None:
        image = scene_import.live_image()
        scene_import.write_image(image, shown.pixels)
        self._unseen = shown.pixels

    def _fetched(self, update: Fetched) -> None:
        """Use a file that the add-on itself asked for."""
        stage, _, name = update.name.partition("/")
        if name in TEXTURES:
            image = scene_import.texture_of(update.job, TEXTURES[name])
            if image is not None and not scene_import.painted(image):
                scene_import.pack_file(image, update.path.read_bytes())
                self._note_packed(image)
        elif name == "photo_mask.png":
            mask = bpy.data.images.load(str(update.path), check_existing=False)
            old = next(scene_import.of_job(bpy.data.images, update.job, MASK), None)
            if old is not None:
                old.user_remap(mask)
                bpy.data.images.remove(old)
            scene_import.marked(mask, update.job, MASK).name = f"{stage.title()} Mask"
            mask.pack()


def _write(held: SurfaceShown | TextureShown, person: Any) -> None:
    """Write a person's mesh in metres; `finish` tells it so, earlier stages do not."""
    surface = held.texture.surface if isinstance(held, TextureShown) else held.surface
    positions = surface.positions
    placement = held.placement if isinstance(held, TextureShown) else None
    if placement is None:
        placement = scene_import.placement_of(person) or _standing(positions)
        positions = to_metres(positions, placement)
    scene_import.place(person, placement)
    replaced = scene_import.write_surface(person.data, positions, surface.topology)
    if replaced and isinstance(held, SurfaceShown):
        person.data.materials.clear()  # clay: the old texture fits the new faces nowhere


def _unwrap(job: str, held: TextureShown) -> None:
    """Give a person's mesh its texture coordinates, if it is still the one that they are for."""
    person = scene_import.person_of(job)
    if person is not None and len(person.data.loops) * 2 == len(held.texture.corner_uv):
        scene_import.write_uv(person.data, held.texture.corner_uv)


def _remember(link: Link, stage: str) -> None:
    """Make one undo step of what has changed."""
    if link.changed:
        person = scene_import.person_of(link.job)
        if person is not None and person.mode == OBJECT_MODE:
            scene_import.remember_shape(person)
        bpy.ops.ed.undo_push(message=f"GeneMAN: {stage_title(stage)}")
        link.changed = False


def _standing(flat: "np.ndarray[Any, np.dtype[np.float32]]") -> Placement:
    """Guess a person's size, and put the lowest point on the floor."""
    lowest = float(flat[_Z::3].min()) if len(flat) else GUESS.floor[_Z]
    return Placement(GUESS.metres_per_unit, (0.0, 0.0, lowest))


def _in_the_way(person: Any | None, *, lasting: bool) -> str:
    """Say why a result cannot be put into the scene now, or nothing.

    The person's own mesh must not be written while it is edited; and an undo step must not be
    made while anything is, because modes keep a history of their own.
    """
    mode = person.mode if person is not None else OBJECT_MODE
    if mode == OBJECT_MODE and lasting:
        active = bpy.context.view_layer.objects.active
        mode = active.mode if active is not None else OBJECT_MODE
    if mode == OBJECT_MODE:
        return ""
    return told("A result waits until you leave {mode}", mode=mode_title(mode))


def show_in_panel(image: Any, pixels: Pixels) -> None:
    """Let an image's icon, which the panel draws, show these pixels."""
    icon, small = image.preview_ensure(), pixels.small or pixels
    icon.image_size = small.width, small.height
    icon.image_pixels_float.foreach_set(small.flat)
