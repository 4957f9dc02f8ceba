"""What earlier builds of a board computed, kept so that one more run does not cost all of it again.

Resampling is what a build spends its time on: profiles of entries, comparisons of pairs, scores over joined
or cut-down runs. Each is kept under a digest of the files that it was made from, and all of it under a digest
of this package's own files: when anything changed, it is computed anew. Numbers are kept bit for bit, so a
build with a cache equals one from scratch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from ucbench.errors import StoreError
from ucbench.files import atomic_path, write_text
from ucbench.record import RunRecord, ScoreMap
from ucbench.runs import RECORD, Run

if TYPE_CHECKING:
    import pyarrow as pa

    from ucbench.metrics.categories import Images
    from ucbench.metrics.compare import Margin, Profile

_SCORES = TypeAdapter(ScoreMap)


def caches() -> Path:
    """The folder of everything that can be computed again: UCBENCH_CACHE, or the user's own."""
    own = os.environ.get("UCBENCH_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ucbench"


@cache
def _ours() -> str:
    """A digest of what the numbers depend on beside the runs: our code, and what it counts with."""
    total = hashlib.sha256(" ".join(version(name) for name in ("numpy", "pandas", "pyarrow")).encode())
    package = Path(__file__).parent
    for path in sorted(path for kind in ("*.py", "*.yaml") for path in package.rglob(kind)):
        total.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def digest_of(*parts: str) -> str:
    """32 hex digits over some texts, in order."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def content(*paths: Path) -> str:
    """32 hex digits over the content of files, in order. Raises `StoreError`."""
    try:
        return digest_of(*(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths))
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error


class BoardCache:
    """A folder of what was computed, for one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _ours()[:16]
        if folder.is_dir():
            for other in folder.iterdir():
                if other != self._folder:  # of another version of ours
                    shutil.rmtree(other, ignore_errors=True)
        self._pairs = _Pairs(self._folder / "pairs.jsonl")
        self._records: dict[str, RunRecord] = {}
        self._tables: dict[str, pa.Table] = {}
        self._used: set[str] = set()

    def record(self, run: Run) -> RunRecord:
        """The run's record, parsed once for each content. Raises `StoreError`."""
        key = content(run.folder / RECORD)
        if key not in self._records:
            self._records[key] = run.record()
        self._used.add(key)
        return self._records[key]

    def table(self, key: str, make: Callable[[], pa.Table]) -> pa.Table:
        """A table that was made from one record, in memory only."""
        if key not in self._tables:
            self._tables[key] = make()
        self._used.add(key)
        return self._tables[key]

    def scores(self, key: str, make: Callable[[], ScoreMap]) -> ScoreMap:
        """Scores that needed resampling."""
        path = self._path("scores", key, ".json")
        try:
            return _SCORES.validate_json(path.read_bytes())
        except (OSError, ValidationError):
            made = make()
            write_text(path, _SCORES.dump_json(made).decode())
            return made

    def cut(self, key: str, make: Callable[[], RunRecord]) -> RunRecord:
        """The record of a run cut down to some of its items."""
        path = self._path("cut", key, ".json")
        try:
            return RunRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            made = make()
            write_text(path, made.to_json())
            return made

    def known(self, contents: Mapping[str, str]) -> KnownPairs:
        """For `rank_intervals`: `contents` has the digest of each entry's answers and verdicts."""
        return KnownPairs(contents, self, self._pairs)

    def profile(self, key: str, make: Callable[[], Profile]) -> Profile:
        """An entry's resampled score."""
        path = self._path("profiles", key, ".npz")
        try:
            return _read_profile(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            made = make()
            _write_profile(path, made)
            return made

    def images(self, key: str, make: Callable[[], Images | None]) -> Images | None:
        """An entry's answers summed by image; None where it was not asked both sides."""
        path = self._path("images", key, ".npz")
        try:
            return _read_images(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            made = make()
            _write_images(path, made)
            return made

    def finish(self) -> None:
        """Write what was learned and drop what this build did not use. Raises `StoreError`."""
        self._pairs.write()
        for kind in ("scores", "cut", "profiles", "images"):
            for path in (self._folder / kind).glob("*"):
                if path.name not in self._used:
                    path.unlink(missing_ok=True)
        self._records = {key: value for key, value in self._records.items() if key in self._used}
        self._tables = {key: value for key, value in self._tables.items() if key in self._used}
        self._used = set()

    def _path(self, kind: str, key: str, ending: str) -> Path:
        self._used.add(f"{key}{ending}")
        return self._folder / kind / f"{key}{ending}"

    def keep_profile(self, key: str) -> None:
        """The profile is of use to later builds, though this one did not need it."""
        self._used.add(f"{key}.npz")


@dataclass(frozen=True, slots=True)
class KnownPairs:
    """`ucbench.metrics.compare.Known` for the rows of one ranking."""

    contents: Mapping[str, str]
    cache: BoardCache
    pairs: _Pairs

    def profile(self, name: str, make: Callable[[], Profile]) -> Profile:
        """From its file, by `make` where there is none."""
        return self.cache.profile(self.contents[name], make)

    def pair(self, first: str, second: str, make: Callable[[], Margin]) -> Margin:
        """From the file of pairs, by `make` where it is not there."""
        for name in (first, second):
            self.cache.keep_profile(self.contents[name])
        return self.pairs.get(self.contents[first] + self.contents[second], make)


class _Pairs:
    """`pairs.jsonl`: [key, lead, p] a line; JSON keeps every bit of a number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[str, tuple[float, float]] | None = None
        self._used: dict[str, tuple[float, float]] = {}
        self._fresh = False

    def get(self, key: str, make: Callable[[], Margin]) -> Margin:
        from ucbench.metrics.compare import Margin

        told = self._read()
        if key not in told:
            made = make()
            told[key] = (made.lead, made.p)
            self._fresh = True
        self._used[key] = told[key]
        return Margin(*told[key])

    def write(self) -> None:
        if self._fresh or len(self._read()) > 2 * len(self._used) + 1000:
            write_text(self._path, "".join(json.dumps([k, *v]) + "\n" for k, v in self._used.items()))
            self._told = self._used
        self._used, self._fresh = {}, False

    def _read(self) -> dict[str, tuple[float, float]]:
        if self._told is None:
            try:
                lines = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
                self._told = {str(key): (float(lead), float(p)) for key, lead, p in lines}
            except (OSError, ValueError, TypeError):
                self._told = {}
        return self._told


def _write_profile(path: Path, profile: Profile) -> None:
    import numpy as np

    terms = profile.terms
    arrays = {"asked": np.array(profile.asked), "clusters": np.array(terms.clusters)}
    arrays["weights"] = np.array(terms.weights, dtype=float)
    for n, estimate in enumerate(terms.estimates):
        for field in fields(estimate):
            value = getattr(estimate, field.name)
            if value is not None:
                arrays[f"{n}_{field.name}"] = np.asarray(value)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _read_profile(path: Path) -> Profile:
    import numpy as np

    from ucbench.metrics.compare import Profile, Terms
    from ucbench.metrics.intervals import Estimate

    with np.load(path, allow_pickle=False) as arrays:
        weights: list[float] = arrays["weights"].tolist()
        estimates = [
            Estimate(*(arrays.get(f"{n}_{field.name}") for field in fields(Estimate)))
            for n in range(len(weights))
        ]
        return Profile(str(arrays["asked"]), Terms(weights, estimates, int(arrays["clusters"])))


def _write_images(path: Path, images: Images | None) -> None:
    import numpy as np

    arrays = {} if images is None else {f.name: np.asarray(getattr(images, f.name)) for f in fields(images)}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, both=np.array(images is not None), **arrays)  # type: ignore[arg-type]


def _read_images(path: Path) -> Images | None:
    import numpy as np

    from ucbench.metrics.categories import Images

    with np.load(path, allow_pickle=False) as arrays:
        if not arrays["both"]:
            return None
        told = {field.name: arrays[field.name] for field in fields(Images) if field.name != "categories"}
        return Images(categories=tuple(map(str, arrays["categories"].tolist())), **told)
