"""How a request can fail: one exception a cause, so that callers need not read messages.

A `RequestError` concerns the request that met it; a `ServiceError` would meet every other request as
well, so it ends the work with one sentence.
"""

from __future__ import annotations


class ChatError(Exception):
    """A request without a reply. `reason` is one line without secrets, fit for a record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestError(ChatError):
    """Concerns this request alone; the others go on."""


class ServiceError(ChatError):
    """Would meet every request."""


class Refused(RequestError):
    """The provider's content filter stopped the question or the answer."""


class Retried(RequestError):
    """May go better later. Raised when the last try failed; `after` is the wait it asked for (seconds)."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class TimedOut(Retried):
    """No reply in time."""


class Unavailable(Retried):
    """A server error, a cut connection or a reply that cannot be read."""


class RateLimited(Retried):
    """Too many requests."""


class Unreachable(Unavailable):
    """No connection could be made at all."""


class BadRequest(RequestError):
    """The server does not take this request (400, 413, 422). `parameter` is what it complains about."""

    def __init__(self, reason: str, parameter: str | None = None, status: int = 400) -> None:
        super().__init__(reason)
        self.parameter = parameter
        self.status = status


class Denied(ServiceError):
    """The key is missing, wrong or not allowed (401, 403)."""


class NotFound(ServiceError):
    """No such model or path (404)."""


class Exhausted(ServiceError):
    """The account has no quota or credit left, or the wait that is asked for is too long."""
