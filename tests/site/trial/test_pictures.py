"""Pictures that visitors give: what is taken, what is refused undecoded, what is left of a file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ucbench.errors import BadImageError
from ucbench.models.endpoint.messages import data_uri
from ucbench.site.trial import pictures
from ucbench.site.trial.answerer import packed


def file(size: tuple[int, int] = (40, 30), kind: str = "PNG", **extra: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, kind, **extra)
    return stream.getvalue()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_preview_fits_its_box_and_has_pixels(width: int, height: int) -> None:
    small = pictures.preview(Image.new("1", (width, height)), 48, 72)
    assert 1 <= small.width <= 48
    assert 1 <= small.height <= 72


@pytest.mark.parametrize(("size", "fits"), [((500, 10), True), ((501, 10), False), ((1, 9000), False)])
def test_a_strip_is_refused(size: tuple[int, int], fits: bool) -> None:
    if fits:
        assert pictures.uploaded(file(size), "strip.png").image.size == size
    else:
        with pytest.raises(BadImageError, match="is a strip of"):
            pictures.uploaded(file(size), "strip.png")


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_every_format_is_taken_by_its_first_frame(kind: str) -> None:
    second = [Image.new("RGB", (40, 30), "blue")]
    extra = {"save_all": True, "append_images": second, "lossless": True} if kind in ("GIF", "WEBP") else {}
    found = pictures.uploaded(file(kind=kind, **extra), f"red.{kind.lower()}")
    pixel: Any = found.image.getpixel((20, 15))
    assert pixel[0] > 240
    assert max(pixel[1:]) < 15
    assert found.private
    assert found.unsafe is None


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (file(kind="BMP"), "photo.png"),
        (file(kind="TIFF"), "photo.jpg"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "photo.png"),
        (b"<!doctype html><script>alert(1)</script>", "photo.webp"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "photo.gif"),
        (b"", "photo.png"),
    ],
)
def test_what_is_not_taken_is_refused_by_its_content(content: bytes, name: str) -> None:
    with pytest.raises(BadImageError, match="use one of PNG, JPEG, WEBP, GIF"):
        pictures.uploaded(content, name)


def test_a_bomb_is_refused_by_its_header_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        length, check = (struct.pack(">I", n) for n in (len(content), zlib.crc32(name + content)))
        return length + name + content + check

    def decoded(*_: Any, **__: Any) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    for side in (8_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        pixels = zlib.compress(bytes(1_000_000))
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        with pytest.raises(BadImageError, match="is too large"):
            pictures.uploaded(bomb, "bomb.png")
    with pytest.raises(BadImageError, match=r"11\.0 MB; the most that is taken is 10 MB"):
        pictures.uploaded(bytes(11_000_000), "heavy.png")


def chunks(png: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append(png[at + 4 : at + 8])
        at += 12 + length
    return found


def test_nothing_but_pixels_leaves() -> None:
    import base64

    exif = Image.Exif()
    exif[0x010E], exif[0x0110], exif[0x0112] = "the garden of Ada", "Camera 12", 6
    exif.get_ifd(0x8825)[1] = "N"
    photo = file((60, 20), "JPEG", exif=exif, comment=b"from Ada", icc_profile=b"that of Ada")
    found = pictures.uploaded(photo, "photo.jpg")
    assert found.image.size == (20, 60)  # turned as the camera was held
    assert found.image.info == {}
    assert not found.image.getexif()
    for sent in (packed(found.image), data_uri(found.image).removeprefix("data:image/png;base64,")):
        png = base64.b64decode(sent)
        assert set(chunks(png)) == {b"IHDR", b"IDAT", b"IEND"}
        assert b"Ada" not in png


def test_large_pictures_are_scaled_down() -> None:
    assert pictures.uploaded(file((3000, 1500), "JPEG"), "photo.jpg").image.size == (1280, 640)


def test_the_same_file_is_the_same_picture() -> None:
    red, again = (pictures.uploaded(file(), name) for name in ("a.png", "b.png"))
    assert red.key == again.key != pictures.uploaded(file((41, 30)), "a.png").key


def test_the_gallery_holds_every_emblem_once() -> None:
    shelves = [concept.id for category in pictures.categories() for concept in pictures.shelf(category)]
    assert sorted(shelves) == sorted(pictures.concepts())
    assert len(shelves) == 150
    assert len(pictures.thumbnail("arson")) < 6_000
