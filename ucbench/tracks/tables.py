"""Tables with pictures, in the layouts that benchmarks are published in.

A table is a TSV, CSV or Parquet file, a folder that holds such files, or a dataset on the Hub. A picture is
a cell: base64 text (TSV, CSV), or the bytes of a file (Parquet, Hub), which are read when they are wanted. A
cell that holds a bare number stands for the picture of the row of that `index`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.errors import BadImageError, UcbenchError
from ucbench.images import FileImage, read_image

if TYPE_CHECKING:
    from PIL import Image

    from ucbench.types import ImageSource

#: A row as its table holds it; what is text in a TSV may be a number in a Parquet file.
Row = dict[str, Any]

SUFFIXES = (".tsv", ".csv", ".parquet")
_NUMBER = re.compile(r"\s*(\d{1,12})(?:\.0)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Base64Image:
    """A picture as base64 text; nothing is decoded before `load`. `name` says where it is, for people."""

    text: str
    name: str

    def load(self) -> Image.Image:
        """Return the picture in RGB. Raises `BadImageError`."""
        return BytesImage(self.content(), self.name).load()

    def content(self) -> bytes:
        """The bytes of the file. Raises `BadImageError`."""
        content = self.text.strip()
        if content.startswith("data:"):
            content = content.partition(",")[2]
        try:
            return base64.b64decode("".join(content.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadImageError(
                f"{self.name} holds broken base64 ({error}); fetch the table again"
            ) from error


@dataclass(frozen=True, slots=True)
class BytesImage:
    """A picture as the bytes of its file; nothing is decoded before `load`."""

    data: bytes
    name: str

    def load(self) -> Image.Image:
        """Return the picture in RGB. Raises `BadImageError`."""
        if not self.data:
            raise BadImageError(f"{self.name} is empty; fetch the table again")
        try:
            return read_image(self.data)
        except BadImageError as error:
            raise BadImageError(str(error).replace("the picture", self.name, 1)) from error

    def content(self) -> bytes:
        """The bytes of the file."""
        return self.data


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture in a table; its bytes are read when they are wanted, and not kept."""

    read: Callable[[], Any]
    name: str

    def load(self) -> Image.Image:
        """Return the picture in RGB. Raises `BadImageError`."""
        return picture(self.read(), self.name).load()

    def content(self) -> bytes:
        """The bytes of the file. Raises `BadImageError`."""
        return content(picture(self.read(), self.name))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in their order, the name of what they were read from, and its commit when that is the Hub."""

    name: str
    rows: tuple[Row, ...]
    commit: str | None = None

    def place(self, number: int) -> str:
        """Where a row is, for people; rows are counted from 1."""
        return f"row {number + 1} of {self.name}"

    def text(self, number: int, column: str) -> str:
        """A cell as text. Raises `UcbenchError` when it is empty."""
        value = _plain(self.rows[number].get(column))
        if not value.strip():
            raise UcbenchError(f"{self.place(number)} has no {column}; fetch the table again")
        return value

    def pictures(self, column: str = "image") -> list[tuple[int, ImageSource]]:
        """For each row the first row with the picture it shows, and that picture.

        Broken pictures are found when they are loaded. Raises `UcbenchError` for two rows of one `index`,
        and for a number that stands for no row, or goes round in a circle.
        """
        indexed: dict[str, int] = {}
        for number in range(len(self.rows)):
            if indexed.setdefault(self._index(number), number) != number:
                raise UcbenchError(f"{self.place(number)} has the index of another row; give each its own")
        found: list[tuple[int, ImageSource]] = []
        first: dict[object, int] = {}
        for number in range(len(self.rows)):
            target, passed = number, {number}
            while (reference := _reference(self.rows[target].get(column))) is not None:
                if reference not in indexed:
                    raise UcbenchError(
                        f"{self.place(target)} refers to the picture of index {reference}, which no row has; "
                        "fetch the table again"
                    )
                target = indexed[reference]
                if target in passed:
                    raise UcbenchError(
                        f"{self.place(number)} refers to a picture that refers back; fetch the table again"
                    )
                passed.add(target)
            cell = self.rows[target].get(column)
            target = first.setdefault(_content(cell), target)
            found.append((target, picture(cell, f"the picture in {self.place(target)}")))
        return found

    def _index(self, number: int) -> str:
        return _plain(self.rows[number].get("index", number)).removesuffix(".0")


def picture(cell: object, name: str) -> ImageSource:
    """The picture that a cell holds: base64 text, bytes, or datasets' pair of bytes and path."""
    if isinstance(cell, Cell):
        return cell
    if isinstance(cell, dict):
        data, path = cell.get("bytes"), cell.get("path")
        return FileImage(Path(path)) if data is None and isinstance(path, str) else picture(data, name)
    if isinstance(cell, bytes):
        return BytesImage(cell, name)
    return Base64Image(_plain(cell), name)


def content(image: ImageSource) -> bytes:
    """The bytes of the file that holds a picture. Raises `BadImageError`."""
    if isinstance(image, FileImage):
        try:
            return image.path.read_bytes()
        except OSError as error:
            raise BadImageError(f"cannot read {image.path}: {error.strerror}; check the file") from error
    own: Callable[[], bytes] | None = getattr(image, "content", None)
    if own is None:
        raise TypeError(f"{type(image).__name__} holds no file")
    return own()


def contents(images: Iterable[ImageSource]) -> str:
    """Twelve hex digits over the bytes of pictures in order, read one at a time.

    What cannot be read is not told apart from other such; asking about it will be a typed error.
    """
    whole = hashlib.sha256()
    for image in images:
        try:
            whole.update(hashlib.sha256(content(image)).digest())
        except BadImageError:
            whole.update(b"unreadable")
    return whole.hexdigest()[:12]


def read_table(
    source: str | Path, columns: Sequence[str], *, split: str = "train", stream: bool = False
) -> Table:
    """Read the rows of a file, a folder of such files, or `split` of a Hub dataset; pictures stay there.

    `stream` reads a Hub dataset as it is asked for. Raises `UcbenchError` for what cannot be read or lacks
    one of `columns`, `AccessError` for a dataset that cannot be reached.
    """
    from ucbench.tracks import hub

    path, commit = Path(source), None
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and not p.name.startswith("."))
        kinds = {p.suffix for p in files}
        if not files or (len(files) > 1 and kinds != {".parquet"}):
            found = f"{len(files)} tables" if files else "no table"
            raise UcbenchError(
                f"{path} holds {found}, where one .tsv or .csv, or .parquet files, are wanted; "
                "name the file itself with --data"
            )
        rows = _read_files(files)
    elif path.exists() or path.suffix in SUFFIXES:
        rows = _read_files([path])
    elif hub.is_hub_id(str(source)):
        rows, commit = hub.read(str(source), split, stream=stream)
    else:
        raise UcbenchError(f"there is no file or folder {path}; --data takes one, or a Hub id (owner/name)")
    table = Table(path.name, tuple(rows), commit)
    if not rows:
        raise UcbenchError(f"{source} holds no rows; fetch it again")
    lacking = [column for column in columns if column not in rows[0]]
    if lacking:
        raise UcbenchError(
            f"{source} lacks the columns {', '.join(lacking)}; it has {', '.join(map(str, rows[0]))}"
        )
    return table


def _read_files(files: Sequence[Path]) -> list[Row]:
    """The rows of one file, or of Parquet files that belong together."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ucbench.tracks.parquet import ParquetTable, holds_pictures

    def shows(file: Path) -> bool:
        schema = pq.read_schema(file)
        return "image" in schema.names and holds_pictures(schema.field("image").type)

    try:
        lazy = files[0].suffix == ".parquet" and all(map(shows, files))
    except (OSError, pa.ArrowException):
        lazy = False  # reading will say what is wrong
    if not lazy:
        return [row for file in files for row in _read_file(file)]
    name = files[0].name if len(files) == 1 else files[0].parent.name
    table = ParquetTable(name, files)
    rows: list[Row] = table.rows()
    for number, row in enumerate(rows):
        row["image"] = Cell(partial(table.cell, number), f"the picture in row {number + 1} of {name}")
    return rows


def _read_file(path: Path) -> list[Row]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            rows: list[Row] = pq.read_table(path).to_pylist()
            return rows
        separator = {".tsv": "\t", ".csv": ","}.get(path.suffix)
        if separator is None:
            raise UcbenchError(f"{path} is no table; its name must end in {', '.join(SUFFIXES)}")
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UcbenchError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise UcbenchError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UcbenchError(f"{path} is not UTF-8 text; fetch it again") from error
    except (pa.ArrowException, ValueError) as error:  # pandas' own parser errors are ValueErrors
        reason = " ".join(str(error).split())[:200]
        raise UcbenchError(f"{path} is no table that can be read ({reason}); fetch it again") from error
    records: list[Any] = frame.to_dict("records")
    return list(records)


def digest(parts: Iterable[object]) -> str:
    """Eight hex digits that change when any of `parts`, texts or numbers, does."""
    content = json.dumps([str(part) for part in parts])
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def _reference(cell: object) -> str | None:
    """The index that a cell refers to, None when it is a picture itself."""
    if not isinstance(cell, str | int | float):
        return None
    found = _NUMBER.fullmatch(str(cell))
    return str(int(found[1])) if found else None


def _content(cell: object) -> object:
    """What is the same for cells that hold the same picture."""
    if isinstance(cell, Cell):
        try:
            return hashlib.sha256(cell.content()).digest()
        except BadImageError:
            return cell  # loading it will say what is wrong
    return (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else cell


def _plain(cell: object) -> str:
    """A cell as text, an empty one as empty text."""
    return "" if cell is None or cell != cell else str(cell)


def slug(name: str) -> str:
    """A name as an id: lower case, everything but letters and digits as a hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
