"""A track on the site: what it is, its pictures where they may be shown, and the drawings of emblems."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ucbench.errors import UnknownNameError
from ucbench.restricted import MARK

if TYPE_CHECKING:
    from PIL import Image

    from ucbench.tracks.base import Track
    from ucbench.types import ImageSource


@lru_cache(maxsize=4)
def track(name: str) -> Track | None:
    """The track of a choice on the page, without its data; None for one that is not known here."""
    from ucbench.tracks import registry

    try:
        return registry.load(name.partition(MARK)[0])
    except UnknownNameError:
        return None


@lru_cache(maxsize=2)
def pictures(name: str) -> dict[str, ImageSource]:
    """Sample id -> picture of a track's test split; none of a track whose pictures come from elsewhere.

    Nothing is drawn before it is loaded.
    """
    from ucbench.tracks import registry

    known = track(name)
    if known is None or registry.row(known.id).needs_data:
        return {}
    return {sample.id: sample.image for sample in known.samples("test")}


@lru_cache(maxsize=256)
def emblem(concept_id: str, size: int = 320) -> Image.Image:
    """The emblem of a concept of track `pictograms`. Raises `UnknownNameError`."""
    from ucbench.tracks.pictograms import emblem_preview

    return emblem_preview(concept_id, size)


@lru_cache(maxsize=64)
def drawing(concept_id: str, number: int, size: int = 320) -> Image.Image:
    """A drawing made for a visitor, enlarged for people."""
    from ucbench.site.trial.pictures import SPLIT
    from ucbench.tracks.pictograms import EmblemImage

    return EmblemImage(concept_id, SPLIT, number).enlarged(size)
