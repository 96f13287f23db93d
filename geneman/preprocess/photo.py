"""Any picture file to upright sRGB pixels, and an alpha channel where it has one."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from geneman.errors import PhotoError

MAX_MEGAPIXELS = 64
"""Largest photo that is decoded: 64 million pixels take 250 MB."""
MIN_SIDE = 64
"""Shortest side in pixels: below it, a face has too few pixels to be found."""
OPAQUE_SHARE = 0.999
"""A picture whose alpha is full on this share of its pixels is an opaque one."""

_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_FULL_16_BIT = 65535


@dataclass(frozen=True)
class Photo:
    """A decoded photograph."""

    colour: UInt8[ndarray, "h w 3"]
    """sRGB; not premultiplied."""
    alpha: Float32[ndarray, "h w"] | None
    """Cover in [0, 1], when the file says where its subject is."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.colour.shape[1], self.colour.shape[0]


def read_photo(path: Path) -> Photo:
    """Read a photo upright, in sRGB; of an animation, the first frame.

    Raises:
        PhotoError: no such file, a folder, not a picture, damaged, too large, too small, or
            transparent everywhere.
    """
    picture = open_picture(path)
    width, height = picture.size
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"A photo needs at least {MIN_SIDE} x {MIN_SIDE} pixels",
            value=f"{width} x {height} in {path.name}",
            remedy="use the original of this picture, not a thumbnail",
        )
    colour, alpha = _to_srgb(_eight_bits(picture))
    if alpha is not None and not alpha.any():
        raise PhotoError(
            "A photo must show something",
            value=f"{path.name}, which is transparent everywhere",
            remedy="use the picture before its background was removed, or redo the removal",
        )
    return Photo(colour, None if alpha is None or _is_opaque(alpha) else alpha)


def open_picture(path: Path) -> Image.Image:
    """Open and decode a picture file, whatever its format, and turn it upright.

    Raises:
        PhotoError: no such file, a folder, not a picture, damaged or too large.
    """
    _must_be_file(path)
    pillow_heif.register_heif_opener()
    try:
        # Our own limit is lower than Pillow's and says what to do: its warning is noise here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path)
        with opened:
            _must_fit(opened.size, path)
            opened.load()
            return ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError as error:
        raise _too_large("more than twice Pillow's own limit of pixels", path) from error
    except UnidentifiedImageError as error:
        raise PhotoError(
            "A photo must be a picture file (JPEG, PNG, HEIC, WebP, TIFF, ...)",
            value=f"{path.name}, which is none",
            remedy="open it in a picture viewer and save it as JPEG or PNG",
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PhotoError(
            "A photo must be whole",
            value=f"{path.name}, which breaks off or is damaged",
            remedy="copy or download it again",
        ) from error


def _must_be_file(path: Path) -> None:
    if path.is_dir():
        raise PhotoError(
            "A photo must be one file",
            value=f"the folder {path}",
            remedy="name a picture inside it",
        )
    if not path.exists():
        raise PhotoError(
            "A photo must exist",
            value=f"{path}, where there is nothing",
            remedy="check the spelling and the folder",
        )


def _must_fit(size: tuple[int, int], path: Path) -> None:
    """Judge by the header, before a single pixel is unpacked."""
    width, height = size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise _too_large(f"{width} x {height}", path)


def _too_large(size: str, path: Path) -> PhotoError:
    return PhotoError(
        f"A photo may have at most {MAX_MEGAPIXELS} million pixels",
        value=f"{size} in {path.name}",
        remedy="scale it down or crop it to the person",
    )


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Bring 16-bit greys and floats to 8 bits; Pillow's own conversion would clip them.

    16-bit colours need nothing: Pillow keeps their upper eight bits when it decodes them.
    """
    if picture.mode in _SIXTEEN_BIT:
        grey = np.asarray(picture).astype(np.float32) / _FULL_16_BIT
    elif picture.mode == "F":
        grey = np.asarray(picture)
    else:
        return picture
    flat = Image.fromarray(np.round(grey.clip(0, 1) * 255).astype(np.uint8))
    flat.info.update(picture.info)
    return flat


def _to_srgb(
    picture: Image.Image,
) -> tuple[UInt8[ndarray, "h w 3"], Float32[ndarray, "h w"] | None]:
    """Separate alpha, and turn the colours into sRGB by the profile that the file carries."""
    alpha = None
    if picture.has_transparency_data:
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"), np.float32) / 255
    if picture.mode == "P" or alpha is not None:
        picture = _without_alpha(picture)
    profile = picture.info.get("icc_profile")
    rgb = _by_profile(picture, profile) if profile else None
    return np.asarray(rgb or picture.convert("RGB")), alpha


def _without_alpha(picture: Image.Image) -> Image.Image:
    """Drop the alpha channel and leave the colours under it as they are."""
    grey = picture.mode in {"LA", "La", "L"}
    bare = picture.convert("LA" if grey else "RGBA").convert("L" if grey else "RGB")
    bare.info["icc_profile"] = picture.info.get("icc_profile")
    return bare


def _by_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert by an ICC profile; nothing if the profile is broken or of another colour model."""
    try:
        return ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        return None


def _is_opaque(alpha: Float32[ndarray, "h w"]) -> bool:
    return bool((alpha > 0.99).mean() >= OPAQUE_SHARE)  # noqa: PLR2004 (8 bits of full)
