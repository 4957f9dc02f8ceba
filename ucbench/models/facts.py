"""What is known of a model beside its answers: family, size, and whether its weights can be had.

What a run told of its checkpoint comes first, then the list of known models (known.yaml). What neither
tells is unknown, and None: nothing is guessed from a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ucbench.models import known
from ucbench.models.families import FAMILIES
from ucbench.models.known import Known
from ucbench.record import Engine, Entry

#: open: for everybody; gated: after terms that are accepted on the Hub; closed: as a service alone.
Weights = Literal["open", "gated", "closed"]


@dataclass(frozen=True, slots=True)
class Facts:
    """`parameters` are in billions. Each is None where it is not known."""

    family: str | None = None
    parameters: float | None = None
    weights: Weights | None = None


def facts(entry: Entry, engine: Engine) -> Facts:
    """The facts about the model of a run; an adapter's are those of its base."""
    row = _known(entry.model)
    family = FAMILIES.get(engine.model_type or "")
    counted = None if engine.parameters is None else engine.parameters / 1e9
    unverified = row.unverified if row else ()
    size = row.parameters if row and "parameters" not in unverified else None
    access = row.access if row and "access" not in unverified else None
    return Facts(
        family=family.name if family else engine.model_type or (row.family if row else None),
        parameters=size if counted is None else counted,
        weights="closed" if access == "none" else access,
    )


def _known(model: str) -> Known | None:
    """The row of a model under any of its names, also behind a service that says whom it serves."""
    kind, colon, served = model.partition(":")
    if colon and kind == "endpoint":
        model = served
    elif colon and kind == "provider":
        model = served.partition(":")[2]
    name = model.lower()
    return known.find(name) or next(
        (row for row in known.rows() if name in (other.lower() for other in row.also)), None
    )
