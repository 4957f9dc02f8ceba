"""Models known by name: what they need, how they run, and which of them the paper measured."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ucbench.errors import ModelError

_ROWS = Path(__file__).with_name("known.yaml")


class Known(BaseModel):
    """One row of known.yaml, which says what the fields mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    family: str | None = None
    runs: Literal["native", "endpoint", "saved"]
    parameters: float | None = Field(None, gt=0)
    access: Literal["open", "gated", "none"]
    licence: str | None = None
    commit: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    paper: str | None = None
    template: str | None = None
    guard: str | None = None
    also: tuple[str, ...] = ()
    note: str | None = None
    unverified: tuple[Literal["parameters", "access", "licence", "commit"], ...] = ()

    @property
    def memory(self) -> float | None:
        """Gigabytes of the weights in bfloat16; pictures and answers come on top."""
        return None if self.parameters is None else 2 * self.parameters


@cache
def rows() -> tuple[Known, ...]:
    """All known models, the paper's eight first."""
    listed = yaml.safe_load(_ROWS.read_text(encoding="utf-8"))
    return tuple(Known.model_validate(row) for row in listed)


def find(name: str) -> Known | None:
    """The row of that id; Hub ids do not tell capitals from small letters."""
    return next((row for row in rows() if row.id.lower() == name.lower()), None)


def template(name: str) -> str | None:
    """The template of ours that a known model is asked with."""
    row = find(name)
    return row.template if row else None


def commit(name: str) -> str | None:
    """The commit that a known model of the Hub is pinned to."""
    row = find(name)
    return row.commit if row else None


def check_runs_here(name: str) -> None:
    """Raises `ModelError`, naming the way out, for a known model that this process cannot run."""
    for row in rows():
        if name.lower() in (other.lower() for other in row.also):
            raise ModelError(
                f"{name} is not in the transformers format; evaluate the same weights as {row.id}"
            )
    found = find(name)
    if found is None or found.runs == "native":
        return
    ways = "import stored answers with `ucbench import-answers`"
    if found.runs == "endpoint":
        ways = (
            "serve it behind an OpenAI-compatible server and run `ucbench evaluate --endpoint URL --model "
            f"{found.id}`, or {ways}"
        )
        raise ModelError(
            f"{found.id} needs Python code from its own repository, which ucbench never runs; {ways}"
        )
    raise ModelError(f"{found.id} is retired; {ways}, or ask a current model with --endpoint")
