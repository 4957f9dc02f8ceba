"""Where the official pictures are: a folder, Parquet files, or the Hub. None is opened here.

Raises `UcbenchError` for what is not of a published layout, `AccessError` for what cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.errors import BadImageError, UcbenchError
from ucbench.images import FileImage
from ucbench.tracks import hub
from ucbench.tracks.parquet import ParquetTable
from ucbench.tracks.tables import Cell, contents
from ucbench.tracks.unsafeconcepts.metadata import IMAGES, METADATA, PERCEPTION, picture_id

if TYPE_CHECKING:
    from PIL import Image

    from ucbench.types import ImageSource

HUB, SPLIT = "yiting/UnsafeConcepts", "train"

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures by id, in the data's order, and the table's other columns, a row a picture.

    `metadata` and `perception` are the files that lie beside the pictures, `commit` that of the Hub.
    """

    name: str
    pictures: Mapping[str, ImageSource]
    rows: Sequence[Mapping[str, Any]]
    metadata: Path | None = None
    perception: Path | None = None
    commit: str | None = None

    def identity(self, ids: Sequence[str]) -> str | None:
        """What tells these pictures from all others; None where they were not looked for.

        The Hub's commit; for files here a digest of the bytes of each picture in this order, which reads
        them all, one at a time.
        """
        if self.commit is not None:
            return f"hub-{self.commit[:12]}"
        chosen = [self.pictures[id_] for id_ in ids]
        if any(isinstance(picture, Unseen) for picture in chosen):
            return None
        return f"files-{contents(chosen)}"


@dataclass(frozen=True, slots=True)
class Unseen:
    """A picture that was not looked for, as answers to its questions come from elsewhere."""

    name: str

    def load(self) -> Image.Image:
        """Raises `BadImageError`."""
        raise BadImageError(f"{self.name} was not looked for; name the pictures with --data")


def unseen(name: str, ids: Sequence[str]) -> Found:
    """Pictures of which only the ids are known."""
    return Found(name, {id_: Unseen(id_) for id_ in ids}, ())


def find(data: str | None = None, *, stream: bool = False) -> Found:
    """The pictures in `data`: a folder, a Parquet file or a Hub id; by default the official dataset.

    `stream` reads a dataset of the Hub as it is asked for, and keeps no copy of it.
    """
    name = data or HUB
    path = Path(name)
    if stream and path.exists():
        raise UcbenchError(f"--stream is for data on the Hub, and {path} is here; leave --stream out")
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        return _from_parquet(path, files) if files else _from_folder(path)
    if path.suffix == ".parquet" and path.is_file():
        return _from_parquet(path, [path])
    if path.exists():
        raise UcbenchError(f"{path} is no folder and no Parquet file; --data takes one, or a Hub id")
    if not hub.is_hub_id(name):
        raise UcbenchError(f"there is no folder {path}; --data takes a folder, or a Hub id (owner/name)")
    return _from_hub(name, stream=stream)


def _from_folder(folder: Path) -> Found:
    inner = folder / IMAGES
    place = inner if inner.is_dir() else folder
    files = sorted(path for path in place.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise UcbenchError(
            f"{folder} holds neither {IMAGES}/0.png and so on nor Parquet files; give the dataset's folder"
        )
    pictures: dict[str, ImageSource] = {picture_id(path.name): FileImage(path) for path in files}
    return Found(str(folder), pictures, (), _beside(folder, METADATA), _beside(folder, PERCEPTION))


def _from_parquet(place: Path, files: Sequence[Path]) -> Found:
    table = ParquetTable(str(place), files)
    cells = [
        Cell(partial(table.cell, row), f"the picture in row {row + 1} of {place.name}")
        for row in range(len(table))
    ]
    folder = place if place.is_dir() else place.parent
    return _table(place.name, cells, table.rows(), _beside(folder, METADATA), _beside(folder, PERCEPTION))


def _from_hub(name: str, *, stream: bool) -> Found:
    rows, commit = hub.read(name, SPLIT, stream=stream)
    if rows and not isinstance(rows[0].get("image"), Cell):
        raise UcbenchError(f"{name} has no column image of pictures; it has {', '.join(rows[0])}")
    cells = [row.pop("image") for row in rows]
    return _table(name, cells, rows, None, None, commit)


def _table(
    name: str,
    cells: Sequence[Cell],
    rows: Sequence[Mapping[str, Any]],
    metadata: Path | None,
    perception: Path | None,
    commit: str | None = None,
) -> Found:
    """Picture i of the dataset is `images/<id>.png`, where the id is i unless a column says otherwise."""
    pictures: dict[str, ImageSource] = {}
    for number, (cell, row) in enumerate(zip(cells, rows, strict=True)):
        own = row.get("id")
        id_ = f"{IMAGES}/{number if own is None else own}.png"
        if id_ in pictures:
            raise UcbenchError(f"{name} has two pictures with the id {own}; fetch it again")
        pictures[id_] = cell
    return Found(name, pictures, rows, metadata, perception, commit)


def _beside(folder: Path, name: str) -> Path | None:
    path = folder / name
    return path if path.is_file() else None
