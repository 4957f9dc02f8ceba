"""Labelled answers: what a classifier is fitted on, read from a table and split without leaks."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ucbench.errors import UcbenchError
from ucbench.judges.normal import normalise
from ucbench.judges.thinking import strip_thinking
from ucbench.types import NA

#: Bad rows that an error names; the others it counts.
NAMED = 5
_SPELLINGS = {"na": NA, "n.a.": NA}


@dataclass(frozen=True, slots=True)
class Example:
    """An answer without its thinking part, and its label.

    Answers of one `group` stay on one side of a split. `line` is where it stands in its file.
    """

    text: str
    label: str
    group: str
    line: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """The answers of a file, each text once; `repeated` counts rows left out because of that."""

    examples: tuple[Example, ...]
    repeated: int


def read(path: Path, labels: Sequence[str]) -> Labelled:
    """Answers from a .csv with the columns text, label and perhaps group, or .jsonl with these fields.

    Without a group, answers that differ in case, spacing and punctuation only are one group. Raises
    `UcbenchError`, which names the lines of rows that cannot be used.
    """
    examples: list[Example] = []
    first: dict[str, Example] = {}
    bad: list[str] = []
    repeated = 0
    for line, row in _rows(path):
        found = _example(line, row, labels)
        if isinstance(found, str):
            bad.append(f"line {line} ({found})")
            continue
        before = first.setdefault(found.text, found)
        if before is found:
            examples.append(found)
        elif before.label == found.label:
            repeated += 1
        else:
            bad.append(
                f"line {line} ({found.label}, where line {before.line} says {before.label} of the same text)"
            )
    if bad:
        more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        raise UcbenchError(
            f"{path} has rows that cannot be learnt from: {', '.join(bad[:NAMED])}{more}; mend or remove them"
        )
    counts = Counter(example.label for example in examples)
    rare = [f"{label} ({counts[label]})" for label in labels if counts[label] < 2]
    if rare:
        raise UcbenchError(
            f"{path} has too few answers labelled {', '.join(rare)}; a classifier needs at least two "
            "different ones of each label, and better 50"
        )
    return Labelled(tuple(examples), repeated)


def hold_out(
    examples: Sequence[Example], share: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(kept, held out): whole groups in random order, with every label's share near `share`.

    Of a label that has two answers or more, one at least is aimed at on either side.
    """
    totals = Counter(example.label for example in examples)
    target = {
        label: min(max(share * total, 1.0), total - 1.0) for label, total in totals.items() if total > 1
    }
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    order = list(groups)
    Random(seed).shuffle(order)
    held: Counter[str] = Counter()
    chosen: set[str] = set()
    for group in order:
        own = Counter(example.label for example in groups[group])
        if (
            own.keys() <= target.keys()
            and sum(
                ((held[label] + n - target[label]) ** 2 - (held[label] - target[label]) ** 2) / target[label]
                for label, n in own.items()
            )
            < 0
        ):
            chosen.add(group)
            held += own
    return (
        tuple(example for example in examples if example.group not in chosen),
        tuple(example for example in examples if example.group in chosen),
    )


def alike(text: str) -> str:
    """The words of a text: the same for texts that differ in case, spacing, mark-up and punctuation only."""
    return " ".join(re.findall(r"\w+", normalise(text))) or text


def _example(line: int, row: dict[str, Any], labels: Sequence[str]) -> Example | str:
    """An example, or what is wrong with the row."""
    text, label, group = row.get("text"), row.get("label"), row.get("group")
    if not isinstance(text, str) or not text.strip():
        return "no text"
    answer = strip_thinking(text)[0].strip()
    if not answer:
        return "nothing but a thinking part"
    known = {name.lower(): name for name in labels} | _SPELLINGS
    if not isinstance(label, str) or label.strip().lower() not in known:
        return f"label {label!r} is none of {', '.join(labels)}"
    named = "" if group is None else str(group).strip()
    return Example(answer, known[label.strip().lower()], named or f"={alike(answer)}", line)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UcbenchError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UcbenchError(f"{path} is not UTF-8 text at line {line}; write it in UTF-8") from error
    if path.suffix == ".csv":
        yield from _csv(path, content)
    elif path.suffix in (".jsonl", ".ndjson"):
        for number, text in enumerate(content.split("\n"), start=1):
            if text.strip():
                yield number, _object(path, number, text)
    else:
        raise UcbenchError(f"{path} is neither .csv nor .jsonl; give labelled answers as one of these")


def _csv(path: Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    header: list[str] = []
    begin = 1
    try:
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            if not cells:
                continue
            if not header:
                header = [cell.strip().lower() for cell in cells]
                if not {"text", "label"} <= set(header):
                    raise UcbenchError(
                        f"{path} has the columns {', '.join(header)}; its first line must name text and label"
                        ", and group where there are groups"
                    )
            elif len(cells) != len(header):
                raise UcbenchError(
                    f"{path} has {len(cells)} cells instead of {len(header)} on line {line}; "
                    "put texts that hold commas within quotes"
                )
            else:
                yield line, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UcbenchError(f"{path} is not CSV on line {begin}: {error}; mend it") from error


def _object(path: Path, number: int, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise UcbenchError(f"{path} is not JSON on line {number}; mend or remove that line") from error
    if not isinstance(row, dict):
        raise UcbenchError(f"{path} holds no object on line {number}; mend or remove that line")
    return row
