"""A store in a dataset repository of the Hugging Face Hub; its heads are the commits of `main`.

Reading goes by the tree of one commit, and contents by their hashes: what has not changed is not fetched
again, by any process of this machine. Small contents are kept in the folder of caches, large ones are for
those who read them to keep. No token is ever written anywhere.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from ucbench.errors import StoreError, UcbenchError
from ucbench.files import atomic_path
from ucbench.hub.retry import Patience, Pauses, in_words, nobody, patiently, status_of, watched
from ucbench.hub.store import (
    HUB,
    Changes,
    ConflictError,
    ForbiddenError,
    MissingError,
    OfflineError,
    check_path,
)

if TYPE_CHECKING:
    from httpx2 import Response
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

T = TypeVar("T")

_HEAD = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
#: Contents up to so many bytes are kept on disk, for so many days.
KEPT_SIZE, KEPT_DAYS = 4_000_000, 30
#: Trees of so many heads are kept in memory.
_TREES = 8
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _File:
    """A file in a tree: git's hash of it, or of the pointer to a large one, which has a hash of its own."""

    oid: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of `main`: who made it, under what title; `before` is the one that it came after."""

    id: str
    authors: tuple[str, ...]
    title: str
    before: str | None


class DatasetStore:
    """The store `hf://datasets/<repo_id>`. Safe to share between threads.

    Everything may raise `OfflineError`, also under HF_HUB_OFFLINE and when the Hub asks to wait for long, and
    `AccessError`. endpoint, token: as of huggingface_hub by default (HF_ENDPOINT, HF_TOKEN, `hf auth login`).
    cache: where contents are kept, the user's folder for caches by default (UCBENCH_CACHE). Hidden files are
    not seen, nor those whose names are no paths of a store.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        cache: Path | None = None,
        patience: Patience | None = None,
    ) -> None:
        if not _REPO.fullmatch(repo_id):
            raise StoreError(f"{HUB}{repo_id} is no store; give {HUB}OWNER/NAME")
        from huggingface_hub import HfApi, constants

        self._id, self._token = repo_id, token
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._host = urlsplit(self._endpoint).netloc
        self._api = HfApi(endpoint=self._endpoint, token=token, library_name="ucbench")
        self._patience = patience or Patience()
        self._blobs = self._folder(cache)
        self._trees: OrderedDict[tuple[str, str], dict[str, _File]] = OrderedDict()
        self._lock = Lock()
        self._name: str | None = None
        self._pruned = False

    @property
    def address(self) -> str:
        """`hf://datasets/OWNER/NAME`."""
        return HUB + self._id

    def head(self) -> str:
        """The latest commit of `main`, 40 hex digits."""

        def ask() -> str:
            sha = self._api.dataset_info(self._id, expand=["sha"]).sha
            if not sha:
                raise StoreError(f"{self._host} names no commit of {self.address}")
            return sha

        return self._patiently(ask)

    def paths(self, prefix: str = "", *, head: str | None = None) -> list[str]:
        """All paths that begin with `prefix`, sorted."""
        return sorted(self._tree(prefix, head or self.head()))

    def versions(self, prefix: str = "", *, head: str | None = None) -> dict[str, str]:
        """The paths, each with git's hash of its content."""
        files = self._tree(prefix, head or self.head())
        return {path: files[path].oid for path in sorted(files)}

    def read(self, path: str, *, head: str | None = None) -> bytes:
        """A file's content. Raises `MissingError`, `ConflictError` for a commit that is not there."""
        check_path(path)
        head = head or self.head()
        known = self._known(path.rpartition("/")[0], head)
        if known is None:
            return self._fetch(path, head)
        if path not in known:
            raise self._missing(path, head)
        return self._content(path, known[path], head)

    def read_all(self, prefix: str, *, head: str | None = None) -> dict[str, bytes]:
        """The contents of all files whose path begins with `prefix`, as of one head."""
        head = head or self.head()
        files = self._tree(prefix, head)
        found = {path: self._kept(file) for path, file in files.items()}
        missing = [path for path, content in found.items() if content is None]
        if missing:
            with ThreadPoolExecutor(min(_AT_ONCE, len(missing))) as pool:
                fetched = pool.map(lambda path: self._content(path, files[path], head), missing)
                found |= dict(zip(missing, fetched, strict=True))
        return {path: content for path, content in sorted(found.items()) if content is not None}

    def commit(self, changes: Changes, *, expected: str, message: str) -> str:
        """Change these files, all or none, and return the new head.

        Each commit carries a random mark in its description: after an attempt with unknown outcome the
        history is searched for it. Raises `ConflictError`, `MissingError`, `ForbiddenError`, `StoreError`,
        and `OfflineError` when the Hub stays away; only then it may have landed without our knowing.
        """
        for path in changes:
            check_path(path)
        if not changes or not _HEAD.fullmatch(expected):
            self._expect(expected)
            return expected
        mark = f"commit-mark: {secrets.token_hex(8)}"
        pauses, unknown = Pauses(self._patience), False
        while True:
            with watched(self._patience) as call:
                try:
                    oid = self._attempt(changes, expected, message, mark)
                    if call.committing or oid == expected:
                        return oid
                    # All contents are there already: the client has sent nothing and asked for no parent.
                    failure: Exception = ConflictError(f"the head is {oid}")
                except Exception as error:
                    failure = error
            status = status_of(failure)
            if status == 412 or isinstance(failure, ConflictError):
                if unknown and (landed := self._landed(mark, expected, message)):
                    return landed
                raise ConflictError(f"{self.address} has changed since {expected}") from failure
            unknown = unknown or (call.committing and (status is None or status == 408 or status >= 500))
            again = pauses.after(failure)
            if unknown and (landed := self._landed(mark, expected, message)):
                return landed
            if not again:
                raise self._refused(failure, changes, expected) from failure

    def whoami(self) -> str:
        """The account of the token. Raises `AccessError` without one."""
        from huggingface_hub.errors import LocalTokenNotFoundError

        if self._name is None:

            def ask() -> str:
                try:
                    return str(self._api.whoami()["name"])
                except LocalTokenNotFoundError as error:
                    raise nobody(self.address, self._host) from error

            self._name = self._patiently(ask)
        return self._name

    def time(self) -> datetime | None:
        """By the clock of the Hub."""
        answer = self._get(f"{self._endpoint}/api/datasets/{self._id}")
        try:
            return parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
        except (KeyError, ValueError):
            return None

    # History

    def last_change(self, path: str, *, head: str) -> Commit | None:
        """The commit that last changed a file, as of `head`; None where there is no such file."""
        self._check_head(head)

        def ask() -> Any:
            return self._api.get_paths_info(self._id, [path], expand=True, revision=head, repo_type="dataset")

        for info in self._patiently(ask):
            if info.last_commit is None:
                raise StoreError(
                    f"{self._host} does not tell who changed {path} of {self.address}; is it a Hub?"
                )
            return next(self.commits(head=str(info.last_commit.oid)), None)
        return None

    def commits(self, *, head: str) -> Iterator[Commit]:
        """The commits up to `head`, newest first; asked for page by page."""
        self._check_head(head)
        known: dict[str, Any] | None = None
        for page in self._pages(f"commits/{head}"):
            for following in page:
                if known is not None:
                    yield _commit(known, str(following["id"]))
                known = following
        if known is not None:
            yield _commit(known, None)

    # Reading

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, self._patience, self.address, self._host)

    def _get(self, url: str, params: dict[str, str] | None = None) -> Response:
        from huggingface_hub import get_session
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported lazily
            build_hf_headers,
            hf_raise_for_status,
        )

        def get() -> Response:
            headers = build_hf_headers(token=self._token, library_name="ucbench")
            answer = get_session().get(url, params=params, headers=headers)
            try:
                hf_raise_for_status(answer)
            except EntryNotFoundError as error:
                raise MissingError(f"there is nothing at {url}") from error
            return answer

        return self._patiently(get)

    def _pages(self, route: str, params: dict[str, str] | None = None) -> Iterator[list[dict[str, Any]]]:
        """The pages of a list of the Hub's API, each asked for when it is needed."""
        url: str | None = f"{self._endpoint}/api/datasets/{self._id}/{route}"
        while url:
            answer = self._get(url, params)
            yield answer.json()
            # The link to the next page holds the parameters already.
            url, params = answer.links.get("next", {}).get("url"), None

    def _known(self, folder: str, head: str) -> dict[str, _File] | None:
        """The tree of a folder, or of more, if it has been read before."""
        with self._lock:
            found = self._trees.get((head, ""))
            return self._trees.get((head, folder)) if found is None else found

    def _tree(self, prefix: str, head: str) -> dict[str, _File]:
        """The files whose path begins with `prefix`."""
        folder = prefix.rpartition("/")[0]
        known = self._known(folder, head)
        if known is None:
            known = self._list(folder, head)
            with self._lock:
                self._trees[head, folder] = known
                while len(self._trees) > _TREES:
                    self._trees.popitem(last=False)
        return {path: file for path, file in known.items() if path.startswith(prefix)}

    def _list(self, folder: str, head: str) -> dict[str, _File]:
        self._check_head(head)
        if folder and not _is_path(folder):
            return {}
        route = f"tree/{head}" + (f"/{quote(folder, safe='')}" if folder else "")
        found: dict[str, _File] = {}
        try:
            for page in self._pages(route, {"recursive": "true"}):
                for each in page:
                    if each["type"] == "file" and _is_path(each["path"]):
                        large = each.get("lfs") or {}
                        found[each["path"]] = _File(each["oid"], each["size"], large.get("oid"))
        except MissingError:
            return {}
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{self._host} does not tell the files of {self.address}; is it a Hub?"
            ) from error
        return found

    def _check_head(self, head: str) -> None:
        if not _HEAD.fullmatch(head):
            raise ConflictError(f"{head!r} is no head of {self.address}; read again")

    def _missing(self, path: str, head: str) -> MissingError:
        return MissingError(f"there is no {path} in {self.address} at {head[:7]}")

    def _fetch(self, path: str, head: str) -> bytes:
        self._check_head(head)
        url = f"{self._endpoint}/datasets/{self._id}/resolve/{head}/{quote(path)}"
        try:
            return bytes(self._get(url).content)
        except MissingError as error:
            raise self._missing(path, head) from error

    # Contents by their hashes

    def _folder(self, cache: Path | None) -> Path:
        from ucbench.board_cache import caches

        place = hashlib.sha256(f"{self._endpoint} {self._id}".encode()).hexdigest()[:12]
        return (cache or caches()) / "stores" / f"{self._id.replace('/', '--')}-{place}"

    def _content(self, path: str, file: _File, head: str) -> bytes:
        content = self._kept(file)
        if content is None:
            content = self._fetch(path, head)
            if not _is(file, content):
                raise StoreError(f"{path} of {self.address} did not arrive as it is; run this again")
            self._keep(file, content)
        return content

    def _kept(self, file: _File) -> bytes | None:
        """A content from the disk; None when it is not there or not whole."""
        if file.size > KEPT_SIZE:
            return None
        try:
            content = self._blob(file).read_bytes()
        except OSError:
            return None
        return content if _is(file, content) else None

    def _blob(self, file: _File) -> Path:
        digest = file.sha256 or file.oid
        return self._blobs / digest[:2] / digest

    def _keep(self, file: _File, content: bytes) -> None:
        if file.size > KEPT_SIZE:
            return
        # Where no cache can be written, everything works without.
        with suppress(StoreError, OSError):
            with atomic_path(self._blob(file)) as temporary:
                temporary.write_bytes(content)
            self._prune()

    def _prune(self) -> None:
        with self._lock:
            if self._pruned:
                return
            self._pruned = True
        oldest = time.time() - KEPT_DAYS * 86_400
        for each in self._blobs.glob("*/*"):
            with suppress(OSError):
                if each.stat().st_mtime < oldest:
                    each.unlink()

    # Committing

    def _attempt(self, changes: Changes, expected: str, message: str, mark: str) -> str:
        """One try; the head afterwards."""
        done = self._api.create_commit(
            self._id,
            _operations(changes),  # new ones each time: the client writes into them
            commit_message=message,
            commit_description=mark,
            repo_type="dataset",
            parent_commit=expected,
        )
        return str(done.oid)

    def _expect(self, expected: str) -> None:
        if (head := self.head()) != expected:
            raise ConflictError(f"{self.address} has changed: its head is {head}, not {expected}")

    def _landed(self, mark: str, expected: str, message: str) -> str | None:
        """The commit with that mark, among those after `expected`."""
        try:
            for page in self._pages("commits/main"):
                for commit in page:
                    if mark in f"{commit.get('title')}\n{commit.get('message')}":
                        return str(commit["id"])
                    if commit["id"] == expected:
                        return None
        except OfflineError as error:
            raise OfflineError(
                f"{error}; whether {message!r} has landed is not known, so look before doing it again"
            ) from error
        return None

    def _refused(self, failure: Exception, changes: Changes, expected: str) -> UcbenchError:
        """What to say when an attempt has failed for good."""
        from huggingface_hub.errors import EntryNotFoundError

        deleted = [path for path, content in changes.items() if content is None]
        if isinstance(failure, EntryNotFoundError) and deleted:
            self._expect(expected)
            gone = [path for path in deleted if path not in self.paths(path, head=expected)]
            return self._missing((gone or deleted)[0], expected)
        if status_of(failure) == 401:
            return ForbiddenError(
                f"nobody is logged in who may write to {self.address}; run `hf auth login` or set HF_TOKEN"
            )
        return in_words(failure, self.address, self._host)


def _operations(changes: Changes) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for path, content in changes.items():
        if content is None:
            operations.append(CommitOperationDelete(path, is_folder=False))
        elif isinstance(content, bytes):
            operations.append(CommitOperationAdd(path, content))
        elif content.is_file():
            operations.append(CommitOperationAdd(path, str(content)))
        else:
            raise StoreError(f"{content}, to be stored as {path}, is no file")
    return operations


def _commit(told: dict[str, Any], before: str | None) -> Commit:
    authors = tuple(str(author.get("user")) for author in told.get("authors") or [])
    return Commit(str(told["id"]), authors, str(told.get("title") or ""), before)


def _is_path(path: object) -> bool:
    """Whether others have given a file a name that is a path of a store."""
    try:
        return isinstance(path, str) and check_path(path) == path
    except StoreError:
        return False


def _is(file: _File, content: bytes) -> bool:
    """Whether a content is that of a file in a tree."""
    if file.sha256:
        return hashlib.sha256(content).hexdigest() == file.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.oid
