"""Tables with pictures, in the layouts that benchmarks are published in.

A table is a TSV, CSV or Parquet file, a folder that holds such files, or a dataset on the Hub. A picture is
a cell: base64 text (TSV, CSV), or the bytes of a file (Parquet, Hub). A cell that holds a bare number stands
for the picture of the row of that `index`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.errors import AccessError, BadImageError, UcbenchError
from ucbench.images import FileImage, read_image

if TYPE_CHECKING:
    from PIL import Image

    from ucbench.types import ImageSource

#: A row as its table holds it; what is text in a TSV may be a number in a Parquet file.
Row = dict[str, Any]

SUFFIXES = (".tsv", ".csv", ".parquet")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_NUMBER = re.compile(r"\s*(\d{1,12})(?:\.0)?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Base64Image:
    """A picture as base64 text; nothing is decoded before `load`. `name` says where it is, for people."""

    text: str
    name: str

    def load(self) -> Image.Image:
        """Return the picture in RGB. Raises `BadImageError`."""
        content = self.text.strip()
        if content.startswith("data:"):
            content = content.partition(",")[2]
        try:
            data = base64.b64decode("".join(content.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadImageError(
                f"{self.name} holds broken base64 ({error}); fetch the table again"
            ) from error
        return BytesImage(data, self.name).load()


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


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in their order, and the name of what they were read from."""

    name: str
    rows: tuple[Row, ...]

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
    if isinstance(cell, dict):
        data, path = cell.get("bytes"), cell.get("path")
        return FileImage(Path(path)) if data is None and isinstance(path, str) else picture(data, name)
    if isinstance(cell, bytes):
        return BytesImage(cell, name)
    return Base64Image(_plain(cell), name)


def read_table(source: str | Path, columns: Sequence[str], *, split: str = "train") -> Table:
    """Read the rows of a file, a folder of such files, or `split` of a Hub dataset.

    Raises `UcbenchError` for what cannot be read or lacks one of `columns`, `AccessError` for a dataset that
    cannot be reached.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and not p.name.startswith("."))
        kinds = {p.suffix for p in files}
        if not files or (len(files) > 1 and kinds != {".parquet"}):
            found = f"{len(files)} tables" if files else "no table"
            raise UcbenchError(
                f"{path} holds {found}, where one .tsv or .csv, or .parquet files, are wanted; "
                "name the file itself with --data"
            )
        rows = [row for file in files for row in _read_file(file)]
    elif path.exists() or path.suffix in SUFFIXES:
        rows = _read_file(path)
    elif _HUB_ID.fullmatch(str(source)):
        rows = read_hub(str(source), split)
    else:
        raise UcbenchError(f"there is no file or folder {path}; --data takes one, or a Hub id (owner/name)")
    table = Table(path.name, tuple(rows))
    if not rows:
        raise UcbenchError(f"{source} holds no rows; fetch it again")
    lacking = [column for column in columns if column not in rows[0]]
    if lacking:
        raise UcbenchError(
            f"{source} lacks the columns {', '.join(lacking)}; it has {', '.join(map(str, rows[0]))}"
        )
    return table


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


def read_hub(repository: str, split: str) -> list[Row]:
    """The rows of a dataset of the Hub, pictures as bytes. Raises `AccessError` or `UcbenchError`."""
    import datasets
    from huggingface_hub.errors import GatedRepoError

    gated = (
        f"{repository} is gated; ask for access on https://huggingface.co/datasets/{repository}, then "
        "`hf auth login` or set HF_TOKEN and start the same command again"
    )
    unreachable = (
        f"cannot download {repository}; check the network and that your account may read it (`hf auth login` "
        "or HF_TOKEN), or give a local copy with --data"
    )
    try:
        table = datasets.load_dataset(repository, split=split)
    except GatedRepoError as error:
        raise AccessError(gated) from error
    except datasets.exceptions.DatasetNotFoundError as error:
        raise AccessError(gated if "gated" in str(error) else unreachable) from error
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise AccessError(unreachable) from error
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UcbenchError(f"{repository} cannot be read as a table ({reason})") from error
    for name, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    rows: list[Row] = list(table)
    return rows


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
    return (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else cell


def _plain(cell: object) -> str:
    """A cell as text, an empty one as empty text."""
    return "" if cell is None or cell != cell else str(cell)


def slug(name: str) -> str:
    """A name as an id: lower case, everything but letters and digits as a hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
