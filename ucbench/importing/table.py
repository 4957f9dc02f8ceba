"""Questions and answers as plain tables, for asking them of a model by other means.

A file is CSV, JSON lines or Parquet, by its ending. Questions have the columns `sample_id`,
`question_id`, `image`, `prompt`. Answers have `sample_id`, `question_id`, `text`; and where known `prompt`
(checked against the track's), `error` (one of `ucbench.types.ErrorCode`), `tokens` and `truncated`. An empty
text without an error is a failed answer.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ucbench.errors import UcbenchError
from ucbench.files import atomic_path, write_text
from ucbench.types import ErrorCode, Sample

SUFFIXES = (".csv", ".jsonl", ".parquet")
QUESTION_COLUMNS = ("sample_id", "question_id", "image", "prompt")
NEEDED = ("sample_id", "question_id", "text")
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no", "")


@dataclass(frozen=True, slots=True)
class Row:
    """An answer as its table holds it. `place` is `file:row`, for people.

    Rows of Parquet are counted from 1; of CSV and JSON lines, the row is the line.
    """

    place: str
    sample_id: str
    question_id: str
    text: str
    prompt: str | None
    error: ErrorCode | None
    tokens: int
    truncated: bool


def read(path: Path) -> list[Row]:
    """Read a table of answers. Raises `UcbenchError` that names the file and, where it can, the row."""
    if path.suffix not in SUFFIXES:
        raise UcbenchError(f"{path} is no table of answers; its name must end in {', '.join(SUFFIXES)}")
    try:
        table = list({".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[path.suffix](path))
    except OSError as error:
        raise UcbenchError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UcbenchError(f"{path} is not UTF-8 text; save it in UTF-8") from error
    if not table:
        raise UcbenchError(f"{path} holds no answers")
    return [_row(place, fields) for place, fields in table]


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""))
    try:
        for fields in reader:
            if None in fields or None in fields.values():
                raise UcbenchError(
                    f"{path.name}:{reader.line_num} has not as many cells as there are columns"
                )
            yield f"{path.name}:{reader.line_num}", fields
    except csv.Error as error:
        raise UcbenchError(f"{path.name}:{reader.line_num} is broken CSV ({error}); mend it") from error


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UcbenchError(
                f"{path.name}:{number} is broken JSON; mend it, one object with sample_id, question_id and "
                "text a line"
            ) from error
        if not isinstance(fields, dict):
            raise UcbenchError(f"{path.name}:{number} is no JSON object")
        yield f"{path.name}:{number}", fields


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise UcbenchError(f"{path} is no Parquet file that can be read; write it again") from error
    for number, fields in enumerate(rows, start=1):
        yield f"{path.name}:{number}", fields


def _row(place: str, fields: dict[str, Any]) -> Row:
    lacking = [name for name in NEEDED if name not in fields]
    if lacking:
        raise UcbenchError(f"{place} lacks {', '.join(lacking)}; the columns {', '.join(NEEDED)} are needed")
    texts: dict[str, str] = {}
    for name in (*NEEDED, "prompt", "error"):
        value = fields.get(name)
        if not isinstance(value, str | None):
            raise UcbenchError(f"{place} has a {name} that is no text but {type(value).__name__}")
        texts[name] = value or ""
    if not (texts["sample_id"] and texts["question_id"]):
        raise UcbenchError(f"{place} has no sample_id or no question_id")
    codes: tuple[ErrorCode, ...] = get_args(ErrorCode)
    error = next((code for code in codes if code == texts["error"]), None)
    if texts["error"] and error is None:
        raise UcbenchError(f"{place} has an unknown error; use one of {', '.join(codes)}, or none")
    return Row(
        place,
        texts["sample_id"],
        texts["question_id"],
        texts["text"],
        texts["prompt"] or None,
        error,
        _tokens(place, fields.get("tokens")),
        _truncated(place, fields.get("truncated")),
    )


def _tokens(place: str, value: Any) -> int:
    try:
        number = int(value or 0)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < 2**31:
        raise UcbenchError(f"{place} has tokens that are no whole number; leave them out where unknown")
    return number


def _truncated(place: str, value: Any) -> bool:
    word = str("" if value is None else value).lower()
    if word not in (*_YES, *_NO):
        raise UcbenchError(f"{place} has a truncated that is neither true nor false")
    return word in _YES


def write_questions(samples: Sequence[Sample], target: Path, pictures: Path | None = None) -> int:
    """Write the questions of `samples` to `target`; returns how many.

    `image` is a name, or the picture's own path where it lies in a file of the user's. With `pictures` every
    picture is written there as PNG, and `image` is its path. Raises `UcbenchError` for a file that exists.
    """
    if target.suffix not in SUFFIXES:
        raise UcbenchError(f"{target} must end in {', '.join(SUFFIXES)}")
    if target.exists():
        raise UcbenchError(f"{target} exists; give another --out, or move it away")
    rows: list[dict[str, str]] = []
    for sample in samples:
        image = _picture(sample, pictures)
        rows += [
            dict(zip(QUESTION_COLUMNS, (sample.id, question.id, image, question.text), strict=True))
            for question in sample.questions
        ]
    _write(rows, target)
    return len(rows)


def _picture(sample: Sample, pictures: Path | None) -> str:
    name = sample.id if sample.id.lower().endswith((".png", ".jpg", ".jpeg", ".webp")) else f"{sample.id}.png"
    if pictures is None:
        own = getattr(sample.image, "path", None)
        return str(own) if isinstance(own, Path) else name
    path = (pictures / name).with_suffix(".png")
    if not path.resolve().is_relative_to(pictures.resolve()):
        raise UcbenchError(f"the picture {sample.id} would be written outside {pictures}")
    with atomic_path(path) as temporary:
        sample.image.load().save(temporary, format="PNG")
    return str(path)


def _write(rows: list[dict[str, str]], target: Path) -> None:
    if target.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([(name, pa.string()) for name in QUESTION_COLUMNS])
        with atomic_path(target) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
        return
    stream = io.StringIO(newline="")
    if target.suffix == ".jsonl":
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        writer = csv.DictWriter(stream, QUESTION_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(target, stream.getvalue())
