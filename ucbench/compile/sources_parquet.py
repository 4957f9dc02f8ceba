"""Pictures in Parquet files, as bytes or as the Hub writes them: `{bytes, path}`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ucbench.compile.sources import Item
from ucbench.errors import BadImageError, StoreError, UcbenchError

#: Rows decoded together, so that a large row group never lies in memory whole.
ROWS = 16


class ParquetSource:
    """The rows of Parquet files; a reference is `file#row`, counted from 0 within the file."""

    def __init__(self, place: Path, files: Sequence[Path], image_column: str | None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._place, self._column = place, image_column
        root = place.parent if place.is_file() else place
        self._files: dict[str, Any] = {}
        self._signatures: dict[str, str] = {}
        for file in files:
            try:
                opened = pq.ParquetFile(file)
                state = file.stat()
            except (pa.ArrowException, OSError) as error:
                raise StoreError(f"{file} cannot be read as Parquet; copy or download it again") from error
            self._column = _image_column(opened.schema_arrow, self._column, file)
            name = file.relative_to(root).as_posix()
            self._files[name] = opened
            self._signatures[name] = f"{state.st_size}-{state.st_mtime_ns}"

    def describe(self) -> dict[str, Any]:
        """Kind, place and column."""
        return {"kind": "parquet", "name": str(self._place), "image_column": self._column}

    @cached_property
    def _groups(self) -> dict[str, list[int]]:
        """The first row of each row group, and the number of rows at the end, by file."""
        found = {}
        for name, file in self._files.items():
            starts = [0]
            for group in range(file.metadata.num_row_groups):
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
            found[name] = starts
        return found

    def items(self) -> Sequence[Item]:
        """All rows, with size and time of change of their file as signature."""
        return [
            Item(f"{name}#{row}", self._signatures[name])
            for name, starts in self._groups.items()
            for row in range(starts[-1])
        ]

    def read(self, reference: str) -> bytes:
        """The bytes in one row."""
        for _, content in self.scan([reference]):
            if isinstance(content, BadImageError):
                raise content
            return content
        raise AssertionError("a scan yields what it was asked for")

    def scan(self, references: Sequence[str]) -> Iterator[tuple[str, bytes | BadImageError]]:
        """Those rows in their order; each row group is read once when they are in the source's order."""
        import pyarrow as pa

        rows: Iterator[tuple[int, Any]] = iter(())
        at: tuple[str, int] | None = None  # file and group that `rows` walks
        last = -1
        for reference in references:
            name, row = self._place_of(reference)
            starts = self._groups[name]
            group = bisect_right(starts, row) - 1
            try:
                if at != (name, group) or row <= last:
                    rows, at = self._rows(name, group), (name, group)
                cell = next(cell for number, cell in rows if number == row)
            except (pa.ArrowException, OSError) as error:
                at = None
                yield (
                    reference,
                    BadImageError(f"{reference} cannot be read: {' '.join(str(error).split())[:200]}"),
                )
                continue
            last = row
            yield reference, picture_bytes(cell, reference)

    def _rows(self, name: str, group: int) -> Iterator[tuple[int, Any]]:
        number = self._groups[name][group]
        for batch in self._files[name].iter_batches(ROWS, row_groups=[group], columns=[self._column]):
            for cell in batch.column(0):
                yield number, cell.as_py()
                number += 1

    def _place_of(self, reference: str) -> tuple[str, int]:
        name, _, row = reference.rpartition("#")
        if name not in self._files or not row.isdecimal() or int(row) >= self._groups[name][-1]:
            raise BadImageError(
                f"{self._place} has no row {reference}; it is not the source of these candidates"
            )
        return name, int(row)


def picture_bytes(cell: Any, reference: str) -> bytes | BadImageError:
    """The bytes in a cell, or what is wrong with it."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes) and content:
        return content
    return BadImageError(f"{reference} holds no picture; its bytes are missing")


def _image_column(schema: Any, wanted: str | None, file: Path) -> str:
    """The column of pictures: the one named, else `image`, else the only one that can be."""
    import pyarrow.types as types

    def holds(kind: Any) -> bool:
        if types.is_struct(kind):
            return any(
                field.name == "bytes" and not types.is_struct(field.type) and holds(field.type)
                for field in kind
            )
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    fitting = [field.name for field in schema if holds(field.type)]
    if wanted is not None:
        if wanted not in fitting:
            there = ", ".join(fitting) or "none"
            raise UcbenchError(
                f"{file} has no column {wanted!r} of pictures (it has: {there}); choose with --image-column"
            )
        return wanted
    if "image" in fitting:
        return "image"
    if len(fitting) != 1:
        there = ", ".join(fitting) or "none"
        raise UcbenchError(
            f"{file} has no single column of pictures (it has: {there}); choose with --image-column"
        )
    return str(fitting[0])
