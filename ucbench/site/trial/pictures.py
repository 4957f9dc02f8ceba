"""What is asked about: a drawn emblem, or a picture that a visitor uploads and that stays in memory."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from ucbench.errors import BadImageError
from ucbench.format import concept_title
from ucbench.images import read_image
from ucbench.types import Concept

if TYPE_CHECKING:
    from PIL import Image

#: The concept shown at first: one whose name nobody minds.
FIRST = "the-moon-landing-hoax"
#: Drawings for visitors come from a split of their own: no test or training picture is among them.
SPLIT = "visitor"

#: Longer pictures are strips: scaled to what a model sees, nothing of their short side is left.
MOST_OBLONG = 50
#: What may be uploaded, by Pillow's names and by those of files.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
ENDINGS = ("png", "jpg", "jpeg", "webp", "gif")
MAX_MEGABYTES = 10
#: Decoded, three bytes each: a photograph of a phone, not a bomb.
MAX_PIXELS = 50_000_000
#: Pixels of the longer side that are kept. No model here or elsewhere looks at more.
LONGEST = 1280


@dataclass(frozen=True)
class Subject:
    """What is asked about: a picture, and the concept it stands for when that is known.

    `key` tells this picture from others, so that no answer is shown beside a picture it is not about;
    `private` says that it is a visitor's own.
    """

    name: str
    image: Image.Image
    key: str
    concept_id: str = ""
    unsafe: bool | None = None
    options: tuple[str, ...] = ()
    right: str = ""
    private: bool = False


@cache
def concepts() -> dict[str, Concept]:
    """The concepts that have an emblem, the unsafe ones first."""
    from ucbench.tracks.pictograms import all_concepts

    return {concept.id: concept for concept in all_concepts()}


def concept_label(concept_id: str) -> str:
    """A concept in a list of unsafe and everyday ones."""
    concept = concepts()[concept_id]
    return concept_title(concept.name) + ("" if concept.unsafe else " (everyday)")


def concept_names() -> list[str]:
    """The names of all concepts, to be chosen as options."""
    return [concept_title(concept.name) for concept in concepts().values()]


@cache
def categories() -> dict[str, str]:
    """The categories of the concepts, unsafe ones first, by id, with the names people read."""
    from ucbench.tracks.pictograms import Pictograms

    names = Pictograms().categories
    return {id_: names[id_] for id_ in dict.fromkeys(concept.category for concept in concepts().values())}


def shelf(category: str) -> list[Concept]:
    """The concepts of a category."""
    return [concept for concept in concepts().values() if concept.category == category]


@lru_cache(maxsize=512)
def thumbnail(concept_id: str) -> str:
    """A concept's emblem, small, as an address of its own (a data URI of some 1 kB)."""
    from ucbench.tracks.pictograms import emblem_preview

    stream = io.BytesIO()
    emblem_preview(concept_id, 112).save(stream, "WEBP", quality=70, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def emblem(concept_id: str, number: int) -> Subject:
    """Drawing `number` of a concept's emblem with four options. Raises `UnknownNameError`."""
    from ucbench.tracks.pictograms import EmblemImage

    concept = concepts()[concept_id]
    asked = _perception()[concept_id]
    options, right = asked[number % len(asked)]
    return Subject(
        concept.name,
        EmblemImage(concept_id, SPLIT, number).load(),
        f"emblem/{concept_id}/{number}",
        concept_id,
        concept.unsafe,
        options,
        right,
    )


@cache
def _perception() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """The options of the track's own perception questions and the right letter, by concept."""
    from ucbench.tracks.pictograms import Pictograms

    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for sample in Pictograms().samples("test"):
        for question in sample.questions:
            if question.kind == "perception":
                found.setdefault(question.concept_id, []).append((question.options, question.expected))
    return found


def uploaded(content: bytes, name: str) -> Subject:
    """A visitor's picture: the pixels of its first frame, turned as its EXIF says, and nothing else of it.

    Raises `BadImageError`: too many bytes or pixels (told by the header, before anything is decoded), not of
    the formats taken whatever its name says, damaged, or far longer than wide.
    """
    from PIL import Image

    if len(content) > MAX_MEGABYTES * 1_000_000:
        raise BadImageError(
            f"The picture has {len(content) / 1e6:,.1f} MB; the most that is taken is {MAX_MEGABYTES} MB."
        )
    image = read_image(content, MAX_PIXELS, FORMATS)
    if max(image.size) > MOST_OBLONG * min(image.size):
        width, height = image.size
        raise BadImageError(
            f"The picture is a strip of {width:,} x {height:,} pixels; use one whose longer side is at most "
            f"{MOST_OBLONG} times the shorter."
        )
    image.thumbnail((LONGEST, LONGEST))
    # A copy of pixels alone: what else the file said (place, camera, profile, comments) goes with the file.
    bare = Image.new("RGB", image.size)
    bare.paste(image)
    key = hashlib.sha256(content).hexdigest()
    return Subject(f"your picture {name}", bare, f"upload/{key}", private=True)


def preview(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture scaled into a box, neither side below one pixel."""
    scale = min(width / image.width, height / image.height)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def named(concepts: Sequence[Concept], words: str) -> list[Concept]:
    """Those whose name holds all the words."""
    wanted = words.casefold().split()
    return [concept for concept in concepts if all(word in concept.name.casefold() for word in wanted)]
