"""A repository of the Hub as something to publish to: what is there already is left out, then one commit.

Committing the same again changes nothing, so a command that was cut off can simply be started again. Where
the outcome of an attempt is unknown, the next one finds what has landed by its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit

from ucbench.hub.retry import Patience, Pauses, in_words, nobody, patiently, status_of, watched
from ucbench.hub.store import HUB, Changes, ConflictError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

Kind = Literal["model", "dataset", "space"]
T = TypeVar("T")

#: So many others may come first before we give up.
_CONFLICTS = 30
#: Paths that one request asks about.
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a publication: the page to look at, and how many files were new or different.

    `proposed`: in a pull request, which somebody has to merge.
    """

    url: str
    changed: int
    proposed: bool = False


class Repository:
    """The repository `repo_id` of that kind, as the account of the token sees it.

    Methods raise `AccessError` and its kinds where the Hub refuses or cannot be reached.
    """

    def __init__(
        self, kind: Kind, repo_id: str, *, patience: Patience | None = None, api: HfApi | None = None
    ) -> None:
        from huggingface_hub import HfApi, constants

        self.kind, self.id = kind, repo_id
        self._patience = patience or Patience()
        self.api = api or HfApi(endpoint=constants.ENDPOINT, library_name="ucbench")
        self._endpoint = self.api.endpoint.rstrip("/")
        self._host = urlsplit(self._endpoint).netloc

    @property
    def name(self) -> str:
        """How people name it."""
        return f"{HUB}{self.id}" if self.kind == "dataset" else self.id

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self._endpoint}/{'' if self.kind == 'model' else f'{self.kind}s/'}{self.id}"

    def account(self) -> str:
        """Who is logged in. Raises `AccessError` when nobody is."""
        from huggingface_hub.errors import LocalTokenNotFoundError

        try:
            return str(self.patiently(self.api.whoami)["name"])
        except Exception as error:
            if isinstance(error.__cause__, LocalTokenNotFoundError):
                raise nobody(self.url, self._host) from error
            raise

    def private(self) -> bool | None:
        """Whether it is private; None when there is no such repository."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        def ask() -> bool | None:
            try:
                return bool(self.api.repo_info(self.id, repo_type=self.kind).private)
            except GatedRepoError:
                raise
            except RepositoryNotFoundError:
                return None

        return self.patiently(ask)

    def create(self, *, private: bool) -> None:
        """Make it, where it is not there yet; a Space is one that builds our Dockerfile."""
        from huggingface_hub.errors import HfHubHTTPError

        sdk = "docker" if self.kind == "space" else None

        def make() -> None:
            try:
                self.api.create_repo(
                    self.id, repo_type=self.kind, private=private, exist_ok=True, space_sdk=sdk
                )
            except HfHubHTTPError as error:
                # An earlier attempt of ours may have landed though its answer was lost.
                if error.response.status_code != 409 or self.private() is None:
                    raise

        self.patiently(make)

    def read(self, path: str) -> bytes | None:
        """A file's content on `main`, None when it is not there."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        def fetch() -> bytes | None:
            try:
                place = self.api.hf_hub_download(self.id, path, repo_type=self.kind)
            except RemoteEntryNotFoundError:  # and not: nobody could be asked
                return None
            return Path(place).read_bytes()

        return self.patiently(fetch)

    def has(self, *paths: str) -> list[str]:
        """Those of the paths that there is a file at on `main`."""
        return sorted(self._there(paths, "main"))

    def files(self) -> list[str]:
        """All paths on `main`."""
        return sorted(self.patiently(lambda: self.api.list_repo_files(self.id, repo_type=self.kind)))

    def publish(self, changes: Changes, title: str) -> Landed:
        """Bring these files to `main` in one commit, those left out that are there already."""
        changed = self._commit("main", changes, title, create_pr=False)
        return Landed(self.url, changed)

    def propose(self, changes: Changes, title: str, text: str) -> Landed:
        """Open a pull request with these files, or bring the one that is open under this title up to date."""
        number = self._open(title)
        if number is None:
            return self.propose_once(changes, title, text)
        changed = self._commit(f"refs/pr/{number}", changes, title, create_pr=False)
        return Landed(f"{self.url}/discussions/{number}", changed, proposed=True)

    def propose_once(self, changes: Changes, title: str, text: str) -> Landed:
        """Open a pull request with these files; one that is open under this title stays as it is."""
        changed = 0
        if (number := self._open(title)) is None:
            changed = self._commit("main", changes, title, create_pr=True, text=text)
            number = self._open(title)
        return Landed(f"{self.url}/discussions/{number}", changed, proposed=True)

    def pending(self, changes: Changes, revision: str = "main") -> dict[str, bytes | Path | None]:
        """Those changes that are not there yet."""
        there = self._there(sorted(changes), revision)
        return {path: content for path, content in changes.items() if not _same(content, there.get(path))}

    def patiently(self, call: Callable[[], T]) -> T:
        """The result of a call that may be made again."""
        done: T = patiently(call, self._patience, self.name, self._host)
        return done

    def _there(self, paths: Sequence[str], revision: str) -> dict[str, RepoFile]:
        from huggingface_hub import RepoFile

        found: dict[str, RepoFile] = {}
        for start in range(0, len(paths), _AT_ONCE):
            some = list(paths[start : start + _AT_ONCE])

            def ask(some: list[str] = some) -> Any:
                return self.api.get_paths_info(self.id, some, repo_type=self.kind, revision=revision)

            found |= {info.path: info for info in self.patiently(ask) if isinstance(info, RepoFile)}
        return found

    def _open(self, title: str) -> int | None:
        """The number of our own open pull request of that title."""
        account = self.account()

        def ask() -> int | None:
            for each in self.api.get_repo_discussions(
                self.id, author=account, discussion_type="pull_request", repo_type=self.kind
            ):
                ours = each.is_pull_request and (each.author, each.title) == (account, title)
                if ours and each.status in ("open", "draft"):
                    return int(each.num)
            return None

        return self.patiently(ask)

    def _commit(self, revision: str, changes: Changes, title: str, *, create_pr: bool, text: str = "") -> int:
        """One commit of what is not there yet; the number of those files."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        pauses, conflicts, first = Pauses(self._patience), 0, 0
        while True:
            head = str(
                self.patiently(
                    lambda: self.api.repo_info(self.id, repo_type=self.kind, revision=revision).sha
                )
            )
            left = self.pending(changes, head)
            first = first or len(left)
            if not left:
                return first
            operations = [
                CommitOperationDelete(path)
                if content is None
                else CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
                for path, content in left.items()
            ]
            try:
                with watched(self._patience):
                    self.api.create_commit(
                        self.id,
                        operations,
                        commit_message=title,
                        commit_description=text or None,
                        repo_type=self.kind,
                        revision=revision,
                        create_pr=create_pr,
                        parent_commit=head,
                    )
                return first
            except Exception as error:
                if status_of(error) == 412:
                    conflicts += 1
                    if conflicts >= _CONFLICTS:
                        raise ConflictError(f"{self.name} is changed by others all the time") from error
                elif not pauses.after(error):
                    raise in_words(error, self.name, self._host) from error
                if create_pr and self._open(title) is not None:
                    return first  # it has landed


def _same(content: bytes | Path | None, there: RepoFile | None) -> bool:
    if content is None or there is None:
        return content is None and there is None
    if there.lfs is not None:
        return there.lfs.sha256 == _sha256(content)
    data = content if isinstance(content, bytes) else content.read_bytes()
    return there.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
