"""Pictures of a dataset on the Hub, at one commit; the Hub's own cache holds what was downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ucbench.compile.sources import Item, one_by_one
from ucbench.compile.sources_parquet import picture_bytes
from ucbench.errors import AccessError, BadImageError, UcbenchError, UnknownNameError


class HubSource:
    """The rows of a dataset; a reference is `split/row`."""

    def __init__(
        self,
        name: str,
        *,
        image_column: str | None = None,
        split: str | None = None,
        revision: str | None = None,
    ) -> None:
        """Raises `AccessError` (gated, unreachable), `UnknownNameError`, `UcbenchError` (split, column)."""
        import datasets

        self._name = name
        self._revision = _commit(name, revision)
        splits = _load(name, self._revision)
        if split is not None and split not in splits:
            raise UcbenchError(f"{name} has no split {split!r}; --split takes {', '.join(splits)}")
        self._split = split
        kept = {key: part for key, part in splits.items() if split in (None, key)}
        self._column = _image_column(next(iter(kept.values())).features, image_column, name)
        # Bytes as they were published: decoding is ours, and the hash is of the file.
        self._parts = {
            key: part.select_columns([self._column]).cast_column(self._column, datasets.Image(decode=False))
            for key, part in kept.items()
        }

    def describe(self) -> dict[str, Any]:
        """Kind, name, commit, split and column."""
        return {
            "kind": "hub", "name": self._name, "revision": self._revision, "split": self._split,
            "image_column": self._column,
        }  # fmt: skip

    def items(self) -> Sequence[Item]:
        """All rows; the commit is their signature."""
        return [
            Item(f"{key}/{row}", self._revision)
            for key, part in self._parts.items()
            for row in range(len(part))
        ]

    def read(self, reference: str) -> bytes:
        """The bytes in one row."""
        split, _, row = reference.rpartition("/")
        part = self._parts.get(split)
        if part is None or not row.isdecimal() or int(row) >= len(part):
            raise BadImageError(
                f"{self._name} has no row {reference}; it is not the source of these candidates"
            )
        cell = part[int(row)][self._column]
        if cell and not cell.get("bytes") and cell.get("path"):
            # Datasets of loose files are kept as paths into the Hub's cache.
            try:
                return Path(cell["path"]).read_bytes()
            except OSError as error:
                raise BadImageError(f"{reference} cannot be read: {error.strerror}") from error
        content = picture_bytes(cell, reference)
        if isinstance(content, BadImageError):
            raise content
        return content

    def scan(self, references: Sequence[str]) -> Iterator[tuple[str, bytes | BadImageError]]:
        """Row by row: the rows lie in a memory map."""
        return one_by_one(self, references)


def _commit(name: str, revision: str | None) -> str:
    """The commit that a branch or tag stands for. A whole commit is not asked about."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily

    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except GatedRepoError as error:
        raise _gated(name) from error
    except RepositoryNotFoundError as error:
        raise UnknownNameError(
            f"there is no folder or file {name} here, and the Hub has no dataset of that name that you can "
            "see; check the name, or run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UnknownNameError(f"dataset {name} has no revision {revision} on the Hub") from error
    except (HfHubHTTPError, httpx.TransportError, OSError) as error:
        raise AccessError(
            f"there is no folder or file {name} here, and the Hub cannot be reached for a dataset of that "
            "name; check the path or the connection, or name a downloaded commit with --revision"
        ) from error


def _load(name: str, commit: str) -> dict[str, Any]:
    """All splits by name. No code of the dataset is run: the library has no such way any more."""
    from datasets import DatasetDict, load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError

    try:
        found = load_dataset(name, revision=commit)
    except Exception as error:  # The library raises many types for what strangers published.
        # The library reports a gated dataset as one that is not found, and says so in words alone.
        not_found = isinstance(error, DatasetNotFoundError)
        if isinstance(error, GatedRepoError) or (not_found and "gated" in str(error)):
            raise _gated(name) from error
        if not_found or isinstance(error, OSError):
            raise AccessError(
                f"dataset {name} at commit {commit[:7]} cannot be fetched: {_first_line(error)}; check the "
                "connection and your access, then start the same command again"
            ) from error
        raise UcbenchError(
            f"dataset {name} cannot be read: {_first_line(error)}; use its Parquet files"
        ) from error
    if not isinstance(found, DatasetDict) or not found:
        raise UcbenchError(f"dataset {name} has no split; use its files as a folder")
    return {str(split): part for split, part in found.items()}


def _gated(name: str) -> AccessError:
    return AccessError(
        f"{name} is gated; ask for access at https://huggingface.co/datasets/{name}, run `hf auth login` or "
        "set HF_TOKEN, then start the same command again"
    )


def _image_column(features: Any, wanted: str | None, name: str) -> str:
    import datasets

    fitting = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    if wanted is not None and wanted in fitting:
        return wanted
    if wanted is None and "image" in fitting:
        return "image"
    if wanted is None and len(fitting) == 1:
        return str(fitting[0])
    there = ", ".join(fitting) or "none"
    asked = f"no column {wanted!r} of pictures" if wanted else "no single column of pictures"
    raise UcbenchError(f"dataset {name} has {asked} (it has: {there}); choose with --image-column")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
