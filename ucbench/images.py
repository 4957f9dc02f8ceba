"""Reading pictures that strangers made."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ucbench.errors import BadImageError

if TYPE_CHECKING:
    from PIL import Image

#: Largest picture that is decoded (8,000 x 8,000). Vision towers see well under one megapixel.
MAX_PIXELS = 64_000_000

#: What may be opened. The list keeps out formats whose readers call other programs (EPS) or that
#: nobody uploads.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


@dataclass(frozen=True, slots=True)
class FileImage:
    """A picture in a file; nothing is opened before `load`."""

    path: Path

    def load(self) -> Image.Image:
        """Return the picture in RGB. Raises `BadImageError`."""
        return read_image(self.path)


def read_image(
    source: Path | bytes | BinaryIO, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] = FORMATS
) -> Image.Image:
    """Return a picture as RGB: first frame, turned as its EXIF says, transparency over white.

    The size is read from the header, before any pixel is decoded. Raises `BadImageError` for what is
    no picture of one of the `formats`, is cut short, or has more than `max_pixels` pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = str(source) if isinstance(source, Path) else getattr(source, "name", "the picture")
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            # Pillow's own warning at 89 megapixels; ours is the stricter limit.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture: Image.Image = Image.open(stream, formats=formats)
        with picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise BadImageError(_too_large(name, f"{width:,} x {height:,} pixels", max_pixels))
            picture.load()
            return _rgb(ImageOps.exif_transpose(picture))
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:
        raise BadImageError(_too_large(name, "too many pixels", max_pixels)) from error
    except UnidentifiedImageError as error:
        known = ", ".join(formats)
        raise BadImageError(f"{name} is not a picture of a known format; use one of {known}") from error
    except FileNotFoundError as error:
        raise BadImageError(f"{name} does not exist; check the path") from error
    except Exception as error:  # Pillow's readers raise nearly any type on damaged bytes.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImageError(f"{name} cannot be read as a picture: {reason}; save it anew") from error


def _too_large(name: str, size: str, max_pixels: int) -> str:
    return f"{name} is too large ({size}); scale it down to at most {max_pixels:,} pixels"


def _rgb(picture: Image.Image) -> Image.Image:
    """RGB, with transparency over white and 16-bit grey scaled, not clipped."""
    from PIL import Image

    if picture.mode.startswith("I"):
        import numpy as np

        grey = np.asarray(picture).astype(np.int64) >> 8
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        overlay = picture.convert("RGBA")
        white = Image.new("RGBA", overlay.size, "white")
        return Image.alpha_composite(white, overlay).convert("RGB")
    return picture.convert("RGB")
