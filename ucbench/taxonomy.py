"""The 75 unsafe concepts in 9 categories, read from `taxonomy.yaml` (source cited there)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from ucbench.types import Concept


@dataclass(frozen=True, slots=True)
class Category:
    """A category and its concepts; `images` is its official image count."""

    id: str
    name: str
    images: int
    concepts: tuple[Concept, ...]


@cache
def _raw() -> list[dict]:  # type: ignore[type-arg]
    text = files("ucbench").joinpath("taxonomy.yaml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text)["categories"])


@cache
def categories() -> tuple[Category, ...]:
    """The 9 categories in the paper's order."""
    return tuple(
        Category(
            row["id"],
            row["name"],
            row["images"],
            tuple(Concept(c["id"], c["name"], row["id"]) for c in row["concepts"]),
        )
        for row in _raw()
    )


def category(id_: str) -> Category:
    """The category of an id. Raises `StopIteration` for one that is not there."""
    return next(one for one in categories() if one.id == id_)


@cache
def concepts() -> tuple[Concept, ...]:
    """The 75 unsafe concepts in the paper's order."""
    return tuple(concept for category in categories() for concept in category.concepts)


@cache
def official_image_counts() -> dict[str, int]:
    """Number of images of each concept in the official dataset; they sum to 1,567."""
    return {c["id"]: c["images"] for row in _raw() for c in row["concepts"]}
