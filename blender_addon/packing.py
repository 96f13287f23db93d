# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders become messages: files are read and arrays turned, on the client's thread."""

from pathlib import Path

import numpy as np

from .arrays import CORNERS, EditedImage, EditedMesh
from .frames import Array, Buffer, Packer, ProtocolError
from .orders import Again, NewJob
from .protocol import Edits, MeshFrame, Rerun, Submit
from .troubles import Remedy, Trouble, TroubleError

MAX_FILE_BYTES = 64 * 2**20
"""The server takes no larger frame."""
MAX_LABEL = 200
FIRST_BYTES = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"RIFF": "webp",
}
_BOX = slice(4, 8)
"""Where a heic file says 'ftyp'."""


def submit_message(job: str, wish: NewJob) -> tuple[Submit, list[Buffer]]:
    """Give the request for a new job and its frames.

    Raises:
        TroubleError: The photo or a map cannot be read, or an array does not fit.
    """
    packer = Packer()
    photo = packer.add_file(_photo(wish.photo))
    maps = {name: packer.add_file(_file(path, f"{name} map")) for name, path in wish.maps.items()}
    edits = _edits(packer, wish.mask, wish.mesh, wish.albedo)
    body = Submit(
        job=job,
        label=(wish.label or wish.photo.name)[:MAX_LABEL],
        photo=photo,
        preset=wish.preset,
        recipe={stage: dict(fields) for stage, fields in wish.recipe.items()},
        maps=maps,
        prompt=wish.prompt,
        seed=wish.seed,
        start=wish.start,
        until=wish.until,
        edits=edits,
    )
    return body, packer.frames


def rerun_message(job: str, again: Again) -> tuple[Rerun, list[Buffer]]:
    """Give the request for another run of a job and its frames.

    Raises:
        TroubleError: An array does not fit.
    """
    packer = Packer()
    edits = _edits(packer, again.mask, again.mesh, again.albedo)
    body = Rerun(
        job=job,
        start=again.start,
        until=again.until,
        preset=again.preset,
        recipe={stage: dict(fields) for stage, fields in again.recipe.items()},
        prompt=again.prompt,
        seed=again.seed,
        edits=edits,
        discard=again.discard,
    )
    return body, packer.frames


def _photo(path: Path) -> bytes:
    data = _file(path, "photo")
    known = any(data.startswith(head) for head in FIRST_BYTES) or data[_BOX] == b"ftyp"
    if not known:
        raise TroubleError(
            Trouble(
                "A photo must be png, jpeg, webp or heic, but '{name}' is something else: save the "
                "picture as one of these, or choose another.",
                Remedy.CHOOSE_PHOTO,
                values={"name": path.name},
            )
        )
    return data


def _file(path: Path, what: str) -> bytes:
    """Read a file that the user chose some time ago.

    Raises:
        TroubleError: It is gone, unreadable or too large.
    """
    try:
        size = path.stat().st_size
        if size <= MAX_FILE_BYTES:
            return path.read_bytes()
    except FileNotFoundError as error:
        raise TroubleError(
            Trouble(
                "The {what} must lie where it was chosen, but '{path}' is not there any more: put "
                "it back, or choose another.",
                Remedy.CHOOSE_PHOTO,
                values={"what": what, "path": path},
            )
        ) from error
    except OSError as error:
        raise TroubleError(
            Trouble(
                "The {what} must be a file that can be read, but '{path}' cannot ({cause}): choose "
                "another.",
                Remedy.CHOOSE_PHOTO,
                values={"what": what, "path": path, "cause": error.strerror},
            )
        ) from error
    raise TroubleError(
        Trouble(
            "The {what} must have at most {most} MB, but '{name}' has {size}: save it smaller.",
            Remedy.CHOOSE_PHOTO,
            values={
                "what": what,
                "most": MAX_FILE_BYTES >> 20,
                "name": path.name,
                "size": size >> 20,
            },
        )
    )


def _edits(
    packer: Packer,
    mask: EditedImage | None,
    mesh: EditedMesh | None,
    albedo: EditedImage | None,
) -> Edits:
    try:
        vertices, faces, uv, uv_faces = _mesh(packer, mesh)
        return Edits(
            mask=None if mask is None else packer.add(mask.mask()),
            vertices=vertices,
            faces=faces,
            uv=uv,
            uv_faces=uv_faces,
            frame=MeshFrame.SCENE if mesh is None else mesh.frame,
            albedo=None if albedo is None else packer.add(albedo.rgb()),
        )
    except ProtocolError as error:
        raise TroubleError(Trouble(str(error), Remedy.RETRY)) from error


def _mesh(packer: Packer, mesh: EditedMesh | None) -> tuple[Array | None, ...]:
    """Give headers of vertices, faces, texture coordinates and their faces."""
    if mesh is None:
        return None, None, None, None
    if not len(mesh.triangles):
        raise ProtocolError(
            "A mesh must have faces, but this one has none: choose another object, or undo."
        )
    vertices = packer.add(np.asarray(mesh.positions, np.float32).reshape(-1, 3))
    faces = packer.add(np.asarray(mesh.triangles, np.int32).reshape(-1, CORNERS))
    if mesh.corner_uv is None or mesh.triangle_corners is None:
        return vertices, faces, None, None
    uv = packer.add(np.asarray(mesh.corner_uv, np.float32).reshape(-1, 2))
    return vertices, faces, uv, packer.add(np.asarray(mesh.triangle_corners).reshape(-1, CORNERS))
