"""Pictures to judge a person by: the strip of views, the turntable, and their files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from geneman.errors import MissingComponentError, OptionError
from geneman.mesh import TexturedMesh
from geneman.renderers.shading import STUDIO, Look, Subject, fitted, photograph, seated

FRONT, SIDE, BACK = 0.0, 90.0, 180.0
FILL = 0.92
"""Share of a picture's side that the person fills."""
STRIP_SAMPLES = 3
"""Along each side of a pixel: dark clothes on bright paper show four steps of cover as stairs."""
ANIMATIONS = (".webp", ".gif", ".mp4")

Frame = NDArray[np.uint8]


def strip(
    subject: Subject,
    *,
    azimuths: Sequence[float] = (FRONT, SIDE, BACK),
    looks: Sequence[Look] = (Look.ALBEDO, Look.CLAY),
    size: int = 768,
) -> Float[Tensor, "h w 3"]:
    """Lay the views side by side, one row a look, each cut to the person's width.

    Args:
        subject: The person, in any unit.
        azimuths: Where the camera stands, left to right.
        looks: The rows.
        size: Height of a row in pixels.
    """
    camera = fitted(subject.textured.mesh, azimuths, fill=FILL)
    margin = round((1 - FILL) / 2 * size)
    rows = []
    for look in looks:
        views = []
        for azimuth in azimuths:
            orbit = replace(camera, azimuth_deg=azimuth)
            x = orbit.project(subject.textured.mesh.vertices)[:, 0]
            left, right = (round((float(edge) + 1) / 2 * size) for edge in (x.min(), x.max()))
            picture = photograph(subject, orbit, size, look=look, supersample=STRIP_SAMPLES)
            views.append(picture[:, max(left - margin, 0) : min(right + margin, size)])
        rows.append(torch.cat(views, dim=1))
    return _framed(torch.cat(rows, dim=0), margin)


def turn(
    subject: Subject,
    *,
    frames: int,
    size: int,
    look: Look = Look.ALBEDO,
) -> Iterator[Float[Tensor, "h w 3"]]:
    """Show the person from all around, the camera slightly above, starting at the front.

    Args:
        subject: The person, in any unit.
        frames: How many pictures make a full turn.
        size: Side of the pictures in pixels.
        look: Textured or clay.
    """
    around = [360.0 * index / frames for index in range(frames)]
    camera = fitted(subject.textured.mesh, around, elevation_deg=5.0, fill=FILL)
    for azimuth in around:
        yield photograph(subject, replace(camera, azimuth_deg=azimuth), size, look=look)


def write_turntable(
    textured: TexturedMesh,
    path: Path,
    *,
    frames: int = 48,
    size: int = 512,
    seconds: float = 4.0,
    look: Look = Look.ALBEDO,
) -> None:
    """Film a full turn into a file of the format that its name ends in.

    Args:
        textured: The mesh, in any unit.
        path: Ends in .webp, .gif or .mp4.
        frames: Pictures in a turn.
        size: Side of the pictures in pixels.
        seconds: Length of a turn.
        look: Textured or clay.

    Raises:
        OptionError: The ending is another one.
        MissingComponentError: An .mp4 is asked for and PyAV is not installed.
    """
    check_animation(path)
    pictures = turn(seated(textured), frames=frames, size=size, look=look)
    write_animation([to_frame(picture) for picture in pictures], path, seconds=seconds)


def check_animation(path: Path) -> None:
    """Refuse, before any work, a file that `write_animation` could not write.

    Raises:
        OptionError: The name ends in none of the known formats.
        MissingComponentError: An .mp4 is asked for and PyAV is not installed.
    """
    if path.suffix.lower() not in ANIMATIONS:
        raise OptionError(
            "a turntable's name must end in .webp, .gif or .mp4",
            value=path.name,
            remedy="change its ending",
        )
    if path.suffix.lower() == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise MissingComponentError(
                "an .mp4 needs the package 'av'",
                value="an environment without it",
                remedy="run pip install 'geneman[video]', or write a .webp",
            ) from error


def write_animation(frames: Sequence[Frame], path: Path, *, seconds: float) -> None:
    """Write an endless loop, whole or not at all.

    Args:
        frames: Pictures of one size.
        path: Ends in .webp, .gif or .mp4.
        seconds: Length of the loop.
    """
    check_animation(path)
    temporary = path.with_name(f"{path.stem}.partial{path.suffix}")
    kind = path.suffix.lower()
    if kind == ".mp4":
        _write_mp4(frames, temporary, seconds)
    else:
        first, *rest = [Image.fromarray(frame) for frame in frames]
        # Whole milliseconds; GIF counts in hundredths, which Pillow rounds to itself.
        options = {"save_all": True, "append_images": rest, "loop": 0}
        options["duration"] = round(1000 * seconds / len(frames))
        if kind == ".webp":
            options |= {"quality": 82, "method": 3}
        first.save(temporary, kind[1:].upper(), **options)
    temporary.replace(path)


def write_picture(picture: Float[Tensor, "h w 3"], path: Path) -> None:
    """Write an sRGB picture in [0, 1] as PNG, whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    Image.fromarray(to_frame(picture)).save(temporary, "PNG", compress_level=6)
    temporary.replace(path)


def to_frame(picture: Float[Tensor, "h w 3"]) -> Frame:
    """Round an sRGB picture in [0, 1] to bytes."""
    return np.asarray((picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy())


def _write_mp4(frames: Sequence[Frame], path: Path, seconds: float) -> None:
    """Encode with H.264, which browsers, players and editors all read."""
    import av

    height, width, _ = frames[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=round(len(frames) / seconds))
        # Chroma has half the resolution, so sides must be even.
        stream.width, stream.height, stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels[: stream.height, : stream.width], "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _framed(picture: Float[Tensor, "h w 3"], margin: int) -> Float[Tensor, "h framed 3"]:
    """Give the strip the same margin left and right as between two views."""
    paper = picture.new_tensor(STUDIO.background).expand(len(picture), margin, 3)
    return torch.cat([paper, picture, paper], dim=1)
