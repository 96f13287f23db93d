import struct
import zlib
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from geneman.errors import PhotoError
from geneman.preprocess.photo import MAX_MEGAPIXELS, read_photo

WIDTH, HEIGHT = 96, 64


@pytest.fixture
def gradient():
    """Every pixel tells its place: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    return np.stack([x, y, np.full_like(x, 128)], axis=-1).round().astype(np.uint8)


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def one_sentence(error):
    text = str(error.value)
    return text.endswith(".") and text.count(". ") == 0 and "\n" not in text


@pytest.mark.parametrize("name", ["photo.png", "photo.webp", "photo.tiff", "photo.bmp"])
def test_a_photo_is_read_as_it_is(gradient, tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    photo = read_photo(saved(Image.fromarray(gradient), tmp_path / name, **options))
    np.testing.assert_array_equal(photo.colour, gradient)
    assert photo.alpha is None
    assert photo.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_stands_upright(gradient, tmp_path, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(gradient)
    lying = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(saved(lying, tmp_path / "photo.png", exif=exif))
    np.testing.assert_array_equal(photo.colour, gradient)


def test_heic_is_read(gradient, tmp_path):
    pillow_heif.register_heif_opener()
    path = saved(Image.fromarray(gradient), tmp_path / "photo.heic", quality=100, chroma=444)
    assert np.abs(read_photo(path).colour.astype(int) - gradient).max() <= 3


def test_a_colour_profile_becomes_srgb(gradient, tmp_path):
    lab = ImageCms.createProfile("LAB")
    to_lab = ImageCms.profileToProfile(
        Image.fromarray(gradient), ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
    )
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    path = saved(to_lab, tmp_path / "photo.tiff", icc_profile=profile)
    off = np.abs(read_photo(path).colour.astype(int) - gradient)
    assert np.median(off) <= 2  # LAB in 8 bits; a few saturated corners are out of its reach


def test_a_broken_colour_profile_is_passed_over(gradient, tmp_path):
    path = saved(Image.fromarray(gradient), tmp_path / "photo.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(read_photo(path).colour, gradient)


def png_of_16_bits(colours):
    """Write a 16-bit RGB PNG by hand: Pillow cannot."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, channels = colours.shape
    kind = {3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_16_bit_colours_keep_their_brightness(gradient, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png_of_16_bits(gradient.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_photo(path).colour, gradient)


def test_16_bit_colours_keep_their_alpha(gradient, tmp_path):
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint16)
    alpha[10:40, 20:70] = 65535
    path = tmp_path / "photo.png"
    path.write_bytes(png_of_16_bits(np.concatenate([gradient.astype(np.uint16) * 257, alpha], -1)))
    photo = read_photo(path)
    np.testing.assert_array_equal(photo.colour, gradient)
    np.testing.assert_array_equal(photo.alpha, alpha[..., 0] / 65535)


def test_16_bit_greys_are_not_clipped(gradient, tmp_path):
    grey = gradient[..., 0].astype(np.uint16) * 257
    photo = read_photo(saved(Image.fromarray(grey), tmp_path / "photo.png"))
    np.testing.assert_array_equal(photo.colour, np.repeat(gradient[..., :1], 3, axis=-1))


def test_floats_and_bits_and_greys_are_pictures_too(gradient, tmp_path):
    for mode, suffix in (("F", "tiff"), ("1", "png"), ("L", "png"), ("I", "tiff")):
        picture = Image.fromarray(gradient[..., 0])
        if mode == "F":
            picture = Image.fromarray(gradient[..., 0].astype(np.float32) / 255)
        elif mode == "I":
            picture = Image.fromarray(gradient[..., 0].astype(np.int32) * 257)
        else:
            picture = picture.convert(mode)
        photo = read_photo(saved(picture, tmp_path / f"{mode}.{suffix}"))
        assert photo.colour.shape == (HEIGHT, WIDTH, 3)
        assert photo.colour[:, 0].max() <= 1 + 255 * (mode == "1")
        assert photo.colour[:, -1].min() >= 254


def test_a_palette_gives_its_colours_and_its_transparency(tmp_path):
    picture = Image.new("P", (80, 70), 0)
    picture.putpalette([200, 10, 10, 10, 200, 10])
    picture.paste(1, (20, 20, 60, 60))
    path = saved(picture, tmp_path / "photo.png", transparency=0)
    photo = read_photo(path)
    assert photo.colour[30, 30].tolist() == [10, 200, 10]
    assert photo.colour[0, 0].tolist() == [200, 10, 10]
    assert photo.alpha is not None
    assert photo.alpha.sum() == 40 * 40


def test_cmyk_becomes_rgb(tmp_path):
    picture = Image.new("CMYK", (80, 70), (255, 0, 0, 0))
    colour = read_photo(saved(picture, tmp_path / "photo.jpg", quality=95)).colour[35, 40]
    assert colour[0] < 10
    assert min(colour[1:]) > 245


def test_colours_under_transparency_survive(gradient, tmp_path):
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[8:50, 30:60] = 200
    picture = Image.fromarray(np.dstack([gradient, alpha]))
    photo = read_photo(saved(picture, tmp_path / "photo.png"))
    np.testing.assert_array_equal(photo.colour, gradient)
    np.testing.assert_allclose(photo.alpha, alpha / 255)


def test_an_opaque_alpha_channel_says_nothing(gradient, tmp_path):
    picture = Image.fromarray(gradient)
    picture.putalpha(255)
    assert read_photo(saved(picture, tmp_path / "photo.png")).alpha is None


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (80, 70), colour) for colour in ("red", "blue")]
    path = tmp_path / "photo.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    assert read_photo(path).colour[0, 0].tolist() == [255, 0, 0]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PhotoError, match=r"nobody\.png, where there is nothing: check") as error:
        read_photo(tmp_path / "nobody.png")
    assert one_sentence(error)


def test_a_folder_is_no_photo(tmp_path):
    with pytest.raises(PhotoError, match="one file, but got the folder") as error:
        read_photo(tmp_path)
    assert one_sentence(error)


def test_a_text_is_no_picture(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_text("This is a letter.\n" * 100)
    with pytest.raises(PhotoError, match=r"must be a picture file.* photo\.jpg") as error:
        read_photo(path)
    assert one_sentence(error)


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.webp", "photo.heic"])
def test_half_a_file_is_refused(tmp_path, name):
    pillow_heif.register_heif_opener()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    whole = saved(Image.fromarray(noise), tmp_path / name).read_bytes()
    path = tmp_path / f"half_{name}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PhotoError, match="photo") as error:
        read_photo(path)
    assert one_sentence(error)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    small = BytesIO()
    Image.new("1", (64, 64)).save(small, "PNG")
    for side in (10_000, 40_000):
        header = bytearray(small.getvalue())
        header[16:24] = side.to_bytes(4, "big") * 2
        header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
        path = tmp_path / f"{side}.png"
        path.write_bytes(bytes(header))
        with pytest.raises(PhotoError, match=f"at most {MAX_MEGAPIXELS} million") as error:
            read_photo(path)
        assert one_sentence(error)


def test_a_thumbnail_is_refused(tmp_path):
    path = saved(Image.new("RGB", (8, 8)), tmp_path / "photo.png")
    with pytest.raises(PhotoError, match="at least 64 x 64 pixels, but got 8 x 8") as error:
        read_photo(path)
    assert one_sentence(error)


def test_a_wholly_transparent_picture_is_refused(tmp_path):
    path = saved(Image.new("RGBA", (80, 80), (9, 9, 9, 0)), tmp_path / "photo.png")
    with pytest.raises(PhotoError, match="transparent everywhere") as error:
        read_photo(path)
    assert one_sentence(error)
