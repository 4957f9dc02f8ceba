"""Datasets of the Hub, at one commit: downloaded by `datasets`, or read as they are asked for.

No code of a dataset is run. Other columns than pictures are read whole, pictures one at a time: downloaded
ones lie in a memory map, streamed ones come from the dataset's Parquet files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ucbench.errors import AccessError, UcbenchError
from ucbench.tracks.parquet import ParquetTable, holds_pictures
from ucbench.tracks.tables import Cell, Row

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_hub_id(text: str) -> bool:
    """Whether a text can name a dataset of the Hub: `owner/name`, or `owner/name@revision`."""
    return _HUB_ID.fullmatch(text) is not None


def read(source: str, split: str, *, stream: bool = False) -> tuple[list[Row], str]:
    """The rows of `owner/name[@revision]`, pictures as `Cell`, and the commit they are of.

    Without a revision it is the main branch's commit; out of reach of the Hub, what was downloaded last.
    With `stream` nothing is downloaded but what is asked for, and no copy stays on the disk. Raises
    `AccessError` for what is gated or cannot be reached, `UcbenchError` for what is no such table.
    """
    found = _HUB_ID.fullmatch(source)
    if found is None:
        raise UcbenchError(f"{source!r} is no id of the Hub; write owner/name, or owner/name@revision")
    name, revision = found.groups()
    with _reaching(name):
        builder = _builder(name, revision)
        rows = _streamed(name, builder, split) if stream else _downloaded(name, builder, split)
    return rows, str(builder.hash)


def _builder(name: str, revision: str | None) -> DatasetBuilder:
    import datasets

    builder = datasets.load_dataset_builder(name, revision=revision)
    # Out of reach of the Hub the library takes what was downloaded last, whatever its revision.
    cached = builder.dataset_name == "cache" or type(builder).__module__.endswith("cache.cache")
    if cached and revision is not None and builder.hash != revision:
        raise AccessError(
            f"the Hub cannot be reached for {name} at {revision}, and what was downloaded is commit "
            f"{builder.hash}; check the network, or name that commit"
        )
    return builder


def _downloaded(name: str, builder: DatasetBuilder, split: str) -> list[Row]:
    import datasets

    builder.download_and_prepare()
    if split not in (builder.info.splits or {}):
        raise UcbenchError(f"{name} has no split {split}; it has {', '.join(builder.info.splits or ())}")
    table: Any = builder.as_dataset(split=split)
    pictures = [field.name for field in table.features.arrow_schema if holds_pictures(field.type)]
    # Columns by themselves, since rows would bring all pictures into memory.
    others = table.remove_columns(pictures)
    rows: list[Row] = list(others) if others.column_names else [{} for _ in range(len(table))]
    for key in pictures:
        column = table.select_columns([key])
        if isinstance(table.features[key], datasets.Image):
            column = column.cast_column(key, datasets.Image(decode=False))
        for number, row in enumerate(rows):
            row[key] = Cell(partial(_cell, column, number, key), _place(number, name))
    return rows


def _cell(column: Dataset, number: int, key: str) -> Any:
    return column[number][key]


def _streamed(name: str, builder: DatasetBuilder, split: str) -> list[Row]:
    files = dict(builder.config.data_files or {}).get(split) if builder.config.data_files else None
    if not files or not all(str(file).endswith(".parquet") for file in files):
        raise UcbenchError(
            f"{name} has no Parquet files of split {split} within reach, so it cannot be streamed; leave "
            "--stream out"
        )
    table = ParquetTable(name, [partial(_open, str(file)) for file in files], keep=True)
    rows: list[Row] = table.rows()
    for number, row in enumerate(rows):
        row[table.column] = Cell(partial(_fetch, table, number), _place(number, name))
    return rows


def _open(address: str) -> Any:
    """A file of the Hub, read in ranges as large as are asked for."""
    from huggingface_hub import HfFileSystem

    return HfFileSystem().open(address, cache_type="none")


def _fetch(table: ParquetTable, number: int) -> Any:
    with _reaching(table.name):
        return table.cell(number)


def _place(number: int, name: str) -> str:
    return f"the picture in row {number + 1} of {name}"


@contextmanager
def _reaching(name: str) -> Iterator[None]:
    """Errors of the libraries as sentences."""
    import datasets
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily

    try:
        yield
    except (GatedRepoError, datasets.exceptions.DatasetNotFoundError) as error:
        # The library reports a gated dataset as one that is not found, and says so in words alone.
        if isinstance(error, GatedRepoError) or "gated" in str(error):
            raise AccessError(
                f"{name} is gated; ask for access at https://huggingface.co/datasets/{name}, run "
                "`hf auth login` or set HF_TOKEN, then start the same command again"
            ) from error
        raise AccessError(
            f"the Hub has no dataset {name} that you can see; check the name and revision, run "
            "`hf auth login`, or name a local copy with --data"
        ) from error
    except (OSError, HfHubHTTPError, httpx.TransportError, datasets.exceptions.DatasetsError) as error:
        raise AccessError(
            f"cannot download {name}; check the network and start the same command again, or name a local "
            "copy with --data"
        ) from error
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UcbenchError(f"{name} cannot be read as a table ({reason})") from error
