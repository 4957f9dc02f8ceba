"""What an aligned model is published as: the files of its repository."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucbench.align.output import ADAPTER_FILES, Output
from ucbench.align.record import RECORD, AlignRecord, BaseRef, read
from ucbench.align.report_record import AlignReport, Outcome
from ucbench.errors import StoreError, UcbenchError
from ucbench.hub.cards.markdown import one_line, parted
from ucbench.hub.cards.model import UNKNOWN, Licence, Place, evaluated, is_hub_id, render
from ucbench.hub.repository import Repository
from ucbench.hub.store import HUB, Changes

CARD, LOG = "README.md", "train.jsonl"
EVAL_RESULTS = ".eval_results/ucbench.yaml"
_CONFIG = "adapter_config.json"
#: A file of weights that is compared with another one by its content.
_WEIGHTS = ".safetensors"


@dataclass(frozen=True, slots=True)
class Aligned:
    """The outcome of a training run that is going to be published.

    `folder` holds the adapter, or the whole model where `merged`. `record` names the base as others find it.
    """

    folder: Path
    record: AlignRecord
    merged: bool
    outcome: Outcome | None
    licence: Licence


def is_aligned(folder: Path) -> bool:
    """Whether a folder is one that `ucbench align` wrote."""
    return (folder / RECORD).is_file() or (folder / _CONFIG).is_file()


def prepared(folder: Path, *, merged: bool, base: str | None, report: AlignReport | None) -> Aligned:
    """Look at a folder of `ucbench align` and at its base; with `merged` the whole model is made if need be.

    Raises `StoreError` for a folder without a whole adapter and its record, `UcbenchError` for a base that
    nobody else can fetch, and as loading a model does.
    """
    from ucbench.models import adapter

    record = read(folder)
    whole = not adapter.is_adapter(folder)
    if whole and not (folder / "config.json").is_file():
        raise StoreError(f"{folder} holds neither an adapter nor a whole model; align again")
    identity = None if whole else adapter.read(folder, f"local:{folder.resolve().name}", None).identity
    public = _public(record.base, base, merged=merged or whole)
    place = folder
    if merged and not whole:
        place = folder / "merged"
        if not (place / RECORD).is_file():
            _merge(folder, record)
    outcome = _outcome(report, record, identity) if report else None
    licence = _licence(public)
    return Aligned(place, record.model_copy(update={"base": public}), merged or whole, outcome, licence)


def files(model: Aligned, repo: str, *, results: str | None = None, beta: bool = False) -> Changes:
    """Everything that the repository gets: path -> content, or the file that holds it.

    `results` is the address of the store that has the runs; it and `beta` add `.eval_results`.
    """
    card = render(model.record, model.outcome, Place(repo, model.merged, model.licence))
    found: dict[str, bytes | Path | None] = {CARD: card.encode()}
    found[RECORD] = model.record.to_json().encode()
    if model.merged:
        for path in sorted(model.folder.iterdir()):
            if path.is_file() and path.name not in (CARD, RECORD) and not path.name.startswith("."):
                found[path.name] = path
        found["config.json"] = _without_path(model.folder / "config.json")
    else:
        config, weights = ADAPTER_FILES
        found[config] = _config(model)
        found[weights] = model.folder / weights
        if (model.folder / LOG).is_file():
            found[LOG] = model.folder / LOG
    if beta:
        found[EVAL_RESULTS] = _eval_results(model, results)
    return found


def _public(base: BaseRef, name: str | None, *, merged: bool) -> BaseRef:
    """The base as others find it: no path of this machine."""
    if not base.model.startswith("local:"):
        if name not in (None, base.model):
            raise UcbenchError(f"its base is {base.model}, not {name}; leave out --base")
        return base.model_copy(update={"path": None})
    if name is None:
        if merged:
            return base.model_copy(update={"path": None})
        raise UcbenchError(
            "its base is a folder of your own, which nobody else can fetch; name the same model on the Hub "
            "with --base OWNER/NAME, or publish the whole model with --merged"
        )
    if not is_hub_id(name):
        raise UcbenchError(f"--base takes a model on the Hub as OWNER/NAME, not {name!r}")
    hub = Repository("model", name)
    info = hub.patiently(lambda: hub.api.model_info(name, files_metadata=True))
    there = {file.rfilename: file.lfs.sha256 for file in info.siblings or [] if file.lfs is not None}
    _check_same(Path(base.path or ""), there, name)
    return BaseRef(model=name, path=None, revision=str(info.sha))


def _check_same(folder: Path, there: dict[str, str], name: str) -> None:
    """Refuse a base on the Hub whose weights are not those that were trained on."""
    weights = sorted(folder.glob(f"*{_WEIGHTS}"))
    if not weights:
        raise UcbenchError(
            f"the base {folder} is no longer there, so nobody can say whether {name} is the same; bring it "
            "back, or publish the whole model with --merged"
        )
    for path in weights:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if there.get(path.name) != digest:
            raise UcbenchError(
                f"{name} is not the base that was trained on: its {path.name} differs from that in {folder}"
            )


def _config(model: Aligned) -> bytes:
    """adapter_config.json with the base's public name and commit in place of a path."""
    path = model.folder / _CONFIG
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    base = model.record.base
    config["base_model_name_or_path"] = base.model
    if is_hub_id(base.model):
        config["revision"] = base.revision
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _without_path(path: Path) -> bytes:
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    return (json.dumps(config, indent=2) + "\n").encode()


def _merge(folder: Path, record: AlignRecord) -> None:
    """Write `folder/merged`: the base with the adapter added to its weights."""
    import warnings

    from peft import PeftModel

    from ucbench.models import registry

    name = record.base.path or record.base.model
    revision = record.base.revision if is_hub_id(name) else None
    base = registry.load_base(name, revision=revision, device="cpu", dtype="auto")
    with warnings.catch_warnings(action="ignore"):
        model = PeftModel.from_pretrained(base.loaded.model, str(folder))
    Output(folder).write_merged(model, base.loaded.processor, record)


def _outcome(report: AlignReport, record: AlignRecord, identity: str | None) -> Outcome | None:
    """What the report says of this very adapter; None when it is about others."""
    method = report.methods.get(record.method)
    if method is None or report.model != record.base.model or report.revision != record.base.revision:
        return None
    seed = str(record.settings.get("seed"))
    found = method.seeds.get(seed, method)
    told = found.training and found.training.settings == record.settings
    if identity is not None:
        return found if found.entry.endswith(f" + {identity}") else None
    return found if told else None


def _licence(base: BaseRef) -> Licence:
    """The base's licence as its own card names it; unknown where none can be read."""
    if base.model.startswith("embedded:"):
        from ucbench.models.registry import EMBEDDED

        found = parted((EMBEDDED[base.model] / CARD).read_text(encoding="utf-8"))
        return Licence(str(found[0]["license"])) if found and "license" in found[0] else UNKNOWN
    if not is_hub_id(base.model):
        return UNKNOWN
    hub = Repository("model", base.model)
    try:
        data = hub.patiently(lambda: hub.api.model_info(base.model, revision=base.revision).card_data)
    except UcbenchError:
        return UNKNOWN
    if data is None or not isinstance(data.license, str):
        return UNKNOWN
    name, link = (one_line(text) if text else None for text in (data.license_name, data.license_link))
    return Licence(one_line(data.license), name, link)


def _eval_results(model: Aligned, results: str | None) -> bytes:
    """`.eval_results`: the board's own order, beside the model. Raises `UcbenchError`."""
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    if results is None or not results.startswith(HUB):
        raise UcbenchError(f"--beta needs the dataset of results on the Hub; name it with --results {HUB}...")
    if model.outcome is None:
        raise UcbenchError("--beta needs scores; measure the adapter with `ucbench align-report` first")
    dataset = results.removeprefix(HUB)
    entries = [
        EvalResultEntry(dataset_id=dataset, task_id=model.record.track, value=result.metric_value)
        for result in evaluated(model.record, model.outcome)
        if result.metric_type == "balanced_accuracy"
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False).encode()
