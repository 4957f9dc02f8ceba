"""A checkpoint folder, looked at before anything in it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from ucbench.errors import ModelError

#: The files that can change an answer: config, weights, tokenizer, processor, chat template.
#: Neither pickles nor Python files are among them, so neither is ever downloaded.
PATTERNS = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*processor_config.json",
    "chat_template*",
    "additional_chat_templates/*.jinja",
    "qformer_tokenizer/*.json",
    "qformer_tokenizer/vocab.*",
)


def check(folder: Path, name: str) -> dict[str, Any]:
    """Return the parsed config of an image-text checkpoint that is safe to load.

    Raises `ModelError`: an adapter, no or broken config.json, an architecture that transformers does
    not have (whose code would come from the checkpoint), no safetensors weights, weights cut short.
    """
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{name} is a PEFT adapter, not a whole model; merge it into its base model first")
    config = check_config(folder, name)
    for path in weights(folder, name):
        check_safetensors(path, name)
    return config


def check_config(folder: Path, name: str) -> dict[str, Any]:
    """The part of `check` that needs no weights; what it refuses is not worth downloading."""
    config = read_json(folder / "config.json", name)
    _check_architecture(config, name)
    return config


def digest(folder: Path, patterns: Sequence[str] = PATTERNS) -> str:
    """`sha256:` and 16 hex digits over names and contents of the files that can change an answer."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\x00{content}\n".encode())
    return f"sha256:{total.hexdigest()[:16]}"


def read_json(path: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the checkpoint `name`. Raises `ModelError` when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{name} has no {path.name}; it is not a checkpoint in the transformers format"
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # the last: nested a thousand deep
        raise ModelError(
            f"{path.name} of {name} is damaged; copy or download the checkpoint again"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} of {name} is damaged; copy or download the checkpoint again")
    return content


def _check_architecture(config: dict[str, Any], name: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    model_type = config.get("model_type")
    known = isinstance(model_type, str) and model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    foreign = [
        part
        for part in _parts(config)
        if "auto_map" in part and str(part.get("model_type")) not in CONFIG_MAPPING_NAMES
    ]
    if foreign:
        raise ModelError(
            f"{name} needs Python code from its own checkpoint (auto_map), which ucbench never runs; take a "
            "port of it to transformers if there is one (often named ...-hf), or serve it behind an "
            "OpenAI-compatible server (vLLM, LMDeploy) and evaluate it with --endpoint, or import stored "
            "answers with `ucbench import-answers`"
        )
    if not known:
        raise ModelError(f"{name} is no image-text model that transformers knows (model_type {model_type!r})")


def _parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The config and every config nested in it."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from _parts(value)


def weights(folder: Path, name: str) -> list[Path]:
    """The safetensors files of a checkpoint, whole or in shards. Raises `ModelError` when one is missing."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        table = read_json(index, name).get("weight_map")
        shards = set(table.values()) if isinstance(table, dict) else set()
        if not shards or any(not isinstance(shard, str) or Path(shard).name != shard for shard in shards):
            raise ModelError(f"{index.name} of {name} is damaged; copy or download the checkpoint again")
        paths = [folder / shard for shard in sorted(shards)]
        if missing := [path.name for path in paths if not path.exists()]:
            raise ModelError(f"{name} lacks its weights file {missing[0]}; copy or download it again")
        return paths
    single = folder / "model.safetensors"
    if single.exists():
        return [single]
    raise no_weights(folder, name, single.name)


def no_weights(folder: Path, name: str, expected: str) -> ModelError:
    """What to say of a folder without its weights file: whether there are pickles instead."""
    if any(map(is_pickle, folder.glob("*"))):
        return pickles_only(name)
    return ModelError(f"{name} has no weights; a file {expected} is expected")


def is_pickle(path: PurePath) -> bool:
    """Whether a file is of a kind that torch.load opens."""
    return path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def pickles_only(name: str) -> ModelError:
    """What to say of a model without safetensors."""
    return ModelError(
        f"{name} has its weights as pickles only, which can run code and are never opened; "
        "convert them to safetensors (load them where you trust them, then save_pretrained), or serve "
        "the model and evaluate it with --endpoint"
    )


def check_safetensors(path: Path, name: str) -> None:
    """Open a weights file without loading it. Raises `ModelError` when it is damaged or cut short."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as weights:
            weights.keys()
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name} of {name} is damaged or cut short; copy or download the checkpoint again"
        ) from error
