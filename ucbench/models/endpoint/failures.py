"""How a request can fail: one exception a cause, so that callers need not read messages.

A `RequestError` concerns the request that met it; a `ServiceError` would meet every other request as
well, so it ends the work with one sentence.
"""

from __future__ import annotations

from ucbench.errors import UcbenchError


class ChatError(Exception):
    """A request without a reply. `reason` is one line without secrets, fit for a record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestError(ChatError):
    """Concerns this request alone; the others go on."""


class ServiceError(ChatError, UcbenchError):
    """Would meet every request; the reason is a sentence that says what to do."""

    exit_code = 3


class RefusedError(RequestError):
    """The provider's content filter stopped the question or the answer."""


class RetriedError(RequestError):
    """May go better later. Raised when the last try failed; `after` is the wait it asked for (seconds)."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class TimedOutError(RetriedError):
    """No reply in time."""


class UnavailableError(RetriedError):
    """A server error, a cut connection or a reply that cannot be read."""


class RateLimitedError(RetriedError):
    """Too many requests."""


class UnreachableError(UnavailableError):
    """No connection could be made at all."""


class BadRequestError(RequestError):
    """The server does not take this request (400, 413, 422). `parameter` is what it complains about."""

    def __init__(self, reason: str, parameter: str | None = None, status: int = 400) -> None:
        super().__init__(reason)
        self.parameter = parameter
        self.status = status


class DeniedError(ServiceError):
    """The key is missing, wrong or not allowed (401, 403)."""


class NotFoundError(ServiceError):
    """No such model or path (404)."""

    exit_code = 2


class ExhaustedError(ServiceError):
    """The account has no quota or credit left, or the wait that is asked for is too long."""
