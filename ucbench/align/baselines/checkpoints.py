"""The trainers' checkpoints, of which only whole ones count.

`checkpoints/checkpoint-40/` holds what transformers writes: adapter, optimizer, scheduler, generators. Ours
is `state.json` (step, base, data, settings, normaliser), written last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ucbench.align.checkpoint import compare
from ucbench.errors import StoreError
from ucbench.files import sync_folder, write_text

#: The last file of a checkpoint: its presence says that the checkpoint is whole.
STATE = "state.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def newest(folder: Path) -> Path | None:
    """The last whole checkpoint of a run."""
    steps = {
        int(match[1]): path
        for path in folder.glob("checkpoint-*")
        if (match := _NAME.fullmatch(path.name)) and (path / STATE).is_file()
    }
    return steps[max(steps)] if steps else None


def finish(folder: Path, state: Mapping[str, Any]) -> None:
    """Sync a checkpoint's files, then say that it is whole."""
    for path in sorted(folder.iterdir()):
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    sync_folder(folder)
    write_text(folder / STATE, json.dumps(state, indent=1) + "\n")


def read(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The state of a checkpoint.

    Raises `UcbenchError` when it belongs to another run than `identity`, `StoreError` when it is damaged.
    """
    try:
        state = dict(json.loads((path / STATE).read_text(encoding="utf-8")))
        identified, _, _ = state["identity"], state["degenerate"], state["normaliser"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"the checkpoint {path} is damaged; remove it and start the same command again"
        ) from error
    compare(path, identified, identity)
    return state


def clear(folder: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in folder.glob("checkpoint-*"):
        if path.is_dir() and not (path / STATE).is_file():
            shutil.rmtree(path)
