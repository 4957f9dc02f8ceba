"""A PEFT LoRA adapter: what lies in its folder, and its base model with it.

`adapter_config.json` names the base, `adapter_model.safetensors` holds the weights, and `align.json`, where
ucbench trained the adapter, says on which revision of the base and on which items. Tokenizer, processor and
chat template are the base's, whatever else lies in the folder.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ucbench.errors import ModelError
from ucbench.models import checkpoint
from ucbench.models.loading import Loaded, first_line

CONFIG, WEIGHTS, ALIGN = "adapter_config.json", "adapter_model.safetensors", "align.json"

#: Settings that act outside the weights: they would be lost without PEFT's own wrapper around the model,
#: change its depth, or import modules by name.
_REFUSED = ("alora_invocation_tokens", "arrow_config", "layer_replication", "megatron_config")

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter whose files were looked at; nothing is loaded.

    `name` is the public one, `identity` adds the version: `local:ppo@sha256:0123456789abcdef` or
    `owner/name@<commit>`. `base` is a name as `registry.load_base` takes it, `base_revision` the commit, tag
    or branch to fetch of a Hub base, `trained_revision` the base's revision in training, where known.
    """

    folder: Path
    name: str
    identity: str
    base: str
    base_revision: str | None
    trained_revision: str | None
    trained_on: tuple[str, ...]


def is_adapter(folder: Path) -> bool:
    """Whether a folder says that it holds an adapter."""
    return (folder / CONFIG).exists()


def read(folder: Path, name: str, commit: str | None) -> Adapter:
    """Look at the folder of an adapter; `commit` is that of an adapter from the Hub.

    Raises `ModelError`: damaged or missing files, weights as pickles, no LoRA, no base named, a whole
    model in the same folder.
    """
    if any((folder / file).exists() for file in ("model.safetensors", "model.safetensors.index.json")):
        raise ModelError(
            f"{name} holds a whole model and an adapter ({CONFIG}); keep them in folders of their own"
        )
    base, base_revision = base_of(checkpoint.read_json(folder / CONFIG, name), name)
    if not (folder / WEIGHTS).exists():
        raise checkpoint.no_weights(folder, name, WEIGHTS)
    checkpoint.check_safetensors(folder / WEIGHTS, name)

    trained_revision, trained_on = read_align(folder, name)
    if trained_revision and _COMMIT.fullmatch(trained_revision):
        base_revision = trained_revision
    version = commit or checkpoint.digest(folder, (CONFIG, WEIGHTS))
    return Adapter(folder, name, f"{name}@{version}", base, base_revision, trained_revision, trained_on)


def pinned(adapter: Adapter, base_revision: str | None) -> Adapter:
    """The adapter on that revision of its base; a commit that it names itself stands. Raises `ModelError`."""
    own = adapter.base_revision
    if base_revision in (None, own):
        return adapter
    if own is not None and _COMMIT.fullmatch(own):
        raise ModelError(
            f"{adapter.name} stands on {adapter.base} at {own}; it is not put on {base_revision}"
        )
    return replace(adapter, base_revision=base_revision)


def base_of(config: dict[str, Any], name: str) -> tuple[str, str | None]:
    """(base model, its revision) by an adapter's config. Raises `ModelError` for one not evaluated."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{name} is an adapter of type {kind!r}; only LORA adapters are evaluated")
    if used := [setting for setting in _REFUSED if config.get(setting)]:
        raise ModelError(f"{name} uses {used[0]}, which ucbench does not run; merge it into its base model")
    base, base_revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{name} does not name its base model; put it into {CONFIG} as base_model_name_or_path"
        )
    if not isinstance(base_revision, str | None):
        raise ModelError(f"revision in {CONFIG} of {name} is no text; put the base's commit there, or null")
    return base, base_revision


def attach(base: Loaded, adapter: Adapter) -> Loaded:
    """Put the adapter's low-rank layers into the base model, in place, by plain PEFT.

    What comes back is the transformers model itself, without PEFT's wrapper. The layers stay beside the
    base's: merged ones decode up to a fifth faster, but their sums are rounded to the base's dtype, and in
    bfloat16 2% of the embedded model's answers are then no longer those of plain PEFT (in float32, none).
    Raises `ModelError` when the adapter was made for another architecture: PEFT itself keeps quiet about
    weights that are missing or left over.
    """
    from peft import PeftModel

    where = {"torch_device": str(base.model.device)}  # PEFT would load by way of a GPU that nobody asked for
    try:
        with warnings.catch_warnings(action="ignore"):
            model = PeftModel.from_pretrained(base.model, str(adapter.folder), **where)
            # Once more into the same layers, as only this tells what did not fit.
            report = model.load_adapter(str(adapter.folder), "default", **where)
    except KeyError as error:  # of a module in modules_to_save
        raise ModelError(_misfit(adapter, f"weights such as {error.args[0]} are missing")) from error
    except Exception as error:  # Anything can be wrong with files that others wrote.
        raise ModelError(_misfit(adapter, f"{_reason(error)}; check its {CONFIG}")) from error
    for keys, problem in ((report.missing_keys, "missing"), (report.unexpected_keys, "left over")):
        if keys:
            raise ModelError(_misfit(adapter, f"{len(keys)} weights are {problem}, such as {min(keys)}"))
    return replace(base, model=model.get_base_model())


def _misfit(adapter: Adapter, why: str) -> str:
    return f"{adapter.name} does not fit its base model {adapter.base}: {why}"


def _reason(error: Exception) -> str:
    # torch puts the weight that has the wrong shape into the second line.
    head, _, rest = str(error).partition("\n")
    shown = RuntimeError(rest) if rest and head.startswith("Error(s) in loading") else error
    return first_line(shown).rstrip(".")


def read_align(folder: Path, name: str) -> tuple[str | None, tuple[str, ...]]:
    """(revision of the base in training, items it was trained on); nothing known of others' adapters."""
    if not (folder / ALIGN).exists():
        return None, ()
    return training_of(checkpoint.read_json(folder / ALIGN, name), name)


def training_of(align: dict[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    """The same of the content of `align.json`. Raises `ModelError`."""
    base, trained_on = align.get("base"), align.get("trained_on")
    revision: Any = base.get("revision") if isinstance(base, dict) else None
    listed = isinstance(trained_on, list) and all(isinstance(item, str) for item in trained_on)
    if not isinstance(revision, str) or not listed:
        raise ModelError(f"{ALIGN} of {name} is damaged; copy or download the adapter again")
    return revision, tuple(trained_on or ())
