"""Reading a repository of the Hub in bounds: so many bytes, so many requests, so many seconds.

Whoever submits a model wrote what is read here, so nothing is taken to be small, well-formed or prompt.
Everything but the first look goes to one commit: a repository that changes meanwhile changes nothing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from ucbench.hub.gates.base import Limits, Refused, amount, quoted
from ucbench.hub.store import OfflineError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: What is asked of the Hub about a repository: neither its card nor its files, which may be large.
_FIELDS = ("sha", "private", "gated", "disabled", "tags", "safetensors")
_SHA = re.compile(r"[0-9a-f]{40}")
#: Answers that are worth asking again for, how often, and the longest wait.
_AGAIN, _ATTEMPTS, _LONGEST_WAIT = (408, 429, 500, 502, 503, 504), 4, 20.0
#: Bytes of one answer of the Hub's own, as a page of a list of files.
_PAGE = 1 << 22
_DEEPEST = 100

_BUSY = "nothing is wrong with the model; try again in a few minutes"
_SMALLER = "submit a repository that holds one checkpoint and little else"


@dataclass(frozen=True, slots=True)
class Info:
    """What the Hub says of a repository at a revision. `gated` is `auto`, `manual` or None."""

    id: str
    sha: str
    private: bool
    gated: str | None
    disabled: bool
    tags: tuple[str, ...]
    safetensors: Mapping[str, int]


class NotThere(Exception):  # noqa: N818 - an answer, not an error
    """The Hub has no such repository, revision or file; `what` is one of these words."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class NotAllowed(Exception):  # noqa: N818
    """The Hub does not let us read it."""


class Reader:
    """Reads model repositories with the token of `api`, if it has one."""

    def __init__(self, api: HfApi, limits: Limits, *, pause: Callable[[float], object] = time.sleep) -> None:
        self._api = api
        self._limits = limits
        self._pause = pause
        self._requests = 0
        self._bytes = 0
        self._until = time.monotonic() + limits.seconds
        self._kept: dict[tuple[str, str, str], bytes] = {}

    def info(self, model: str, revision: str | None) -> Info:
        """What the Hub says of a model. Raises `NotThere`, `NotAllowed`, `Refused`."""
        at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
        answer = self._api_json(f"/api/models/{model}{at}", {"expand": list(_FIELDS)})
        if not isinstance(answer, dict):
            _nonsense()
        sha, tags, counted = answer.get("sha"), answer.get("tags"), answer.get("safetensors")
        name = answer.get("id")
        gated = answer.get("gated")
        return Info(
            id=name if isinstance(name, str) else model,
            sha=sha if isinstance(sha, str) else "",
            private=bool(answer.get("private")),
            gated=("auto" if gated == "auto" else "manual") if gated else None,
            disabled=bool(answer.get("disabled")),
            tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
            safetensors=_counts(counted),
        )

    def branches(self, model: str) -> dict[str, str]:
        """Branches and tags with their commits; no pull requests."""
        answer = self._api_json(f"/api/models/{model}/refs", {})
        found: dict[str, str] = {}
        for kind in ("tags", "branches"):
            for ref in answer.get(kind, []) if isinstance(answer, dict) else []:
                if isinstance(ref, dict) and isinstance(ref.get("name"), str):
                    found[ref["name"]] = str(ref.get("targetCommit"))
        return found

    def commits(self, model: str) -> Iterator[str]:
        """The commits of the main branch, newest first, page by page; at most so many as the limits say."""
        seen = 0
        for page in self._pages(f"/api/models/{model}/commits/main", {}):
            for commit in page:
                if isinstance(commit, dict):
                    yield str(commit.get("id"))
            seen += len(page)
            if seen >= self._limits.commits or not page:
                return

    def files(self, model: str, sha: str) -> dict[str, int]:
        """All files of a commit with their sizes. Raises `Refused` when there are too many."""
        found: dict[str, int] = {}
        for page in self._pages(f"/api/models/{model}/tree/{sha}", {"recursive": "true"}):
            for entry in page:
                if isinstance(entry, dict) and entry.get("type") == "file":
                    size = entry.get("size")
                    found[str(entry.get("path"))] = size if isinstance(size, int) and size >= 0 else 0
            if len(found) > self._limits.files:
                raise Refused(f"it holds more than {self._limits.files:,} files", _SMALLER)
            if not page:
                break
        return found

    def text(self, model: str, sha: str, path: str, size: int, limit: int) -> str:
        """The text of a small file. Raises `Refused` when it is too large or no text."""
        content = self._file(model, sha, path, size, limit)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Refused(f"{quoted(path)} is no text", "save it in UTF-8 and push it again") from None

    def json(self, model: str, sha: str, path: str, size: int, limit: int) -> dict[str, Any]:
        """The object in a small JSON file. Raises `Refused`."""
        found = parse_json(self._file(model, sha, path, size, limit), path)
        if not isinstance(found, dict):
            raise Refused(
                f"{quoted(path)} holds no object",
                "save the checkpoint with save_pretrained and push it again",
            )
        return found

    def part(self, model: str, sha: str, path: str, start: int, length: int) -> bytes:
        """Bytes out of a large file, fewer where it ends. Raises `Refused`."""
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        with self._file_errors(path):
            # A server that does not know ranges sends the beginning, of which too much is read.
            content, status, _ = self._get(
                self._resolve(model, sha, path), {}, start + length, wanted, cut=True
            )
        return content[:length] if status == 206 else content[start : start + length]

    def _file(self, model: str, sha: str, path: str, size: int, limit: int) -> bytes:
        key = (model, sha, path)
        if key not in self._kept:
            if size > limit:
                raise _too_large(path, amount(size), limit)
            with self._file_errors(path):
                self._kept[key] = self._get(self._resolve(model, sha, path), {}, limit, what=path)[0]
        return self._kept[key]

    @contextmanager
    def _file_errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except NotThere:
            raise Refused(
                f"{quoted(path)} was listed, but is no longer there", "submit it again once it stays as it is"
            ) from None
        except NotAllowed:
            raise Refused(
                f"{quoted(path)} cannot be read", "open the repository to everybody, then submit it again"
            ) from None

    def _resolve(self, model: str, sha: str, path: str) -> str:
        return f"{self._api.endpoint}/{model}/resolve/{sha}/{quote(path)}"

    def _api_json(self, path: str, params: Mapping[str, Any]) -> Any:
        return _loads(self._get(f"{self._api.endpoint}{path}", params, _PAGE)[0])

    def _pages(self, path: str, params: Mapping[str, Any]) -> Iterator[list[Any]]:
        url: str | None = f"{self._api.endpoint}{path}"
        while url is not None:
            content, _, following = self._get(url, params, _PAGE)
            page = _loads(content)
            yield page if isinstance(page, list) else []
            if following and urlsplit(following).netloc != urlsplit(self._api.endpoint).netloc:
                _nonsense()
            url, params = following, {}

    def _get(
        self,
        url: str,
        params: Mapping[str, Any],
        limit: int,
        headers: Mapping[str, str] | None = None,
        *,
        what: str = "the Hub's answer",
        cut: bool = False,
    ) -> tuple[bytes, int, str | None]:
        """(content, status, address of the next page). `cut`: what is beyond the limit is left out.

        Raises `OfflineError` when the Hub cannot be reached or is too busy.
        """
        from huggingface_hub.errors import (
            DisabledRepoError,
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported lazily
            build_hf_headers,
            get_session,
            hf_raise_for_status,
            httpx,
        )

        # Compressed answers could be much larger than what is counted.
        asked = (
            build_hf_headers(token=self._api.token) | {"accept-encoding": "identity"} | dict(headers or {})
        )
        attempt = 0
        while True:
            attempt += 1
            self._count_request()
            wait = min(_LONGEST_WAIT, self._limits.wait * 2**attempt)
            silence = min(self._limits.silence, max(1.0, self._left()))
            try:
                with get_session().stream(
                    "GET",
                    url,
                    params=dict(params) or None,
                    headers=asked,
                    timeout=silence,
                    follow_redirects=True,
                ) as response:
                    if response.status_code in _AGAIN and attempt < _ATTEMPTS:
                        after = response.headers.get("retry-after", "")
                        wait = float(after) if after.isdecimal() else wait
                    else:
                        hf_raise_for_status(response)
                        content = self._body(response, limit, what, cut=cut)
                        return content, response.status_code, response.links.get("next", {}).get("url")
            except GatedRepoError as error:  # before RepositoryNotFoundError, whose subclass it is
                raise NotAllowed from error
            except DisabledRepoError as error:
                raise NotAllowed from error
            except RepositoryNotFoundError as error:
                raise NotThere("repository") from error
            except RevisionNotFoundError as error:
                raise NotThere("revision") from error
            except EntryNotFoundError as error:
                raise NotThere("file") from error
            except OfflineModeIsEnabled as error:
                raise OfflineError(
                    "the Hub is needed to look at a model, and HF_HUB_OFFLINE is set; unset it and try again"
                ) from error
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status in (401, 403):
                    raise NotAllowed from error
                if status == 404:
                    raise NotThere("repository") from error
                raise OfflineError(
                    f"the Hub at {self._api.endpoint} does not answer well (status {status}); {_BUSY}"
                ) from error
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    raise OfflineError(
                        f"the Hub at {self._api.endpoint} cannot be reached; check the connection, then try "
                        "again"
                    ) from error
            if wait > self._left():
                raise OfflineError(f"the Hub at {self._api.endpoint} is too busy; {_BUSY}")
            self._pause(wait)

    def _body(self, response: Any, limit: int, what: str, *, cut: bool) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            _nonsense()
        content = bytearray()
        for chunk in response.iter_raw():
            content += chunk
            self._bytes += len(chunk)
            if len(content) > limit:
                if cut:
                    break
                raise _too_large(what, f"more than {amount(limit)}", limit)
            if self._bytes > self._limits.total:
                raise Refused(f"looking at it took more than {amount(self._limits.total)}", _SMALLER)
            self._left()
        return bytes(content[:limit])

    def _count_request(self) -> None:
        self._requests += 1
        if self._requests > self._limits.requests:
            raise Refused(f"looking at it took more than {self._limits.requests} requests", _SMALLER)

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Refused(f"looking at it took longer than {self._limits.seconds:g} seconds", _BUSY)
        return left


def parse_json(content: bytes, path: str) -> Any:
    """JSON that somebody else wrote, nested no deeper than any config is. Raises `Refused`."""
    advice = "save the checkpoint with save_pretrained and push it again"
    try:
        found = json.loads(content)
    except RecursionError:
        raise Refused(f"{quoted(path)} is nested too deep", advice) from None
    except ValueError:  # also of text that is not UTF-8, and of numbers with thousands of digits
        raise Refused(f"{quoted(path)} is no valid JSON", advice) from None
    if _deeper_than(found, _DEEPEST):
        raise Refused(f"{quoted(path)} is nested too deep", advice)
    return found


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _loads(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        _nonsense()


def _counts(safetensors: Any) -> dict[str, int]:
    """Parameters by dtype, where the Hub has counted them; empty otherwise."""
    counted = safetensors.get("parameters") if isinstance(safetensors, dict) else None
    if not isinstance(counted, dict) or not all(isinstance(n, int) and n >= 0 for n in counted.values()):
        return {}
    return {str(dtype): n for dtype, n in counted.items()}


def _too_large(path: str, size: str, limit: int) -> Refused:
    return Refused(
        f"{quoted(path)} has {size}, and {amount(limit)} is the most that is read",
        "make it smaller and push it",
    )


def _nonsense() -> NoReturn:
    raise OfflineError(f"the Hub's answer makes no sense; {_BUSY}")


def is_sha(text: str) -> bool:
    """Whether it is the full hash of a commit."""
    return _SHA.fullmatch(text) is not None
