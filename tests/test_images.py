from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ucbench.errors import BadImageError
from ucbench.images import FileImage, read_image


def png(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises width x height pixels; 1 bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


PICTURE = png(Image.effect_noise((40, 30), 50).convert("RGB"))


def assert_one_sentence(error: BaseException, *words: str) -> None:
    message = str(error)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_text_file_named_png(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("This is not a picture.")
    with pytest.raises(BadImageError) as caught:
        FileImage(path).load()
    assert_one_sentence(caught.value, "notes.png", "not a picture")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="does not exist"):
        read_image(tmp_path / "nothing.png")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="cannot be read"):
        read_image(tmp_path)


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(PICTURE[: len(PICTURE) // 2])
    with pytest.raises(BadImageError) as caught:
        read_image(path)
    assert_one_sentence(caught.value, "cut.png")


@pytest.mark.parametrize("side", [9_000, 50_000])
def test_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(BadImageError) as caught:
        read_image(bomb(side, side))
    assert_one_sentence(caught.value, "too large", "64,000,000")


def test_limit_is_inclusive() -> None:
    assert read_image(PICTURE, max_pixels=1200).size == (40, 30)
    with pytest.raises(BadImageError, match="40 x 30"):
        read_image(PICTURE, max_pixels=1199)


def test_transparency_lies_over_white() -> None:
    for image in (
        Image.new("RGBA", (4, 4), (255, 0, 0, 0)),
        Image.new("LA", (4, 4), (0, 0)),
    ):
        stream = io.BytesIO(png(image))
        assert read_image(stream).getpixel((1, 1)) == (255, 255, 255)


def test_palette_and_rgb_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    read = read_image(png(palette, transparency=0))
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]
    red = Image.new("RGB", (2, 1), (255, 0, 0))
    assert read_image(png(red, transparency=(255, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled() -> None:
    grey = Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))
    assert np.asarray(read_image(png(grey)))[0, :, 0].tolist() == [0, 0x80, 0xFF]


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (40, 20), "white")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    assert read_image(stream.getvalue()).size == (20, 40)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:], duration=50)
    red, _, blue = read_image(stream.getvalue()).getpixel((4, 4))
    assert red > 200
    assert blue < 60


def test_programs_are_no_pictures() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "EPS")
    with pytest.raises(BadImageError, match="known format"):
        read_image(stream.getvalue())


@given(place=st.integers(0, len(PICTURE) - 1), value=st.binary(min_size=1, max_size=8), cut=st.booleans())
def test_damage_gives_a_picture_or_one_error(place: int, value: bytes, cut: bool) -> None:
    damaged = PICTURE[:place] + value + (b"" if cut else PICTURE[place + len(value) :])
    try:
        assert read_image(damaged, max_pixels=10_000).mode == "RGB"
    except BadImageError as error:
        assert_one_sentence(error)
