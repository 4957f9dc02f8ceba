"""What people said of the answers of an audit: one file a person, and a table to fill in elsewhere.

A label is on the disk before the next answer is shown. A file is a list of lines, and the last one about an
answer counts; no line is ever changed, so killing loses at most one that was not whole.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ucbench.errors import StoreError, UcbenchError
from ucbench.files import alone, write_text
from ucbench.judges.audit import Item, Sample, labels_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_COLUMNS = ("id", "kind", "question", "answer", "right_answer", "labels", "label")


class Labels:
    """The labels of one person, in the order in which they were given. Made by `opened`."""

    def __init__(self, sample: Sample, path: Path, handle: int) -> None:
        self._items = {item.id: item for item in sample.items}
        self._path, self._handle = path, handle
        self.given: dict[str, str] = {}
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        os.ftruncate(handle, len(whole))
        for item, label in _lines(path, whole, sample):
            self._take(item, label)

    def give(self, item: str, label: str | None) -> None:
        """Label an item, or take its label back with None; on the disk when it returns."""
        line = json.dumps({"item": item, "label": label}).encode() + b"\n"
        try:
            os.write(self._handle, line)
            os.fsync(self._handle)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}; what it holds is kept") from error
        self._take(item, label)

    def _take(self, item: str, label: str | None) -> None:
        self.given.pop(item, None)
        if label is not None:
            self.given[item] = label


@contextmanager
def opened(sample: Sample, place: Path, annotator: str) -> Iterator[Labels]:
    """The labels of one person, for nobody else to write meanwhile. Raises `StoreError`, `UcbenchError`."""
    if not _NAME.fullmatch(annotator):
        raise UcbenchError(
            f"--annotator {annotator!r} cannot name a file; take up to 40 letters, digits, - and _"
        )
    path = place / f"labels-{annotator}.jsonl"
    busy = f"{annotator} is labelling in another terminal; give another name with --annotator"
    with alone(path, busy, "make the folder writable") as handle:
        yield Labels(sample, path, handle)


def read_all(sample: Sample, place: Path) -> dict[str, dict[str, str]]:
    """Person -> item -> label, of everybody who gave one. Raises `StoreError`."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(place.glob("labels-*.jsonl")):
        content = path.read_bytes()
        given: dict[str, str] = {}
        for item, label in _lines(path, content[: content.rfind(b"\n") + 1], sample):
            given.pop(item, None)
            if label is not None:
                given[item] = label
        if given:
            found[path.stem.removeprefix("labels-")] = given
    return found


def export(sample: Sample, given: Mapping[str, str], target: Path) -> None:
    """Write a .csv to fill in: one row an item, the label last; labels that were given stand there.

    Neither model nor verdict is in it. Raises `StoreError` for a file that is there already.
    """
    if target.exists():
        raise StoreError(f"{target} is there already; name another file with --export, or move that one away")
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in sample.items:
        texts = (_cell(text) for text in (item.prompt, item.text, item.expected))
        writer.writerow(
            (item.id, item.kind, *texts, " or ".join(labels_of(item.kind)), given.get(item.id, ""))
        )
    # Spreadsheets take a file with this mark for UTF-8.
    write_text(target, "\ufeff" + table.getvalue())


def take_in(sample: Sample, labels: Labels, source: Path) -> tuple[int, int]:
    """Labels from a filled-in table: (new, changed). Rows without a label are passed over.

    Raises `UcbenchError`, which names the lines that cannot be read; nothing is taken in then.
    """
    items = {item.id: item for item in sample.items}
    try:
        content = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UcbenchError(f"cannot read {source}: {why}; check the file given with --labels") from error
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    found: dict[str, str] = {}
    bad: list[str] = []
    line = 2
    try:
        if not {"id", "label"} <= set(reader.fieldnames or ()):
            raise UcbenchError(f"{source} has no columns id and label; give a table made with --export")
        for row in reader:
            begin, line = line, reader.line_num + 1
            item, text = items.get((row["id"] or "").strip()), (row["label"] or "").strip()
            if not text:
                continue
            if item is None:
                bad.append(f"line {begin} (there is no answer {row['id']!r} in this audit)")
            elif (label := _spelt(item, text)) is None:
                bad.append(f"line {begin} (label {text!r} is none of {', '.join(labels_of(item.kind))})")
            elif found.setdefault(item.id, label) != label:
                bad.append(f"line {begin} (another label than before for the same answer)")
    except csv.Error as error:
        raise UcbenchError(f"{source} is not CSV on line {line}: {error}; mend it") from error
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise UcbenchError(f"{source} cannot be taken in: {', '.join(bad[:5])}{more}; mend these lines")
    fresh = {item: label for item, label in found.items() if labels.given.get(item) != label}
    changed = sum(item in labels.given for item in fresh)
    for name, label in fresh.items():
        labels.give(name, label)
    return len(fresh) - changed, changed


def _lines(path: Path, content: bytes, sample: Sample) -> Iterator[tuple[str, str | None]]:
    kinds = {item.id: item.kind for item in sample.items}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            row = json.loads(line)
            item, label = row["item"], row["label"]
            good = item in kinds and (label is None or label in labels_of(kinds[item]))
        except (ValueError, TypeError, KeyError):
            good = False
        if not good:
            raise StoreError(f"{path} is damaged at line {number}; mend or remove that line")
        yield item, label


def _spelt(item: Item, text: str) -> str | None:
    known = {label.lower(): label for label in labels_of(item.kind)}
    return known.get({"na": "n/a", "#n/a": "n/a"}.get(text.lower(), text.lower()))


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, without characters that CSV cannot hold."""
    text = text.replace("\x00", "\ufffd")
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "|") else text
