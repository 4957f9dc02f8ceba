"""What may leave this machine: a record that fits the schema, tables of texts and numbers, no pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench import runs
from ucbench.errors import StoreError
from ucbench.hub.mirror import is_result
from ucbench.record import RunRecord
from ucbench.runs import Run

if TYPE_CHECKING:
    import pyarrow as pa

_ANSWERS = (*runs.ANSWER_COLUMNS, *runs.MORE_ANSWER_COLUMNS)
_JUDGEMENTS = (*runs.JUDGEMENT_COLUMNS, *runs.MORE_JUDGEMENT_COLUMNS)
_MOST_ROWS, _MOST_BYTES = 1_000_000, 1_000_000_000
#: A picture as text: a data URI, or more base64 in a row than any answer has words.
_PICTURE = re.compile(r"data:image/|[A-Za-z0-9+/]{2000}")


def check_publishable(run: Run) -> RunRecord:
    """The record of a run that can be published.

    Raises `StoreError`: unfinished or damaged, names that cannot be paths, files without their judgements,
    columns that are not ours, anything that looks like a picture.
    """
    record = run.record()
    paths = [runs.RECORD]
    for table in (run.folder / runs.ANSWERS, *(run.folder / runs.JUDGEMENTS).glob("*.parquet")):
        _check_size(table)
    if record.provenance != "reported":
        if record.judge is None:
            raise StoreError(f"{run.folder} was not judged; judge it with `ucbench judge run {run.folder}`")
        if len(run.judgements(record.judge.id)) == 0 or run.answers().empty:
            raise StoreError(f"{run.folder} has no judged answers; evaluate again")
        paths.append(runs.ANSWERS)
        paths += [f"{runs.JUDGEMENTS}/{judge}.parquet" for judge in run.judge_ids()]
    for path in paths:
        place = f"{record.entry.slug}/{record.run_id}/{path}"
        if not is_result(place):
            raise StoreError(f"{run.folder} cannot be published: {place!r} is no path of a results store")
    if record.run_id != run.run_id:
        raise StoreError(f"{run.folder} holds run {record.run_id}; move it to a folder of that name")
    for path in paths[1:]:
        _check_table(run.folder / path, _ANSWERS if path == runs.ANSWERS else _JUDGEMENTS)
    return record


def _check_size(path: Path) -> None:
    """Refuse a table that is much larger than it looks, before it is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return  # told by whoever needs it
    try:
        told = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} is damaged; evaluate again") from error
    size = sum(told.row_group(n).total_byte_size for n in range(told.num_row_groups))
    if told.num_rows > _MOST_ROWS or size > _MOST_BYTES:
        raise StoreError(
            f"{path} has {told.num_rows:,} rows of {size:,} bytes; at most {_MOST_ROWS:,} rows of "
            f"{_MOST_BYTES:,} bytes are published"
        )


def _check_table(path: Path, columns: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} is damaged; evaluate again") from error
    for name in table.column_names:
        kind = table.schema.field(name).type
        if name not in columns or not _plain(kind):
            raise StoreError(f"{path} has a column {name!r} of type {kind}, which is never published")
    if extra := [key for key in table.schema.metadata or {} if key not in (runs.ITEMS, b"pandas")]:
        raise StoreError(f"{path} carries data beside its columns ({extra[0]!r}), which is never published")
    for name in table.column_names:
        for row, cell in enumerate(table.column(name).to_pylist()):
            if any(_PICTURE.search(text) for text in _texts(cell)):
                raise StoreError(
                    f"{path} holds what looks like a picture ({name}, row {row + 1}); pictures are never "
                    "published, so take it out"
                )


def _plain(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
    simple = (types.is_string, types.is_large_string, types.is_boolean, types.is_integer, types.is_floating)
    return types.is_null(kind) or any(is_(kind) for is_ in simple)


def _texts(cell: object) -> list[str]:
    if isinstance(cell, str):
        return [cell]
    return [text for text in cell if isinstance(text, str)] if isinstance(cell, list) else []
