"""Parquet files as one table whose pictures are read one at a time, here or from afar.

A cell is found by its row group and read on from there, so that memory holds one row group at most, and of
that only what its writer put into one page; tables of the Hub have some 100 pictures in a row group.
"""

from __future__ import annotations

import pickle
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from ucbench.errors import UcbenchError

#: Opens a file for reading; for files that are not here.
Opener = Callable[[], Any]
#: Bytes that are read ahead: more than most pictures have.
BUFFER = 1 << 20


def holds_pictures(kind: Any) -> bool:
    """Whether a column of this Arrow type holds files: bytes, or the Hub's pair of bytes and path."""
    from pyarrow import types

    if types.is_struct(kind):
        return "bytes" in [field.name for field in kind]
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


class ParquetTable:
    """Rows of Parquet files, one file after the other, counted from 0; `column` is that of the pictures.

    With `keep` (for files from afar), a row group goes into an unnamed temporary file when its first cell is
    asked for: nothing is fetched twice, in whatever order, and the file ends with the process.
    """

    def __init__(
        self, name: str, files: Sequence[Path | Opener], column: str = "image", *, keep: bool = False
    ) -> None:
        """Reads the files' footers. Raises `UcbenchError` for what is no Parquet or has no such column."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.name, self.column = name, column
        self._files: list[Any] = []
        self._groups: list[tuple[int, int]] = []  # (file, row group)
        self._starts = [0]  # first row of each group, then the number of rows
        for file in files:
            try:
                source = str(file) if isinstance(file, Path) else file()
                opened = pq.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False)
            except pa.ArrowException as error:
                raise self._unreadable(error) from error
            except OSError as error:
                # Those of remote files are for whoever opens them.
                if not isinstance(file, Path):
                    raise
                raise self._unreadable(error) from error
            names = opened.schema_arrow.names
            if column not in names:
                raise UcbenchError(f"{name} has no column {column}; it has {', '.join(names)}")
            for group in range(opened.metadata.num_row_groups):
                self._groups.append((len(self._files), group))
                self._starts.append(self._starts[-1] + opened.metadata.row_group(group).num_rows)
            self._files.append(opened)
        # The cells of one row group from row `_next` on.
        self._group, self._next = -1, 0
        self._cells: Iterator[Any] = iter(())
        self._kept: IO[bytes] | None = tempfile.TemporaryFile() if keep else None  # noqa: SIM115
        self._places: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of rows."""
        return self._starts[-1]

    def rows(self) -> list[dict[str, Any]]:
        """All columns but that of the pictures, a row each; a column that a file lacks is None there."""
        import pyarrow as pa

        columns = [[name for name in file.schema_arrow.names if name != self.column] for file in self._files]
        names = list(dict.fromkeys(name for own in columns for name in own))
        found: list[dict[str, Any]] = []
        for file, own in zip(self._files, columns, strict=True):
            try:
                told = file.read(columns=own).to_pylist() if own else [{}] * file.metadata.num_rows
            except pa.ArrowException as error:
                raise self._unreadable(error) from error
            found += [{name: row.get(name) for name in names} for row in told]
        return found

    def cell(self, row: int) -> Any:
        """The picture's cell in a row.

        Raises `UcbenchError` for a damaged file, `OSError` and the like for one out of reach.
        """
        import pyarrow as pa

        with self._lock:
            if row in self._places:
                return self._again(row)
            try:
                return self._forward(bisect_right(self._starts, row) - 1, row)
            except BaseException as error:
                self._group = -1
                damaged = isinstance(error, pa.ArrowException)
                if damaged or (isinstance(error, OSError) and self._kept is None):
                    raise self._unreadable(error) from error
                raise

    def _forward(self, group: int, row: int) -> Any:
        """Go on in a row group as far as `row`; to its end where it is kept."""
        if group != self._group or self._next > row:
            self._group, self._next, self._cells = group, self._starts[group], self._open(group)
        for cell in self._cells:
            at, self._next = self._next, self._next + 1
            if self._kept is not None:
                self._keep(at, cell)
            elif at == row:
                return cell.as_py()
        self._group = -1
        if row not in self._places:
            raise UcbenchError(f"{self.name} ends before row {row + 1}; fetch it again")
        return self._again(row)

    def _open(self, number: int) -> Iterator[Any]:
        file, group = self._groups[number]
        for batch in self._files[file].iter_batches(1, row_groups=[group], columns=[self.column]):
            yield from batch.column(0)

    def _keep(self, row: int, cell: Any) -> None:
        assert self._kept is not None
        content = pickle.dumps(cell.as_py(), protocol=pickle.HIGHEST_PROTOCOL)
        start = self._kept.seek(0, 2)
        self._kept.write(content)
        self._places[row] = start, len(content)

    def _again(self, row: int) -> Any:
        assert self._kept is not None
        start, size = self._places[row]
        self._kept.seek(start)
        return pickle.loads(self._kept.read(size))

    def _unreadable(self, error: BaseException) -> UcbenchError:
        reason = " ".join(str(error).split())[:200]
        return UcbenchError(f"{self.name} cannot be read as Parquet ({reason}); fetch it again")
