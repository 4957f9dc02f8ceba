"""Embeddings on disk: Parquet parts, each written whole, so that a killed run goes on where it was.

    embeddings/part-000000.parquet    reference, signature, sha256, problem, embedding

A picture that cannot be read has a `problem` instead of hash and embedding. The schema's metadata names
model, revision and source: parts of another model are never mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ucbench.compile.clip import Floats
from ucbench.compile.sources import Item
from ucbench.errors import StoreError
from ucbench.files import alone, atomic_path

_KEY = b"ucbench"


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of one picture: hash and unit vector, or a problem."""

    item: Item
    sha256: str | None
    embedding: Floats | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The readable pictures of one part: their items, hashes and vectors [n, d]."""

    items: tuple[Item, ...]
    sha256: tuple[str, ...]
    embeddings: Floats


class EmbeddingStore:
    """The parts in one folder, all of the same `identity` (model, revision, source)."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Raises `StoreError` when the folder holds parts of another identity or a damaged one."""
        self.folder, self._identity = folder, dict(identity)
        for path in self._paths():
            found = _identity_of(path)
            if found != self._identity:
                differs = [key for key in self._identity if found.get(key) != self._identity[key]]
                key = differs[0] if differs else "identity"
                raise StoreError(
                    f"{folder} holds embeddings of another {key} ({found.get(key)}, not "
                    f"{self._identity.get(key)}); choose another folder with --out or --embeddings"
                )

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the folder to one writer. Raises `StoreError` when another process has it."""
        busy = f"another process is writing to {self.folder}; wait for it to end"
        with alone(self.folder, busy, "choose another with --out", folder=True):
            yield

    def known(self) -> dict[Item, str | None]:
        """Every picture that was seen, and its problem if it could not be read."""
        found: dict[Item, str | None] = {}
        for path in self._paths():
            rows = _read(path, ["reference", "signature", "problem"]).to_pydict()
            for reference, signature, problem in zip(*rows.values(), strict=True):
                found[Item(reference, signature)] = problem
        return found

    def append(self, rows: Sequence[Embedded]) -> None:
        """Write a part. Raises `StoreError`; the parts before stay."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Not of fixed size: a part of unreadable pictures alone has no width.
        table = pa.table(
            {
                "reference": pa.array([row.item.reference for row in rows], pa.string()),
                "signature": pa.array([row.item.signature for row in rows], pa.string()),
                "sha256": pa.array([row.sha256 for row in rows], pa.string()),
                "problem": pa.array([row.problem for row in rows], pa.string()),
                "embedding": pa.array([row.embedding for row in rows], pa.list_(pa.float32())),
            }
        ).replace_schema_metadata({_KEY: json.dumps(self._identity)})
        paths = self._paths()
        number = int(paths[-1].stem.removeprefix("part-")) + 1 if paths else 0
        with atomic_path(self.folder / f"part-{number:06d}.parquet") as temporary:
            pq.write_table(table, temporary)

    def parts(self) -> Iterator[Part]:
        """The readable pictures, part by part in the order they were written."""
        import pyarrow.compute as pc

        for path in self._paths():
            table = _read(path, ["reference", "signature", "sha256", "embedding"])
            table = table.filter(pc.is_valid(table["sha256"]))
            if not table.num_rows:
                continue
            vectors = table["embedding"].combine_chunks()
            yield Part(
                tuple(map(Item, table["reference"].to_pylist(), table["signature"].to_pylist())),
                tuple(table["sha256"].to_pylist()),
                np.asarray(vectors.flatten()).reshape(table.num_rows, -1),
            )


def _identity_of(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = json.loads((pq.read_schema(path).metadata or {})[_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise StoreError(f"{path} is damaged; remove it, its pictures are embedded again") from error
    return dict(found)


def _read(path: Path, columns: list[str]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is damaged; remove it, its pictures are embedded again") from error
