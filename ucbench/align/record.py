"""What a training run was: the record beside its adapter."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ucbench.align.settings import Method
from ucbench.errors import StoreError
from ucbench.record import Frozen

SCHEMA_VERSION = 1
#: The record's file in the folder of an adapter.
RECORD = "align.json"


class BaseRef(Frozen):
    """The model that the adapter belongs to."""

    model: str
    """Its public name: `embedded:...`, a Hub id, or `local:folder`."""
    path: str | None = None
    """Where a local folder lay; None for models that are found by their name."""
    revision: str


class ProbeResult(Frozen):
    """Greedy answers on pictures of the train split, before and after; shares of right ones.

    `held_back` says that the pictures are others than those learned from.
    """

    judge: str
    held_back: bool = True
    before: dict[str, float]
    after: dict[str, float]
    n: dict[str, int]


class AlignRecord(Frozen):
    """One training run: base, method, data, settings, and how it went."""

    schema_version: int = SCHEMA_VERSION
    base: BaseRef
    method: Method
    preset: str
    settings: dict[str, Any]
    track: str
    track_version: str
    trained_on: tuple[str, ...]
    n_items: int
    sides: dict[str, int] = Field(default_factory=dict, description="Items by right label.")
    notes: tuple[str, ...] = ()
    steps: int
    answers: int = Field(description="Answers (pairs, for DPO) that the updates learned from.")
    trainable_parameters: int
    rewarding_judge: str | None = None
    probe: ProbeResult | None = None
    seconds: float
    peak_memory_bytes: int | None = None
    processes: int = 1
    started_at: datetime
    code_version: str
    code_revision: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, str] = Field(default_factory=dict)

    def to_json(self) -> str:
        """The canonical text of `align.json`."""
        return self.model_dump_json(indent=1) + "\n"


def read(folder: Path) -> AlignRecord:
    """The record of an adapter folder. Raises `StoreError`."""
    path = folder / RECORD
    try:
        return AlignRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(
            f"{folder} has no readable {RECORD}; give a folder that ucbench align wrote"
        ) from error
    except ValidationError as error:
        raise StoreError(f"{path} is damaged ({error.error_count()} fields); align again") from error
