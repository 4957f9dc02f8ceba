"""Auditing a judge: a stratified random sample of the answers it read, for people to label.

Strata are model family x kind of question x verdict. Every family gets an equal part of the sample, since
the question is how well the judge reads each of them. Within a family a stratum gets two answers at least,
so that rare verdicts are seen, and the rest goes by the root of its size. Where the sample is too small for
that, kinds are pooled, then verdicts too. In a stratum each answer has the same known chance to be drawn.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from pydantic import ValidationError

from ucbench.errors import StoreError, UcbenchError
from ucbench.files import write_text
from ucbench.record import Entry, Frozen, JudgeRef, RunRecord
from ucbench.runs import Run
from ucbench.types import CORRECT, NA, OPTION_LETTERS, SAFE, UNSAFE, WRONG

FOLDER, SAMPLE = "audits", "sample.json"
#: Raised when what `sample.json` says changes its meaning.
VERSION = 1
#: Answers that a stratum gets at least, where it has them.
LEAST = 2
#: What strata are made of, the finest first.
LEVELS = (("family", "kind", "verdict"), ("family", "verdict"), ("family",))
_SIZE = re.compile(r"[-_.]?(?<![a-z0-9])\d+(?:\.\d+)?[bm](?![a-z0-9])")


class Item(Frozen):
    """What a person labels: a question with its answer, once, however often it was drawn."""

    id: str
    kind: str
    prompt: str
    text: str
    expected: str = ""


class Unit(Frozen):
    """An answer that was drawn. `verdict` is the judge's; `probability` that of having been drawn."""

    run_id: str
    sample_id: str
    question_id: str
    family: str
    kind: str
    verdict: str
    stratum: int
    probability: float
    item: str


class Stratum(Frozen):
    """`population` answers of which `drawn` are in the sample."""

    name: str
    family: str
    population: int
    drawn: int


class Sample(Frozen):
    """What was drawn from which runs; `items` in the order in which they are labelled."""

    version: int = VERSION
    id: str
    judge: JudgeRef
    runs: tuple[str, ...]
    n: int
    seed: int
    level: tuple[str, ...]
    left_out: dict[str, int]
    strata: tuple[Stratum, ...]
    units: tuple[Unit, ...]
    items: tuple[Item, ...]


def labels_of(kind: str) -> tuple[str, ...]:
    """The labels that an answer of this kind can get."""
    if kind == "perception":
        return (*OPTION_LETTERS, NA)
    return (CORRECT, WRONG, NA) if kind == "general" else (SAFE, UNSAFE, NA)


def family(entry: Entry) -> str:
    """Which models answer alike: the model's name without owner and size; aligned ones apart.

    `llava-hf/llava-1.5-7b-hf` and `liuhaotian/llava-v1.5-13b` are `llava-1.5`.
    """
    name = re.split(r"[/:]", entry.model)[-1].lower()
    name = re.sub(r"(?<![a-z0-9])v(?=\d)", "", _SIZE.split(name)[0]).strip("-_.") or name
    return f"{name}, aligned" if entry.adapter or entry.trained_on else name


def common_judge(records: Sequence[RunRecord]) -> JudgeRef:
    """The judge of all these records. Raises `UcbenchError` when they have none, or several."""
    judges = {record.judge.id if record.judge else "none": record.judge for record in records}
    judge = next(iter(judges.values()))
    if len(judges) > 1 or judge is None:
        raise UcbenchError(
            f"these runs were read by {', '.join(sorted(judges))}; name the judge to audit with --judge"
        )
    return judge


def draw(runs: Sequence[Run], judge: JudgeRef, *, n: int, seed: int) -> Sample:
    """Draw `n` of the answers that `judge` has read in `runs`, all of them when there are fewer.

    Left out and counted: system errors, which have no verdict; answers without a word, which need no reading;
    rated answers, which have no label. Raises `UcbenchError` when nothing is left, or `n` is too small.
    """
    rows, left_out = _population(runs, judge)
    if not rows:
        raise UcbenchError(f"{judge.id} has read no answer of these runs that a person could label")
    families: dict[str, list[_Row]] = {}
    for row in rows:
        families.setdefault(row.family, []).append(row)
    if n < LEAST * len(families) and n < len(rows):
        raise UcbenchError(
            f"--n {n} is too small for {len(families)} model families; "
            f"give at least {LEAST * len(families)}, and 100 or more for each to say something"
        )
    shares = dict(
        zip(families, _allocate([len(own) for own in families.values()], n, equal=True), strict=True)
    )
    level = next(
        level
        for level in LEVELS
        if all(_fits(_strata(own, level).values(), shares[name]) for name, own in families.items())
    )
    random = Random(seed)
    strata: list[Stratum] = []
    units: list[Unit] = []
    items: dict[str, Item] = {}
    for name, own in sorted(families.items()):
        groups = dict(sorted(_strata(own, level).items()))
        sizes = _allocate([len(group) for group in groups.values()], shares[name])
        for (title, group), drawn in zip(groups.items(), sizes, strict=True):
            for row in sorted(random.sample(group, drawn), key=lambda row: row.key):
                items.setdefault(row.item.id, row.item)
                units.append(row.unit(len(strata), drawn / len(group)))
            strata.append(Stratum(name=title, family=name, population=len(group), drawn=drawn))
    order = sorted(items)
    random.shuffle(order)
    read = [(row.key, row.item.id, row.verdict) for row in rows]
    content = json.dumps([VERSION, judge.model_dump(), n, seed, read])
    return Sample(
        id=hashlib.sha256(content.encode()).hexdigest()[:12],
        judge=judge,
        runs=tuple(sorted(run.run_id for run in runs)),
        n=n,
        seed=seed,
        level=level,
        left_out=left_out,
        strata=tuple(strata),
        units=tuple(units),
        items=tuple(items[name] for name in order),
    )


def folder(store: Path, sample: Sample) -> Path:
    """Where the sample and its labels lie, beside the runs."""
    return store / FOLDER / sample.id


def keep(store: Path, sample: Sample) -> Path:
    """Write `sample.json` where it is not there yet; returns its folder. Raises `StoreError`."""
    place = folder(store, sample)
    path = place / SAMPLE
    if path.exists():
        try:
            there = Sample.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise StoreError(f"{path} is damaged; move {place} away, its labels may be good") from error
        if there != sample:
            raise StoreError(f"{path} is another sample than these runs give; move {place} away")
    else:
        write_text(path, sample.model_dump_json(indent=1) + "\n")
    return place


@dataclass(frozen=True, slots=True)
class _Row:
    """An answer of the population."""

    key: tuple[str, str, str]
    family: str
    kind: str
    verdict: str
    item: Item

    def part(self, name: str) -> str:
        """Its family, its kind, or its verdict, where the four options are one."""
        if name == "verdict" and self.verdict in OPTION_LETTERS:
            return "option"
        return str(getattr(self, name))

    def unit(self, stratum: int, probability: float) -> Unit:
        return Unit(
            run_id=self.key[0],
            sample_id=self.key[1],
            question_id=self.key[2],
            family=self.family,
            kind=self.kind,
            verdict=self.verdict,
            stratum=stratum,
            probability=probability,
            item=self.item.id,
        )


def _population(runs: Sequence[Run], judge: JudgeRef) -> tuple[list[_Row], dict[str, int]]:
    rows: dict[tuple[str, str, str], _Row] = {}
    left_out = {"errors": 0, "without_words": 0, "rated": 0}
    for run in {run.run_id: run for run in runs}.values():
        own = family(run.record().entry)
        frame: Any = run.frame(judge.id)
        for answer in frame.to_dict("records"):
            if answer["kind"] == "rated":
                left_out["rated"] += 1
            elif not isinstance(answer["label"], str) or isinstance(answer["error"], str):
                left_out["errors"] += 1
            elif not re.search(r"\w", answer["text"]):
                left_out["without_words"] += 1
            else:
                key = (run.run_id, answer["sample_id"], answer["question_id"])
                rows[key] = _Row(key, own, answer["kind"], answer["label"], _item(answer))
    return [rows[key] for key in sorted(rows)], left_out


def _item(answer: dict[str, Any]) -> Item:
    expected = answer["expected"] if answer["kind"] == "general" else ""
    content = (answer["kind"], answer["prompt"], answer["text"], expected)
    kind, prompt, text, expected = map(str, content)
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
    return Item(id=digest, kind=kind, prompt=prompt, text=text, expected=expected)


def _strata(rows: Sequence[_Row], level: Sequence[str]) -> dict[str, list[_Row]]:
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        groups.setdefault(" / ".join(row.part(name) for name in level), []).append(row)
    return groups


def _fits(groups: Iterable[Sequence[_Row]], n: int) -> bool:
    return sum(min(LEAST, len(group)) for group in groups) <= n


def _allocate(sizes: Sequence[int], n: int, *, equal: bool = False) -> list[int]:
    """How many of each: `LEAST` where there are as many, then by the root of the size, or equally."""
    given = [min(LEAST, size) for size in sizes]
    if sum(given) > n:
        given = [0] * len(sizes)  # fewer answers wanted than that: all are drawn alike
    for _ in range(min(n, sum(sizes)) - sum(given)):
        open_to = [index for index, size in enumerate(sizes) if given[index] < size]
        given[max(open_to, key=lambda i: (1.0 if equal else math.sqrt(sizes[i])) / (given[i] + 1))] += 1
    return given
