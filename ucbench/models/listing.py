"""What `ucbench models` lists, as plain rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ucbench.models import known
from ucbench.models.families import ALL
from ucbench.models.families.base import ONE_AT_A_TIME
from ucbench.models.known import Known

Row = dict[str, Any]


def models(*, paper_only: bool = False) -> list[Row]:
    """The known models, the paper's eight first.

    `memory_gb` is that of the weights in bfloat16. `way` is how the engine asks a native one at best.
    """
    best = {family.name: (*family.paths, ONE_AT_A_TIME)[0] for family in ALL}
    return [
        {
            **row.model_dump(mode="json", exclude={"also"}),
            "memory_gb": None if row.memory is None else round(row.memory, 3),
            "way": best.get(row.family or "") if row.runs == "native" else None,
        }
        for row in _chosen(paper_only)
    ]


def _chosen(paper_only: bool) -> Sequence[Known]:
    return [row for row in known.rows() if row.paper or not paper_only]


def families() -> list[Row]:
    """The families: their types in config.json, the ways they are asked, best first, and why not better."""
    return [
        {
            "family": family.name,
            "model_types": list(family.model_types),
            "ways": [*family.paths, ONE_AT_A_TIME],
            "why": family.why or None,
            "max_pixels": family.limit_pixels is not None,
            "aligns": family.aligns,
        }
        for family in ALL
    ]


def as_json(rows: Sequence[Row]) -> str:
    """A JSON array."""
    return json.dumps(rows, indent=1, ensure_ascii=False)
