"""Where pictures come from: a folder of pictures, Parquet files, a dataset of the Hub.

A picture is known by its `reference` within the source and read when it is needed; nothing is copied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ucbench.errors import BadImageError, StoreError, UcbenchError, UnknownNameError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class Item:
    """A picture of a source. `signature` changes when its bytes may have changed."""

    reference: str
    signature: str


class Source(Protocol):
    """A set of pictures in a fixed order."""

    def describe(self) -> dict[str, Any]:
        """What `reopen` needs to find the same pictures again; plain JSON."""
        ...

    def items(self) -> Sequence[Item]:
        """All pictures, none of them read."""
        ...

    def read(self, reference: str) -> bytes:
        """The bytes of one picture's file. Raises `BadImageError`."""
        ...

    def scan(self, references: Sequence[str]) -> Iterator[tuple[str, bytes | BadImageError]]:
        """Those pictures in their order, each with its bytes or with what is wrong with it."""
        ...


def open_source(
    name: str, *, image_column: str | None = None, split: str | None = None, revision: str | None = None
) -> Source:
    """Open a folder, a Parquet file or a Hub id. Raises a `UcbenchError` that says what is wrong.

    `image_column` is for tables, `split` (default: all) and `revision` for datasets of the Hub.
    """
    path = Path(name)
    if path.is_file() or path.is_dir():
        if split or revision:
            raise UcbenchError(
                f"{name} is on this machine; --split and --revision are for datasets of the Hub"
            )
        return _local(path.resolve(), image_column)
    if _HUB_ID.fullmatch(name):
        from ucbench.compile.sources_hub import HubSource

        return HubSource(name, image_column=image_column, split=split, revision=revision)
    raise UnknownNameError(
        f"there is no {name}; the source is a folder of pictures, a Parquet file or folder, "
        "or a dataset of the Hub (owner/name)"
    )


def reopen(description: Mapping[str, Any], name: str | None = None) -> Source:
    """The source of an earlier `describe`, or its copy at another place `name`. Raises like `open_source`."""
    return open_source(
        name or str(description["name"]),
        image_column=description.get("image_column"),
        split=None if name and Path(name).exists() else description.get("split"),
        revision=None if name else description.get("revision"),
    )


def _local(path: Path, image_column: str | None) -> Source:
    from ucbench.compile.sources_parquet import ParquetSource

    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise UcbenchError(
                f"{path} is no Parquet file; a source is a folder, a .parquet file or a Hub id"
            )
        return ParquetSource(path, [path], image_column)
    files = list(_walk(path))
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    tables = [file for file in files if file.suffix.lower() == ".parquet"]
    if pictures and tables:
        raise UcbenchError(
            f"{path} holds pictures and Parquet files; name the folder or the file of one of them"
        )
    if tables:
        return ParquetSource(path, tables, image_column)
    if not pictures:
        raise UcbenchError(
            f"{path} holds no picture ({', '.join(sorted(SUFFIXES))}) and no Parquet file; "
            "name another folder"
        )
    return FolderSource(path, pictures)


def _walk(folder: Path) -> Iterator[Path]:
    """All files below in the order of their names; neither hidden ones nor links to folders are followed."""

    def failed(error: OSError) -> None:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}; make it readable or move it away")

    for place, folders, names in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


class FolderSource:
    """The pictures below a folder; a reference is the path from there."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self._folder, self._files = folder, files

    def describe(self) -> dict[str, Any]:
        """Kind and place."""
        return {"kind": "folder", "name": str(self._folder)}

    def items(self) -> Sequence[Item]:
        """The files, with size and time of change as signature."""
        return [Item(self._reference(file), _signature(file)) for file in self._files]

    def _reference(self, file: Path) -> str:
        # A name that is no UTF-8 could not be written down.
        return (
            file.relative_to(self._folder)
            .as_posix()
            .encode("utf-8", "surrogateescape")
            .decode("utf-8", "backslashreplace")
        )

    def read(self, reference: str) -> bytes:
        """The file's bytes; a reference never leads out of the folder."""
        relative = PurePosixPath(reference)
        if relative.is_absolute() or ".." in relative.parts:
            raise BadImageError(f"{reference} leads out of {self._folder}; the list of candidates is damaged")
        try:
            return (self._folder / relative).read_bytes()
        except OSError as error:
            raise BadImageError(f"{reference} cannot be read: {error.strerror}") from error

    def scan(self, references: Sequence[str]) -> Iterator[tuple[str, bytes | BadImageError]]:
        """One file after the other."""
        return one_by_one(self, references)


def one_by_one(source: Source, references: Sequence[str]) -> Iterator[tuple[str, bytes | BadImageError]]:
    """`scan` for sources where any picture is as near as the next."""
    for reference in references:
        try:
            yield reference, source.read(reference)
        except BadImageError as error:
            yield reference, error


def _signature(file: Path) -> str:
    try:
        state = file.stat()
    except OSError:  # a link to nowhere; reading it says so
        return "missing"
    return f"{state.st_size}-{state.st_mtime_ns}"
