"""Opens datasets of a Hub in a process of its own, since HF_ENDPOINT is read at import: `hub_client.py`.

Prints one JSON line: what came of each case.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from ucbench.compile.sources import open_source, reopen
from ucbench.errors import UcbenchError


def seen(**options: Any) -> dict[str, Any]:
    """What a source of all the options' rows holds."""
    source = open_source("acme/shapes", **options)
    references = [item.reference for item in source.items()]
    again = reopen(source.describe())
    return {
        "description": source.describe(),
        "references": references,
        "signatures": sorted({item.signature for item in source.items()}),
        "hashes": [hashlib.sha256(content).hexdigest() for _, content in source.scan(references)],
        "again": [hashlib.sha256(again.read(reference)).hexdigest() for reference in references],
    }


def told(case: Callable[[], object]) -> list[Any]:
    """The error that a case ends in."""
    try:
        case()
    except UcbenchError as error:
        return [type(error).__name__, error.exit_code, str(error)]
    return []


print(
    json.dumps(
        {
            "all": seen(),
            "test": seen(split="test", image_column="image"),
            "gated": told(lambda: open_source("acme/gated")),
            "unknown": told(lambda: open_source("acme/nothing")),
            "split": told(lambda: open_source("acme/shapes", split="dev")),
            "column": told(lambda: open_source("acme/shapes", image_column="label")),
            "revision": told(lambda: open_source("acme/shapes", revision="no-such-branch")),
            "row": told(lambda: open_source("acme/shapes").read("train/99")),
        }
    )
)
