"""Rules and scripts of the site that are sent as they are."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def static(name: str) -> str:
    """A file of `ucbench/site/static` as text."""
    return files("ucbench.site").joinpath("static", name).read_text(encoding="utf-8")
