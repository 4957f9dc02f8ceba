"""Patience with the Hub: what is tried again and for how long, and what is said when it was in vain.

The Hub's client tries some calls again by itself, and others never; it waits without end for an answer, and
as long as it is told to. While a call is `watched`, it waits for limited times, and every answer that may be
another one later comes back here, where one policy decides.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ucbench.errors import AccessError, StoreError, UcbenchError
from ucbench.hub.redact import readable, redact
from ucbench.hub.store import HUB, ConflictError, ForbiddenError, OfflineError

if TYPE_CHECKING:
    from httpx2 import Request, Response

T = TypeVar("T")

#: Answers that say nothing about the next one. 409: another operation on the same repository is under way.
TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long the Hub is asked, in seconds.

    connect, answer: limits for one connection and for the next bytes of an answer; the Hub itself gives a
    commit 60. first, longest: the pause after the first failure, doubled up to the longest, with jitter.
    total: of all pauses of one call; the Hub counts requests in windows of 300.
    """

    attempts: int = 7
    unreachable: int = 3
    first: float = 0.5
    longest: float = 20.0
    total: float = 330.0
    connect: float = 10.0
    answer: float = 90.0
    pause: Callable[[float], object] = time.sleep


@dataclass
class Watched:
    """What is known of a call: `committing` once a commit has been sent, whatever became of it."""

    patience: Patience
    committing: bool = False


_WATCHED: ContextVar[Watched | None] = ContextVar("watched", default=None)
_ATTACHING = threading.Lock()
#: Of the calls that are under way in all threads.
_PATIENCE: list[Patience] = []


@contextmanager
def watched(patience: Patience) -> Iterator[Watched]:
    """Let the Hub's client, in this thread, wait for limited times and try no answer again by itself."""
    from huggingface_hub import get_session

    hooks = get_session().event_hooks
    with _ATTACHING:
        if _asked not in hooks["request"]:
            hooks["request"].append(_asked)
            hooks["response"].append(_answered)
    call = Watched(patience)
    before = _WATCHED.set(call)
    _PATIENCE.append(patience)
    try:
        yield call
    finally:
        _PATIENCE.remove(patience)
        _WATCHED.reset(before)


def _asked(request: Request) -> None:
    call = _WATCHED.get()
    # Several large files are sent from threads of the client, which know nothing of the call that they belong
    # to. They try again by themselves, a few times, but would wait for an answer without end.
    sending = _PATIENCE[-1:] if request.method == "PUT" else []
    patience = call.patience if call else next(iter(sending), None)
    if patience is None:
        return
    limits = request.extensions.get("timeout", {})
    wanted = {"connect": patience.connect, "pool": patience.connect}
    wanted |= {"read": patience.answer, "write": patience.answer}
    request.extensions["timeout"] = {each: limits.get(each) or limit for each, limit in wanted.items()}
    if call and request.method == "POST" and "/commit/" in request.url.path:
        call.committing = True


def _answered(response: Response) -> None:
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # exported lazily

    if _WATCHED.get() is not None and response.status_code in TRANSIENT:
        response.read()
        hf_raise_for_status(response)


class Pauses:
    """The pauses of one call that fails again and again."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._failures, self._unreachable, self._total = patience, 0, 0, 0.0

    def after(self, error: BaseException) -> bool:
        """Wait before the next attempt; False when another one is not worth it."""
        patience, status = self._patience, status_of(error)
        self._failures += 1
        self._unreachable += never_sent(error)
        if status is None and not is_broken(error):
            return False
        if status is not None and status not in TRANSIENT:
            return False
        if self._failures >= patience.attempts or self._unreachable >= patience.unreachable:
            return False
        longest = min(patience.longest, patience.first * 2 ** (self._failures - 1))
        # Not all at once again, but not before the time that the Hub has named either.
        pause = (told_to_wait(error) or 0.0) + random.uniform(longest / 2, longest)
        if self._total + pause > patience.total:
            return False
        self._total += pause
        patience.pause(pause)
        return True


def patiently(call: Callable[[], T], patience: Patience, store: str, host: str) -> T:
    """The result of a call that may be made again, however often it failed on the way.

    Raises what `in_words` makes of the last failure.
    """
    pauses = Pauses(patience)
    while True:
        try:
            with watched(patience):
                return call()
        except UcbenchError:
            raise
        except Exception as error:
            if not pauses.after(error):
                raise in_words(error, store, host) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__


def status_of(error: BaseException) -> int | None:
    """The status of the answer behind an error, where there was one."""
    from huggingface_hub.errors import HfHubHTTPError

    found = next((each for each in _causes(error) if isinstance(each, HfHubHTTPError)), None)
    return found.response.status_code if found is not None else None


def is_broken(error: BaseException) -> bool:
    """Whether a connection failed, so that nobody knows what became of the request."""
    import httpx2

    return any(isinstance(each, httpx2.TransportError) for each in _causes(error))


def never_sent(error: BaseException) -> bool:
    """Whether there was no connection at all."""
    import httpx2

    return any(isinstance(each, httpx2.ConnectError | httpx2.ConnectTimeout) for each in _causes(error))


def told_to_wait(error: BaseException) -> float | None:
    """The seconds that the Hub asks to wait, by Retry-After or the state of its limits."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    found = next((each for each in _causes(error) if isinstance(each, HfHubHTTPError)), None)
    if found is None:
        return None
    headers = found.response.headers
    try:
        return max(0.0, float(headers["Retry-After"]))
    except (KeyError, ValueError):  # a date is as good as nothing: clocks differ
        limits = parse_ratelimit_headers(headers)
    return float(limits.reset_in_seconds) if limits and limits.remaining == 0 else None


def _offline(store: str, host: str) -> OfflineError:
    return OfflineError(
        f"HF_HUB_OFFLINE is set, so {host} is not asked for {store}; unset it{_or_here(store)}"
    )


def _or_here(store: str) -> str:
    """A store may be a folder as well; a model or a Space may not."""
    return ", or give a local folder" if store.startswith(HUB) else ""


def nobody(store: str, host: str) -> AccessError:
    """What to say where there is no token: offline it would be of no use."""
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        return _offline(store, host)
    return AccessError(f"nobody is logged in at {host}; run `hf auth login` or set HF_TOKEN")


def in_words(error: BaseException, store: str, host: str) -> UcbenchError:
    """The one sentence for an error of the Hub's client."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    chain = list(_causes(error))
    status, said = status_of(error), _said(error)
    if any(isinstance(each, OfflineModeIsEnabled) for each in chain):
        return _offline(store, host)
    if status is None and is_broken(error):
        if type(chain[-1]).__name__ == "UnsupportedProtocol":
            return OfflineError(
                f"{host or 'HF_ENDPOINT'} is no address of a Hub; mend HF_ENDPOINT or unset it"
            )
        return OfflineError(
            f"{host} cannot be reached for {store} ({type(chain[-1]).__name__}); check the connection and "
            f"try again{_or_here(store)}"
        )
    if any(isinstance(each, GatedRepoError) for each in chain):
        return AccessError(
            f"{store} is gated; ask for access on its page at {host}, log in with `hf auth login` or set "
            "HF_TOKEN, then run this again"
        )
    if any(isinstance(each, UnicodeEncodeError) for each in chain):
        # Headers are ASCII, and nothing else of a request comes from outside.
        return AccessError(
            f"the token for {host} holds characters that no token has; log in with `hf auth login` or mend "
            "HF_TOKEN"
        )
    # The second is what the client itself says, when it asks who the token belongs to.
    bad = "credentials" in said.lower() or any("Invalid user token" in str(each) for each in chain)
    if status == 401 and bad:
        return AccessError(f"{host} does not take this token; log in with `hf auth login` or mend HF_TOKEN")
    if status == 401 or any(isinstance(each, RepositoryNotFoundError) for each in chain):
        return AccessError(
            f"{host} has no {store} that this account can see; check the name, and log in with "
            "`hf auth login` or set HF_TOKEN if it is private"
        )
    if any(isinstance(each, RevisionNotFoundError) for each in chain):
        return ConflictError(f"{store} no longer keeps the head that was asked for; read again")
    if status == 403:
        return ForbiddenError(
            f"this account may not do that to {store}{said and f' ({said})'}; use a token that may write, of "
            "an account that its owner has let in"
        )
    if status == 402:
        return AccessError(
            f"the plan of this account at {host} does not allow that for {store}{said and f' ({said})'}; "
            "change the plan, or make it under an account or organisation whose plan does"
        )
    if status == 412:
        return ConflictError(f"{store} has changed since it was read")
    if status == 429:
        seconds = told_to_wait(error)
        when = f"in {seconds:.0f} seconds" if seconds else "later"
        return OfflineError(f"{host} takes no more requests for now{said and f' ({said})'}; try again {when}")
    if status in TRANSIENT:
        return OfflineError(f"{host} is out of order (status {status} for {store}); try again later")
    own = "" if isinstance(error, HfHubHTTPError) and said else redact(readable(str(error)))
    what = " ".join(each for each in (own.strip().partition("\n")[0][:300], said) if each)
    return StoreError(f"{host} refuses what was asked of {store}: {what or type(error).__name__}")


def _said(error: BaseException) -> str:
    """What the Hub said, short and without secrets."""
    from huggingface_hub.errors import HfHubHTTPError

    found = next((each for each in _causes(error) if isinstance(each, HfHubHTTPError)), None)
    text = " ".join((found.server_message or "").split()) if found is not None else ""
    return redact(readable(text))[:300]
