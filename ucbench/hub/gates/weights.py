"""Are the weights safetensors, all of them there, and how many parameters are they?"""

from __future__ import annotations

import math
from fnmatch import fnmatch
from typing import Any

from ucbench.hub.gates.base import Finding, Note, Refused, Subject, amount, billions, quoted
from ucbench.hub.gates.reader import parse_json
from ucbench.models.adapter import CONFIG, WEIGHTS
from ucbench.models.download import FILES

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

#: Files that run code when they are opened, or may.
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".h5", ".keras")
#: Smaller weights (bytes) are counted here, which takes one read; larger ones may be many files.
TRUSTED_ABOVE = 50_000_000
#: Bytes a parameter, for the dtypes of safetensors.
_WIDTHS = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "BF16": 2, "F16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
#: By which a name of safetensors is known to torch.
_FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_AGAIN = "save the checkpoint with save_pretrained and push all of its files"
_CONVERT = (
    'convert it where you trust it, then push the result: python -c "from transformers import '
    "AutoModelForImageTextToText as M; M.from_pretrained('{model}').save_pretrained('converted')\""
)


def look_at_format(subject: Subject) -> Finding:
    """Safetensors only; pickles beside them are never fetched."""
    pickles = [path for path in subject.files if path.lower().endswith(_PICKLES)]
    if subject.adapter:
        if subject.has(SINGLE) or subject.has(INDEX):
            raise Refused(
                f"it holds a whole model and an adapter ({CONFIG})", "keep them in repositories of their own"
            )
        if not subject.has(WEIGHTS):
            raise _no_weights(subject, pickles, WEIGHTS)
        files = [WEIGHTS]
    else:
        files = weight_files(subject, pickles)
    size = sum(subject.files[path] for path in files)
    found = f"{len(files)} safetensors {'file' if len(files) == 1 else 'files'}, {amount(size)}"
    if pickles:
        return Note(f"{found}; {_few(pickles)} beside them may be a pickle, which is never fetched or opened")
    return found


def weight_files(subject: Subject, pickles: list[str]) -> list[str]:
    """The weights of a whole model, whole or in shards. Raises `Refused`."""
    if subject.has(INDEX):
        shards = sorted(set(_table(subject).values()))
        if not shards or any("/" in shard or not shard.endswith(".safetensors") for shard in shards):
            raise Refused(f"{INDEX} does not say where the weights are", _AGAIN)
        if missing := [shard for shard in shards if not subject.has(shard)]:
            raise Refused(f"{INDEX} names {_few(missing)}, and there is no such file", _AGAIN)
        return shards
    if subject.has(SINGLE):
        return [SINGLE]
    raise _no_weights(subject, pickles, SINGLE)


def look_at_size(subject: Subject) -> Finding:
    """Not too many parameters: by the Hub's count where it fits the files, else by the files' headers."""
    limits = subject.limits
    files = [WEIGHTS] if subject.adapter else weight_files(subject, [])
    stored = sum(subject.files[path] for path in files)
    fetched = sum(size for path, size in subject.files.items() if is_fetched(path))
    if fetched > limits.max_bytes:
        raise Refused(
            f"its files have {amount(fetched)}, and {amount(limits.max_bytes)} is the most that is fetched",
            "submit a smaller model, or leave only one checkpoint in the repository",
        )
    assert subject.info is not None
    counted = dict(subject.info.safetensors)
    how = "counted by the Hub"
    if stored < TRUSTED_ABOVE or not _fits(counted, stored):
        counted, how = _count(subject, files), "counted in the files' headers"
    total = sum(counted.values())
    if total == 0:
        raise Refused("its weights hold no parameters", _AGAIN)
    if total > limits.max_params:
        raise Refused(
            f"it has {billions(total)} parameters, and {billions(limits.max_params)} is the most",
            "submit a smaller model, or evaluate it yourself with `ucbench evaluate` and publish the run "
            "with `ucbench publish`",
        )
    subject.parameters = total
    if subject.dtype is None and not subject.adapter:
        subject.dtype = _stored_dtype(subject, counted)
    return f"{billions(total)} parameters ({how})"


def is_fetched(path: str) -> bool:
    """Whether a worker fetches a file, as `ucbench.models.download` does."""
    return any(fnmatch(path, pattern) for pattern in FILES)


def names(subject: Subject) -> frozenset[str]:
    """The names of all weights. Raises `Refused`."""
    if not subject.adapter and subject.has(INDEX):
        return frozenset(_table(subject))
    return frozenset(header(subject, WEIGHTS if subject.adapter else SINGLE))


def header(subject: Subject, path: str) -> dict[str, Any]:
    """Name -> what a safetensors file's header says of it. Raises `Refused` for a damaged one.

    The format: eight bytes with the header's length, the header as JSON, the numbers.
    """
    size, limit = subject.files[path], subject.limits.index
    damaged = Refused(f"{quoted(path)} is damaged or no safetensors file", _AGAIN)
    # Most headers fit into one read.
    begin = subject.reader.part(subject.model, subject.sha, path, 0, min(size, 100_000)) if size else b""
    length = int.from_bytes(begin[:8], "little")
    if len(begin) < 8 or length > size - 8:
        raise damaged
    if length > limit:
        raise Refused(f"the header of {quoted(path)} has {amount(length)}", _AGAIN)
    text = begin[8 : 8 + length]
    if len(text) < length:
        text += subject.reader.part(subject.model, subject.sha, path, 8 + len(text), length - len(text))
    found = parse_json(text, path)
    if not isinstance(found, dict):
        raise damaged
    found.pop("__metadata__", None)
    if not all(_is_tensor(entry) for entry in found.values()):
        raise damaged
    return found


def _count(subject: Subject, files: list[str]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for path in files:
        for entry in header(subject, path).values():
            counted[entry["dtype"]] = counted.get(entry["dtype"], 0) + math.prod(entry["shape"])
        if sum(counted.values()) > subject.limits.max_params:
            break
    return counted


def _fits(counted: dict[str, int], stored: int) -> bool:
    """Whether parameters that somebody counted can be those of files of that size."""
    if not counted or not set(counted) <= set(_WIDTHS):
        return False
    expected = sum(_WIDTHS[dtype] * n for dtype, n in counted.items())
    # The rest is headers.
    return expected <= stored <= 1.02 * expected + 1_000_000


def _stored_dtype(subject: Subject, counted: dict[str, int]) -> str | None:
    """What `auto` loads: the config's dtype, else that of most weights."""
    config = subject.json("config.json")
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        named = str(part.get("dtype") or part.get("torch_dtype")).removeprefix("torch.")
        if named in _FLOATS.values():
            return named
    floats = {dtype: n for dtype, n in counted.items() if dtype in _FLOATS}
    return _FLOATS[max(floats, key=lambda dtype: floats[dtype])] if floats else None


def _table(subject: Subject) -> dict[str, str]:
    """Weight -> file, by the index; empty when that says nothing of the kind. Raises `Refused`."""
    index = subject.reader.json(subject.model, subject.sha, INDEX, subject.files[INDEX], subject.limits.index)
    table = index.get("weight_map")
    named = isinstance(table, dict) and all(isinstance(shard, str) for shard in table.values())
    return table if isinstance(table, dict) and named else {}


def _is_tensor(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("dtype"), str)
        and isinstance(entry.get("shape"), list)
        and len(entry["shape"]) <= 16
        and all(isinstance(n, int) and 0 <= n < 2**63 for n in entry["shape"])
    )


def _no_weights(subject: Subject, pickles: list[str], expected: str) -> Refused:
    if pickles:
        return Refused(
            f"its weights are pickles only ({_few(pickles)}), which can run code and are never opened",
            _CONVERT.format(model=subject.model),
        )
    if gguf := [path for path in subject.files if path.lower().endswith(".gguf")]:
        return Refused(
            f"its weights are in the format of llama.cpp ({_few(gguf)})",
            "submit the repository it was made from, with safetensors",
        )
    return Refused(f"it has no weights: there is no file {expected}", _AGAIN)


def _few(paths: list[str]) -> str:
    first = quoted(sorted(paths)[0])
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
