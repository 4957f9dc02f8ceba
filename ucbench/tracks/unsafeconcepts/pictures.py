"""Where the official pictures are: a folder, Parquet files, or the Hub. None is opened here.

Raises `UcbenchError` for what is not of a published layout, `AccessError` for what cannot be reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.errors import AccessError, BadImageError, UcbenchError
from ucbench.images import FileImage
from ucbench.tracks.tables import picture
from ucbench.tracks.unsafeconcepts.metadata import IMAGES, METADATA, PERCEPTION, picture_id

if TYPE_CHECKING:
    from PIL import Image

    from ucbench.types import ImageSource

HUB, SPLIT = "yiting/UnsafeConcepts", "train"

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture in a table; its bytes are read when it is loaded and not kept."""

    read: Callable[[], Any]
    name: str

    def load(self) -> Image.Image:
        """Return the picture in RGB. Raises `BadImageError`."""
        return picture(self.read(), self.name).load()


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures by id, in the data's order, and the table's other columns, a row a picture.

    `metadata` and `perception` are the files that lie beside the pictures.
    """

    name: str
    pictures: Mapping[str, ImageSource]
    rows: Sequence[Mapping[str, Any]]
    metadata: Path | None = None
    perception: Path | None = None


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


def find(data: str | None = None) -> Found:
    """The pictures in `data`: a folder, a Parquet file or a Hub id; by default the official dataset."""
    name = data or HUB
    path = Path(name)
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        return _from_parquet(path, files) if files else _from_folder(path)
    if path.suffix == ".parquet" and path.is_file():
        return _from_parquet(path, [path])
    if path.exists():
        raise UcbenchError(f"{path} is no folder and no Parquet file; --data takes one, or a Hub id")
    if not _HUB_ID.fullmatch(name):
        raise UcbenchError(f"there is no folder {path}; --data takes a folder, or a Hub id (owner/name)")
    return _from_hub(name)


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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.concat_tables([pq.read_table(file) for file in files], promote_options="default")
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise UcbenchError(f"{place} cannot be read as Parquet ({reason}); fetch it again") from error
    if "image" not in table.column_names:
        raise UcbenchError(f"{place} has no column image; it has {', '.join(table.column_names)}")
    images = table.column("image")
    rows = table.drop_columns(["image"]).to_pylist() if table.num_columns > 1 else [{}] * table.num_rows
    folder = place if place.is_dir() else place.parent
    # as_py() of one cell copies that picture's bytes alone.
    cells = [images[row].as_py for row in range(len(images))]
    return _table(place.name, cells, rows, _beside(folder, METADATA), _beside(folder, PERCEPTION))


def _from_hub(name: str) -> Found:
    """A dataset on the Hub, downloaded and mapped into memory by `datasets`; no code of it is run."""
    import datasets
    from huggingface_hub.errors import GatedRepoError

    try:
        table = datasets.load_dataset(name, split=SPLIT)
    except (GatedRepoError, datasets.exceptions.DatasetNotFoundError) as error:
        if isinstance(error, GatedRepoError) or "gated" in str(error):
            raise AccessError(
                f"{name} is gated; ask for access at https://huggingface.co/datasets/{name}, run "
                "`hf auth login` or set HF_TOKEN, then start the same command again"
            ) from error
        raise AccessError(
            f"the Hub has no dataset {name} that you can see; check the name, run `hf auth login`, or name "
            "a local copy with --data"
        ) from error
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise AccessError(
            f"cannot download {name}; check the network, or name a local copy with --data"
        ) from error
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UcbenchError(f"{name} cannot be read as a dataset with split {SPLIT} ({reason})") from error
    if "image" not in table.features:
        raise UcbenchError(f"{name} has no column image; it has {', '.join(table.features)}")
    table = table.cast_column("image", datasets.Image(decode=False))
    # Columns by themselves, since rows would bring all pictures into memory.
    others = table.remove_columns("image")
    rows = list(others) if others.column_names else [{}] * len(table)
    cells = [lambda row=row: table[row]["image"] for row in range(len(table))]
    return _table(name, cells, rows, None, None)


def _table(
    name: str,
    cells: Sequence[Callable[[], Any]],
    rows: Sequence[Mapping[str, Any]],
    metadata: Path | None,
    perception: Path | None,
) -> Found:
    """Picture i of the dataset is `images/<id>.png`, where the id is i unless a column says otherwise."""
    pictures: dict[str, ImageSource] = {}
    for number, (cell, row) in enumerate(zip(cells, rows, strict=True)):
        own = row.get("id")
        id_ = f"{IMAGES}/{number if own is None else own}.png"
        if id_ in pictures:
            raise UcbenchError(f"{name} has two pictures with the id {own}; fetch it again")
        pictures[id_] = Cell(cell, f"the picture in row {number + 1} of {name}")
    return Found(name, pictures, rows, metadata, perception)


def _beside(folder: Path, name: str) -> Path | None:
    path = folder / name
    return path if path.is_file() else None
