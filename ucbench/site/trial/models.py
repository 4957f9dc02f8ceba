"""Which models a visitor can try: those on this machine, by the names that addresses use.

The embedded model; what was aligned in this place (`aligned/` beside the runs or the results); checkpoints
that whoever runs the site names in `UCBENCH_TRY`, comma-separated folders or Hub ids that are on disk. Paths
are private: a folder is known by its last name, as on the board.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ucbench.models.registry import EMBEDDED

#: The variable that names further checkpoints.
FURTHER = "UCBENCH_TRY"
DEFAULT = next(iter(EMBEDDED))
#: The id of the choice that stands for all models that others serve.
SERVED = "provider"

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,95}")
_ADAPTER, _WHOLE, _ALIGN = "adapter_config.json", "config.json", "align.json"


@dataclass(frozen=True, slots=True)
class Choice:
    """A model on this machine. `id` is what an address says, `source` what is loaded: never shown.

    `base` is the id of the model that it was aligned from, where it is an aligned one.
    """

    id: str
    source: str = field(repr=False)
    note: str = ""
    base: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.id.removeprefix("local:")


def choices(places: Iterable[Path] = (), named: str | None = None) -> tuple[dict[str, Choice], list[str]]:
    """The models by id, and the names in `named` that stand for nothing here.

    `places` are folders that may have an `aligned/`; `named` is `UCBENCH_TRY` unless given.
    """
    found = [Choice(DEFAULT, DEFAULT, "Two million parameters, trained on this site's emblems alone.")]
    for place in dict.fromkeys(path.resolve() for path in places):
        for folder in sorted((place / "aligned").glob("*/")):
            if (folder / _ALIGN).is_file() and (choice := _folder(folder)):
                found.append(choice)
    missing = []
    for name in (os.environ.get(FURTHER, "") if named is None else named).split(","):
        if not (name := name.strip()):
            continue
        given = Choice(name, name) if name in EMBEDDED else _folder(Path(name)) or _on_disk(name)
        if given is not None:
            found.append(given)
        else:
            missing.append(Path(name).name or name)
    return _by_id(found), missing


def _by_id(found: Iterable[Choice]) -> dict[str, Choice]:
    """By id; folders of one name are told apart by a number."""
    known: dict[str, Choice] = {}
    for choice in found:
        if any(other.source == choice.source for other in known.values()):
            continue
        id_, number = choice.id, 2
        while id_ in known:
            id_, number = f"{choice.id}-{number}", number + 1
        known[id_] = Choice(id_, choice.source, choice.note, choice.base)
    return known


def _folder(folder: Path) -> Choice | None:
    """A checkpoint or an adapter in a folder; None when it holds neither."""
    config = next((name for name in (_ADAPTER, _WHOLE) if (folder / name).is_file()), None)
    if config is None:
        return None
    record = _json(folder / _ALIGN)
    base = record.get("base")
    known = base.get("model") if isinstance(base, dict) else None
    if known is None and config == _ADAPTER:
        known = _json(folder / _ADAPTER).get("base_model_name_or_path")
    method = str(record.get("method") or "").upper()
    note = "A checkpoint on this machine."
    if known is not None and method:
        note = f"{known} aligned by {method}."
    elif known is not None:
        note = f"An adapter of {known}."
    resolved = folder.resolve()
    return Choice(f"local:{resolved.name}", str(resolved), note, str(known) if known else None)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # what is damaged is told when the model is loaded
    return content if isinstance(content, dict) else {}


def _on_disk(name: str) -> Choice | None:
    """A model of the Hub whose files were downloaded before."""
    if not HUB_ID.fullmatch(name):
        return None
    from huggingface_hub import try_to_load_from_cache

    for file in (_WHOLE, _ADAPTER):
        if isinstance(try_to_load_from_cache(name, file), str):
            return Choice(name, name, "From the Hugging Face Hub, on this machine.")
    return None


def aligned_from(base: str, known: Mapping[str, Choice]) -> list[str]:
    """The ids of the models that were aligned from `base`."""
    return [choice.id for choice in known.values() if choice.base == base]


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for: a model here, or one that others serve by its Hub id."""

    id: str
    hub_id: str = ""
    via: str = ""


def asked_for(name: str, known: Mapping[str, Choice]) -> Asked | None:
    """What `model=` means; None when nothing here is called so.

    Besides ids it takes names of the board: `acme/vlm + local:ppo@16deeca` (a base with its adapter),
    `local:ppo@sha256:...` (an adapter with its version), `provider:novita:acme/vlm`.
    """
    if name in known:
        return Asked(name)
    adapter = name.rpartition(" + ")[2]
    bare = adapter.partition("@")[0]
    if bare in known and bare != name:
        return Asked(bare)
    served = name.removeprefix(f"{SERVED}:")
    via, _, hub_id = served.partition(":") if served != name else ("", "", name)
    if HUB_ID.fullmatch(hub_id):
        return Asked(SERVED, hub_id, via)
    return None
