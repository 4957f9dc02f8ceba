"""Submitted models on this machine: fetched without a token, checked, kept as long as there is room.

The cache is one of huggingface_hub (`hub/`) beside an entry for each commit (`entries/`: its size, and
whether it is whole) and a lock for each (`locks/`), held as long as somebody uses it. Workers of one machine
share it: the one used longest ago goes first when room is needed, and never one that is in use.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ucbench.errors import StoreError
from ucbench.files import write_text
from ucbench.hub.worker.failure import JobError, is_of_the_machine
from ucbench.models.download import FILES

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: Of the patterns in `FILES`, only these kinds of file are ever fetched.
_KINDS = (".safetensors", ".json", ".txt", ".jinja", ".model")
#: More than any checkpoint has of either.
_MOST_FILES, _LARGEST_TEXT = 2000, 256 << 20
_TRIES = 5
#: Bytes of disk that are left to others.
_SPARE = 1 << 30


@dataclass(frozen=True, slots=True)
class File:
    """A file of a commit as the Hub tells it: `sha256` of large files, else the `blob` id of git."""

    path: str
    size: int
    blob: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Weights:
    """A commit on this machine, whole and checked."""

    model: str
    revision: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Cache:
    """The models of a machine. `limit` in bytes; `api` names the Hub, and its token is not used."""

    folder: Path
    limit: int
    api: HfApi
    pause: Callable[[float], object] = time.sleep

    @contextmanager
    def held(self, model: str, revision: str) -> Iterator[Weights]:
        """A commit of a model, there and safe from being thrown out until the block ends.

        Raises `JobError`: the repository or commit is gone, gated, too large, not what was asked for, or
        cannot be reached; `StoreError` when the disk is full.
        """
        entry = self._entry(model, revision)
        with self._lock(entry.stem) as lock:
            with self._alone():
                fcntl.flock(lock, fcntl.LOCK_SH)
                known = _read(entry)
                if whole := bool(known and known["whole"] and self._intact(model, revision, known)):
                    os.utime(entry)
            if not whole:
                self._fetch_patiently(model, revision, entry)
            yield Weights(model, revision, self._snapshot(model, revision))

    def _fetch_patiently(self, model: str, revision: str, entry: Path) -> None:
        """A hiccup of the Hub shall not cost the request an attempt."""
        for attempt in range(_TRIES):
            try:
                return self._fetch(model, revision, entry)
            except JobError as error:
                if error.reason != "download_failed" or attempt == _TRIES - 1:
                    raise
                self.pause(random.uniform(1, 2) * 2**attempt)
        return None

    def _fetch(self, model: str, revision: str, entry: Path) -> None:
        from huggingface_hub import snapshot_download

        files = self._listed(model, revision)
        size = sum(file.size for file in files)
        if size > self.limit:
            raise JobError(
                "too_large", f"{model} has {size / 1e9:.1f} GB, and {self.limit / 1e9:.1f} GB are allowed"
            )
        with self._alone():
            self._make_room(size, model, but=entry)
            write_text(entry, json.dumps({"model": model, "size": size, "whole": False}))
        for file in files:  # what was damaged here would pass for downloaded
            with suppress(JobError):
                _check(self._snapshot(model, revision) / file.path, file, model)
        with _explained(model, revision):
            snapshot_download(
                model,
                revision=revision,
                cache_dir=self._hub,
                allow_patterns=[glob.escape(file.path) for file in files],
                token=False,
                endpoint=self.api.endpoint,
            )
        for file in files:
            _check(self._snapshot(model, revision) / file.path, file, model)
        content = {
            "model": model,
            "revision": revision,
            "size": size,
            "whole": True,
            "files": {f.path: f.size for f in files},
        }
        write_text(entry, json.dumps(content))

    def _listed(self, model: str, revision: str) -> list[File]:
        """The files of the commit that an evaluation may need. Raises `JobError`."""
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported lazily
            filter_repo_objects,
        )

        with _explained(model, revision):
            info = self.api.model_info(model, revision=revision, files_metadata=True, token=False)
        if info.sha != revision:
            raise JobError("repo_changed", f"{model} was asked for {revision[:7]} and gave {info.sha}")
        if info.gated:
            raise JobError("gated", f"{model} asks for an account")
        told = {file.rfilename: file for file in info.siblings or []}
        wanted = [path for path in filter_repo_objects(told, allow_patterns=FILES) if _is_wanted(path)]
        if len(wanted) > _MOST_FILES:
            raise JobError("unsupported", f"{model} has {len(wanted)} files")
        found: list[File] = []
        for path in wanted:
            file = told[path]
            size, lfs = file.size, file.lfs
            if size is None:
                raise JobError("download_failed", f"the Hub does not tell the size of {path}")
            if not path.endswith(".safetensors") and size > _LARGEST_TEXT:
                raise JobError("unsupported", f"{path} of {model} has {size / 1e6:.0f} MB")
            found.append(File(path, size, file.blob_id, lfs.sha256 if lfs else None))
        return found

    def _make_room(self, size: int, model: str, *, but: Path) -> None:
        """Throw out what was used longest ago and is used by nobody, for the sake of `limit` and of the disk.

        Raises `JobError`, and `StoreError` when it is others who fill the disk.
        """
        entries = [path for path in (self.folder / "entries").glob("*.json") if path != but]
        entries.sort(key=lambda path: path.stat().st_mtime)
        sizes = {path: (_read(path) or {"size": 0})["size"] for path in entries}
        used, in_use = sum(sizes.values()), False
        for path in entries:
            if used + size <= self.limit and size <= self._free():
                return
            with self._lock(path.stem) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    in_use = True
                    continue
                self._throw_out(path)
                used -= sizes[path]
        free = self._free()
        if used + size <= self.limit and size <= free:
            return
        if in_use:
            raise JobError(
                "download_failed", "the disk of this worker is full of models in use", retryable=True
            )
        sizes_told = f"{model} has {size / 1e9:.1f} GB, and the disk has room for {max(0, free) / 1e9:.1f} GB"
        if size > shutil.disk_usage(self.folder).total:
            raise JobError("too_large", sizes_told)
        raise StoreError(f"{sizes_told}; make room in {self.folder}, or allow less with --cache-gb")

    def _free(self) -> int:
        disk = shutil.disk_usage(self.folder)
        return disk.free - min(_SPARE, disk.total // 20)

    def _throw_out(self, entry: Path) -> None:
        from huggingface_hub import scan_cache_dir

        folder, _, revision = entry.stem.rpartition("@")
        with suppress(OSError, ValueError):
            found = scan_cache_dir(self._hub)
            if any(r.commit_hash == revision for repo in found.repos for r in repo.revisions):
                found.delete_revisions(revision).execute()
        if not any((self._hub / folder / "snapshots").glob("*")):  # parts of files of a broken download
            shutil.rmtree(self._hub / folder, ignore_errors=True)
        entry.unlink()

    def _intact(self, model: str, revision: str, known: dict[str, Any]) -> bool:
        folder = self._snapshot(model, revision)
        try:
            return all((folder / path).stat().st_size == size for path, size in known["files"].items())
        except OSError:
            return False

    @property
    def _hub(self) -> Path:
        return self.folder / "hub"

    def _snapshot(self, model: str, revision: str) -> Path:
        return self._hub / _folder(model) / "snapshots" / revision

    def _entry(self, model: str, revision: str) -> Path:
        return self.folder / "entries" / f"{_folder(model)}@{revision}.json"

    @contextmanager
    def _lock(self, name: str) -> Iterator[int]:
        path = self.folder / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield handle
        finally:
            os.close(handle)  # which lets the lock go

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else looks at the entries or changes them meanwhile."""
        with self._lock("entries") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def show(weights: list[Weights], models: Path) -> None:
    """Make `models` a cache of the Hub that holds these commits, as `main` of their repositories, alone."""
    shutil.rmtree(models, ignore_errors=True)
    for one in weights:
        repository = models / _folder(one.model)
        (repository / "snapshots").mkdir(parents=True, exist_ok=True)
        (repository / "snapshots" / one.revision).symlink_to(one.folder.resolve())
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(one.revision, encoding="utf-8")


def _folder(model: str) -> str:
    return f"models--{model.replace('/', '--')}"


def _is_wanted(path: str) -> bool:
    parts = PurePosixPath(path).parts
    inside = not path.startswith("/") and ".." not in parts and "\\" not in path and "\x00" not in path
    return inside and path.endswith(_KINDS)


def _read(entry: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(entry.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"size", "whole"} <= content.keys() else None


def _check(path: Path, file: File, model: str) -> None:
    """Whether what came is what the commit holds. Raises `JobError`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            if file.sha256:
                same = hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
            else:
                # As git does: the kind and the size go into the hash.
                begin = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
                same = file.blob is None or _digest(begin, stream) == file.blob
    except OSError as error:
        raise JobError("download_failed", f"{file.path} of {model} did not arrive") from error
    if size != file.size or not same:
        path.resolve().unlink(missing_ok=True)  # the file itself, which would be taken for downloaded
        path.unlink(missing_ok=True)
        raise JobError("repo_changed", f"{file.path} of {model} does not have the content of its commit")


def _digest(begin: Any, stream: Any) -> str:
    while block := stream.read(1 << 20):
        begin.update(block)
    return str(begin.hexdigest())


@contextmanager
def _explained(model: str, revision: str) -> Iterator[None]:
    """Whatever a download can meet as a `JobError`."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily

    try:
        yield
    except GatedRepoError as error:
        raise JobError("gated", f"{model} asks for an account") from error
    except RevisionNotFoundError as error:
        raise JobError("repo_gone", f"{model} has no commit {revision[:7]} any more") from error
    except (RepositoryNotFoundError, EntryNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError):  # which says that the Hub did not answer
            raise JobError("download_failed", f"{model}: a file did not arrive") from error
        raise JobError("repo_gone", f"{model} is not there, or not public") from error
    except (HfHubHTTPError, httpx.TransportError, OSError, RuntimeError) as error:
        if is_of_the_machine(error):
            raise
        # The part of the client that is written in Rust knows no error but RuntimeError.
        # Offline mode and broken connections arrive as OSError.
        # An error of the system has a path of this machine in its text.
        text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0][:200]
        raise JobError("download_failed", f"{model}: {type(error).__name__}: {text}") from error
