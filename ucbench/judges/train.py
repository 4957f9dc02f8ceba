"""Fit a response classifier on labelled answers, and measure it on answers that it has not seen.

The answers are split in three, by group and near the same shares of each label: to learn from, to decide when
to stop (`dev`), and to measure (`held_out`). What is measured is the file as written, as a judge reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ucbench import __version__
from ucbench.errors import ModelError, StoreError, UcbenchError, UnknownNameError
from ucbench.files import sync_folder, write_text
from ucbench.judges import labelled
from ucbench.judges.checkpoint import Place, Progress, weights
from ucbench.judges.classifier import ALIGNMENT_LABELS, PERCEPTION_LABELS, TOKENIZER, download, tiny_folder
from ucbench.judges.fit import Fitter, Row, encode, epoch, save_weights, write_companions
from ucbench.judges.labelled import Example
from ucbench.judges.roberta import (
    MAX_TOKENS,
    Reader,
    build,
    find_checkpoint,
    infer_config,
    read_config,
    read_tokenizer,
    read_weights,
)

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import RobertaConfig

KINDS: dict[str, tuple[str, ...]] = {"alignment": ALIGNMENT_LABELS, "perception": PERCEPTION_LABELS}
WEIGHTS, CARD = "model.safetensors", "training.json"
#: Files of a base on the Hub.
_BASE_FILES = ("config.json", "tokenizer.json", "model.safetensors")
RESAMPLES = 1000
#: Called after an epoch with (epoch, epochs, mean loss, macro F1 on dev).
Report = Callable[[int, int, float, float], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a classifier is fitted. `lr` None: 2e-5, or 5e-4 for weights narrower than 256.

    `held_out` is the share of the answers that are only measured on, `dev` the share of the others that
    decides when to stop: after `patience` epochs without a better macro F1 there; the best epoch is kept.
    """

    epochs: int = 10
    batch_size: int = 16
    lr: float | None = None
    held_out: float = 0.2
    dev: float = 0.1
    patience: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises `UcbenchError` for a setting out of its bounds."""
        for name, low, high in (("held_out", 0.0, 0.9), ("dev", 0.0, 0.5)):
            if not low < getattr(self, name) <= high:
                raise UcbenchError(f"--{name.replace('_', '-')} must lie between {low:g} and {high:g}")
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise UcbenchError(f"--{name.replace('_', '-')} must be at least 1")
        if self.lr is not None and not 0 < self.lr < 1:
            raise UcbenchError("--lr must lie between 0 and 1")


@dataclass(slots=True)
class Base:
    """What the fitting starts from. `name` is public: a path's last part only."""

    model: torch.nn.Module
    shape: RobertaConfig
    words: Tokenizer
    name: str
    revision: str


def train(
    data: Path,
    kind: str,
    out: Path,
    *,
    base: str = TOKENIZER,
    settings: Settings | None = None,
    device: str | None = None,
    resume: bool = False,
    report: Report | None = None,
) -> dict[str, Any]:
    """Fit a classifier of `kind` on the answers in `data` and write it to the new folder `out`.

    The state after each epoch is kept beside `out`, in `out.unfinished`, until `out` is there; with `resume`
    a fitting that was cut off goes on from it. `base` is `tiny` (the project's own small classifier of that
    kind), a folder with RoBERTa's weights, config.json and tokenizer, or a Hub id. The folder holds
    `model.safetensors` (the official names), its config.json and tokenizer.json, `training.json` (what is
    returned) and a README; it appears whole or not at all. Raises `UcbenchError` for bad data or settings,
    `ModelError`, `AccessError`, `StoreError`.
    """
    import torch

    settings = settings or Settings()
    labels = _labels(kind)
    place = Place(out.with_name(f"{out.name}.unfinished"))
    _check_free(out, place, resume=resume)
    answers = labelled.read(data, labels)
    rest, held_out = labelled.hold_out(answers.examples, settings.held_out, settings.seed)
    held_out, left_out = _without_leaks(rest, held_out)
    learn, dev = labelled.hold_out(rest, settings.dev, settings.seed + 1)
    for part, name in ((held_out, "held-out part"), (learn, "training part")):
        missing = [label for label in labels if label not in {example.label for example in part}]
        if missing:
            raise UcbenchError(
                f"the {name} of {data} would have no answer labelled {missing[0]}; give more of them, in "
                "more groups, or change --held-out or --seed"
            )
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    start = load_base(base, kind)
    settings = replace(settings, lr=settings.lr or (2e-5 if start.shape.hidden_size >= 256 else 5e-4))
    sha256 = hashlib.sha256(data.read_bytes()).hexdigest()
    identity = {
        "kind": kind, "base": start.name, "base_revision": start.revision, "data": sha256, **asdict(settings)
    }  # fmt: skip
    with place.alone():
        best = _fit(start, learn, dev, labels, settings, where, report, place, identity)
        parts = {"learn": learn, "dev": dev, "held_out": held_out}
        card: dict[str, Any] = {
            "kind": kind,
            "labels": list(labels),
            "base": start.name,
            "base_revision": start.revision,
            "data": {
                "file": data.name,
                "sha256": sha256,
                "answers": {name: _counted(part, labels) for name, part in parts.items()},
                "groups": {name: len({example.group for example in part}) for name, part in parts.items()},
                "repeated_left_out": answers.repeated,
                "held_out_left_out": left_out,
            },
            "settings": asdict(settings),
            **best,
            "code_version": __version__,
        }
        with _whole_folder(out) as folder:
            save_weights(start.model, folder / WEIGHTS, half=start.name == "tiny")
            write_companions(folder, start.words, start.shape)
            reader = Reader(folder, labels, device=where)
            rows = reader.probabilities([example.text for example in held_out])
            read = [labels[max(range(len(row)), key=row.__getitem__)] for row in rows]
            card |= {"weights_sha256": reader.digest, "held_out": measure(held_out, read, labels)}
            write_text(folder / CARD, json.dumps(card, indent=1) + "\n")
            write_text(folder / "README.md", readme(card))
        shutil.rmtree(place.folder, ignore_errors=True)
    return card


def load_base(base: str, kind: str) -> Base:
    """The network to start from, with a new head where the base has none of that kind's size.

    Raises `ModelError` or `AccessError`.
    """
    labels = _labels(kind)
    if base == "tiny":
        folder = tiny_folder()
        weights, config, tokenizer = (
            folder / name for name in (f"{kind}.safetensors", "config.json", "tokenizer.json")
        )
        return _base(weights, config, tokenizer, labels, "tiny", "")
    if Path(base).exists():
        found = find_checkpoint(Path(base))
        if found.tokenizer is None:
            raise ModelError(f"no tokenizer beside {found.weights}; put its tokenizer.json into that folder")
        return _base(
            found.weights, found.config, found.tokenizer, labels, f"local:{Path(base).resolve().name}", ""
        )
    base = TOKENIZER if base == "roberta-base" else base
    if base.count("/") != 1:
        raise UnknownNameError(
            f"there is no folder {base} to start from; --base takes a folder, a Hub id (owner/name), "
            "roberta-base or tiny"
        )
    otherwise = "start from a folder that holds it, or from the small shape with --base tiny"
    commit: str | None = None
    paths = {}
    for name in _BASE_FILES:
        paths[name], commit = download(base, name, commit, otherwise=otherwise)
    config, tokenizer, weights = (paths[name] for name in _BASE_FILES)
    return _base(weights, config, tokenizer, labels, base, commit or "")


def measure(examples: Sequence[Example], read: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy, F1 by label, their mean, and the confusion matrix (right label, then label read).

    Each figure is {value, low, high}: a 95% interval from resampling whole groups. F1 is
    2 TP / (2 TP + FP + FN), a ratio of sums over groups, and so has its interval like a share.
    """
    import numpy as np

    from ucbench.metrics import intervals

    groups = {group: index for index, group in enumerate(dict.fromkeys(e.group for e in examples))}
    place = [groups[example.group] for example in examples]
    right = np.zeros((len(groups), len(labels) + 1))
    total = np.zeros_like(right)
    for index, example, label in zip(place, examples, read, strict=True):
        right[index, 0] += label == example.label
        total[index, 0] += 1
        for column, name in enumerate(labels, start=1):
            right[index, column] += 2 * (label == example.label == name)
            total[index, column] += (label == name) + (example.label == name)
    draws = intervals.resample_clusters(np.zeros(len(groups)), RESAMPLES, seed=0)
    support = Counter(example.label for example in examples)
    estimates = [intervals.estimate(r, t, draws) for r, t in zip(right.T, total.T, strict=True)]
    # A label counts twice in F1's denominator, once in what was seen of it.
    items = [len(examples), *(support[label] for label in labels)]
    estimates = [replace(e, items=np.asarray(float(n))) for e, n in zip(estimates, items, strict=True)]

    def figure(estimate: intervals.Estimate) -> dict[str, float]:
        low, high = intervals.share_interval(estimate)
        return {"value": float(estimate.value), "low": float(low), "high": float(high)}

    weights = [1.0 / len(labels)] * len(labels)
    low, high = intervals.combined_interval(weights, estimates[1:])
    macro = float(intervals.combined_value(weights, estimates[1:]))
    pairs = Counter(zip((e.label for e in examples), read, strict=True))
    return {
        "n": len(examples),
        "groups": len(groups),
        "accuracy": figure(estimates[0]),
        "macro_f1": {"value": macro, "low": max(float(low), 0.0), "high": min(float(high), 1.0)},
        "f1": {
            label: {**figure(estimate), "n": support[label]}
            for label, estimate in zip(labels, estimates[1:], strict=True)
        },
        "confusion": {x: {y: pairs[x, y] for y in labels} for x in labels},
    }


def readme(card: dict[str, Any]) -> str:
    """A short card for people."""
    held, data = card["held_out"], card["data"]

    def cell(figure: dict[str, float]) -> str:
        return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"

    rows = "".join(f"| F1, {label} | {cell(f)} | {f['n']:,} |\n" for label, f in held["f1"].items())
    confusion = "".join(
        f"| {label} | " + " | ".join(f"{n:,}" for n in row.values()) + " |\n"
        for label, row in held["confusion"].items()
    )
    learnt = sum(data["answers"]["learn"].values())
    base = f"{card['base']}@{card['base_revision']}" if card["base_revision"] else card["base"]
    return (
        f"# Response classifier: {card['kind']}\n\n"
        f"Reads a model's answer and says {', '.join(card['labels'])}. RoBERTa with a linear head on the "
        f"first token, started from {base}, fitted on {learnt:,} labelled answers "
        f"(seed {card['settings']['seed']}, epoch {card['best_epoch']} of {card['epochs_run']}).\n\n"
        f"On {held['n']:,} answers in {held['groups']:,} groups that it has not seen, with 95% intervals:\n\n"
        f"| | value | answers |\n|---|---|---|\n| accuracy | {cell(held['accuracy'])} | {held['n']:,} |\n"
        f"| macro F1 | {cell(held['macro_f1'])} | {held['n']:,} |\n{rows}\n"
        f"Right label by row, label read by column:\n\n| | {' | '.join(card['labels'])} |\n"
        f"|{'---|' * (len(card['labels']) + 1)}\n{confusion}\n"
        "Load it with `--judge classifier:PERCEPTION,ALIGNMENT`, where one of the two is this folder.\n"
    )


def _labels(kind: str) -> tuple[str, ...]:
    if kind not in KINDS:
        raise UnknownNameError(f"there is no kind {kind!r} of classifier; --kind takes {' or '.join(KINDS)}")
    return KINDS[kind]


def _fit(
    base: Base,
    learn: Sequence[Example],
    dev: Sequence[Example],
    labels: Sequence[str],
    settings: Settings,
    device: str,
    report: Report | None,
    place: Place,
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Leave the best epoch's weights in `base.model`; returns what is known of the epochs.

    Goes on from what `place` keeps, and keeps the state after each epoch there.
    """
    model = base.model.to(device).train()
    pad = base.shape.pad_token_id
    limit = min(MAX_TOKENS, base.shape.max_position_embeddings - pad - 1)

    def rows(part: Sequence[Example]) -> list[Row]:
        ids = encode(base.words, [example.text for example in part], limit)
        return list(zip(ids, (labels.index(example.label) for example in part), strict=True))

    learnt, stop = rows(learn), rows(dev)
    per_epoch = -(-len(learnt) // settings.batch_size)
    assert settings.lr is not None
    fitter = Fitter(model, lr=settings.lr, steps=per_epoch * settings.epochs, pad=pad, device=device)
    random = Random(settings.seed)
    progress, kept = Progress(), weights(model)
    if place.kept():
        progress, kept = place.restore(model, fitter, random, identity)
    while not progress.ended(settings.epochs, settings.patience):
        number = len(progress.curve) + 1
        losses = [fitter.step(batch) for batch in epoch(learnt, settings.batch_size, random)]
        read, dev_loss = fitter.read(stop)
        f1 = _macro_f1([label for _, label in stop], read, len(labels))
        loss = sum(losses) / len(losses)
        progress.curve.append({"epoch": number, "loss": loss, "dev_loss": dev_loss, "dev_macro_f1": f1})
        if (f1, -dev_loss) > progress.score:
            progress.score, progress.best_epoch = (f1, -dev_loss), number
            kept = weights(model)
        place.save(model, kept, fitter, random, progress, identity)
        if report:
            report(number, settings.epochs, loss, f1)
    model.load_state_dict(kept)
    model.eval()
    return {
        "epochs_run": len(progress.curve), "best_epoch": progress.best_epoch, "curve": progress.curve
    }  # fmt: skip


def _macro_f1(right: Sequence[int], read: Sequence[int], n_labels: int) -> float:
    """Mean F1 of the labels that occur on either side."""
    found = []
    for label in range(n_labels):
        times = sum(x == label for x in right) + sum(y == label for y in read)
        if times:
            found.append(2 * sum(x == y == label for x, y in zip(right, read, strict=True)) / times)
    return sum(found) / len(found)


def _base(
    weights: Path, config: Path | None, tokenizer: Path, labels: Sequence[str], name: str, revision: str
) -> Base:
    import torch

    state = read_weights(weights)
    # Masked language models have the prefix, plain ones do not.
    trunk = {
        f"roberta.{own}": value
        for key, value in state.items()
        if (own := key.removeprefix("roberta.")).startswith(("embeddings.", "encoder."))
        and not own.endswith("position_ids")
    }
    shape = read_config(config) if config else infer_config(trunk, weights)
    model = build(shape, len(labels))
    wanted = model.state_dict()
    names = ("classifier.weight", "classifier.bias")
    if all(key in state and state[key].shape == wanted[key].shape for key in names):
        head = {key: state[key] for key in names}
    else:
        head = {key: wanted[key] for key in names}
        torch.nn.init.normal_(head["classifier.weight"], std=0.02)
        torch.nn.init.zeros_(head["classifier.bias"])
    wrong = [
        key
        for key, value in wanted.items()
        if key not in head and (key not in trunk or trunk[key].shape != value.shape)
    ]
    if wrong or trunk.keys() - wanted.keys():
        first = (wrong or sorted(trunk.keys() - wanted.keys()))[0]
        raise ModelError(f"{weights} is not RoBERTa of the shape that its config says: see {first}")
    model.load_state_dict(trunk | head, strict=True)
    words = read_tokenizer(tokenizer)
    words.no_padding()
    words.no_truncation()
    if words.get_vocab_size() > shape.vocab_size or words.get_vocab().get("<pad>") != shape.pad_token_id:
        raise ModelError(f"{tokenizer} does not fit {weights}; give the tokenizer it was trained with")
    return Base(
        model, shape, words, name, revision or f"sha256:{hashlib.sha256(weights.read_bytes()).hexdigest()}"
    )


def _without_leaks(rest: Sequence[Example], held_out: Sequence[Example]) -> tuple[tuple[Example, ...], int]:
    """Held-out answers whose words stand in no answer of the rest, and how many those were that do."""
    seen = {labelled.alike(example.text) for example in rest}
    kept = tuple(example for example in held_out if labelled.alike(example.text) not in seen)
    return kept, len(held_out) - len(kept)


def _counted(part: Sequence[Example], labels: Sequence[str]) -> dict[str, int]:
    counts = Counter(example.label for example in part)
    return {label: counts[label] for label in labels}


def _check_free(out: Path, place: Place, *, resume: bool) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise StoreError(f"{out} is there already; name a new folder with --out, or move that one away")
    if not resume and (kept := place.kept()):
        raise StoreError(
            f"{kept[-1]} is of a training that was cut off; add --resume to go on with it, remove "
            f"{place.folder}, or name another folder with --out"
        )


class _whole_folder:  # noqa: N801 - used as a function
    """A folder that is renamed to `target` when the block ends well, and removed otherwise."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> Path:
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(dir=self._target.parent, prefix=f".{self._target.name}."))
        except OSError as error:
            raise StoreError(
                f"cannot write {self._target}: {error.strerror}; make the folder writable or choose another"
            ) from error
        return self._folder

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        try:
            umask = os.umask(0)
            os.umask(umask)
            self._folder.chmod(0o777 & ~umask)
            self._folder.rename(self._target)
            sync_folder(self._target.parent)
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise StoreError(f"cannot write {self._target}: {error.strerror}") from error
