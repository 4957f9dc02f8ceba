"""An adapter: which base model it stands on, at which commit, and whether it fits."""

from __future__ import annotations

import re

from ucbench.errors import ModelError
from ucbench.hub.gates import weights
from ucbench.hub.gates.base import Finding, Note, Refused, Subject, quoted
from ucbench.hub.gates.name import check_id, check_revision
from ucbench.models import known
from ucbench.models.adapter import ALIGN, CONFIG, WEIGHTS, base_of, training_of

_TENSOR = re.compile(r"^base_model\.model\.(.+?)\.(lora_|modules_to_save|base_layer)")
#: Where a module stands in its layer: the part of a name that is the same before and after transformers
#: renames weights on loading.
_IN_LAYER = re.compile(r"(?:^|\.)(layers|blocks|h)\.(\d+)\.(.+)$")
_MERGE = "merge it into its base model (`ucbench align --merge`, or PEFT's merge_and_unload) and submit that"


def look(subject: Subject) -> Finding:
    """A LoRA adapter that names a base model on the Hub."""
    config = subject.json(CONFIG)
    try:
        base, revision = base_of(config, subject.model)
        trained = training_of(subject.json(ALIGN), subject.model)[0] if subject.has(ALIGN) else None
    except ModelError as error:
        found, _, advice = str(error).partition("; ")
        raise Refused(found, advice or _MERGE) from None
    try:
        check_id(base)
    except Refused as refused:
        raise Refused(
            f"its base model cannot be fetched: {refused.found}",
            f"name the base's id on the Hub as base_model_name_or_path in {CONFIG}, or {_MERGE}",
        ) from None
    try:
        if revision is not None:
            check_revision(revision)
    except Refused as refused:
        raise Refused(
            f"its base model cannot be fetched: {refused.found}",
            f"put the base's commit into {CONFIG} as revision, or {_MERGE}",
        ) from None
    if trained and re.fullmatch(r"[0-9a-f]{40}", trained):
        revision = trained
    named, revision = revision, revision or known.commit(base)
    subject.base = base, revision
    if named is None:
        taken = f"{revision[:12]} is taken, as for everybody" if revision else "its present one is taken"
        return Note(
            f"LoRA on {base}; no revision is named, so {taken}",
            f"put the base's commit into {CONFIG} as revision",
        )
    return f"LoRA on {base} at {named[:12]}"


def look_at_fit(subject: Subject, base: Subject) -> Finding:
    """Every layer that the adapter changes is one that the base model has."""
    changed = {
        match[1] for name in weights.header(subject, WEIGHTS) if (match := _TENSOR.match(name)) is not None
    }
    if not changed:
        raise Refused(
            f"{WEIGHTS} holds no low-rank layers", "save the adapter with save_pretrained and push it"
        )
    there = {_place(name.rpartition(".")[0]) for name in weights.names(base)}
    missing = sorted(name for name in changed if _place(name) not in there)
    if len(missing) == len(changed):
        raise Refused(
            f"it changes {quoted(missing[0], 100)}, which {base.model} does not have",
            f"check base_model_name_or_path in {CONFIG}",
        )
    if missing:
        return Note(f"{len(missing)} of {len(changed)} layers it changes are not named so in {base.model}")
    n = len(changed)
    return f"{n} {'layer' if n == 1 else 'layers'} changed, all of {base.model}"


def _place(name: str) -> str:
    match = _IN_LAYER.search(name)
    return ".".join(match.groups()) if match else ".".join(name.split(".")[-1:])
