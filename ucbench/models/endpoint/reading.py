"""What a service's reply or error means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ucbench.judges.thinking import strip_thinking
from ucbench.models.endpoint.failures import (
    BadRequestError,
    ChatError,
    DeniedError,
    ExhaustedError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    TimedOutError,
    UnavailableError,
    UnreachableError,
)
from ucbench.models.endpoint.keys import redacted
from ucbench.models.endpoint.messages import Reply, Usage

#: Words by which services say that their filter, not the model, stopped a question or an answer.
_FILTER_CODES = re.compile(
    r"content[_ -]?(?:filter|policy|management)|responsible[_ ]?ai|moderation|data_?inspection_?failed|safety"
    r"|prohibited_?content|sensitive|image_?filter|policy_violation",
    re.IGNORECASE,
)
_FILTER_TEXT = re.compile(
    r"content (?:filter|management|policy|moderation)|usage polic|responsible ai"
    r"|safety (?:system|filter|policy)|\bflagged\b|moderation|data inspection"
    r"|inappropriate content|prohibited (?:content|use)",
    re.IGNORECASE,
)
_FILTER_FINISH = re.compile(
    r"content_filter|safety|prohibited|refusal|sensitive|blocklist|spii", re.IGNORECASE
)
_NO_MODEL = re.compile(
    r"model_?not_?(?:found|supported|available)|unknown_?model|invalid_?model", re.IGNORECASE
)
#: By code alone: the texts of passing rate limits speak of quotas and billing as well.
_NO_QUOTA = re.compile(r"insufficient_?(?:quota|balance|credit|funds)|billing_", re.IGNORECASE)
_NO_CREDIT = re.compile(r"credit balance|out of credits|insufficient (?:balance|credit|funds)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Complaint:
    """The content of an error: HTTP status, the service's words, its code and the parameter it names."""

    status: int
    text: str
    code: str = ""
    parameter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads the replies and errors of one service; what it says holds no secret.

    `place` and `model` name the service, `key` the environment variable of its key.
    """

    place: str
    model: str
    key: str
    has_key: bool
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The service; no secrets."""
        return f"Reader({self.place}, {self.model})"

    def failure(self, error: Exception) -> ChatError | None:
        """The typed failure of an exception of the transport; None for one that is no failure to be read."""
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        if isinstance(error, ChatError):
            return error
        if isinstance(error, httpx2.HTTPStatusError | HfHubHTTPError):
            response = error.response
            complaint = _complaint(response.status_code, response.content)
            return self._judge(complaint, retry_after(response.headers))
        cause = error.__cause__ if isinstance(error.__cause__, httpx2.HTTPError) else error
        if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return UnreachableError(
                f"{self.place} cannot be reached ({self._clean(str(cause)) or 'no connection'}); "
                "check the address, and that the server runs"
            )
        if isinstance(error, TimeoutError):
            return TimedOutError(f"{self.place} did not answer in time")
        if isinstance(error, httpx2.HTTPError):
            return UnavailableError(f"the connection to {self.place} broke ({type(error).__name__})")
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            return UnavailableError(f"{self.place} sent a reply that is not JSON")
        if isinstance(error, ValueError):
            # The client's own refusals of a provider are plain ValueErrors, as are those of a wrong shape.
            if str(error).startswith("Invalid "):
                return UnavailableError(f"{self.place} sent a reply that is no chat completion")
            return NotFoundError(f"{self._clean(str(error)).rstrip('.')}; check --model and --provider")
        if isinstance(error, ConnectionError):
            return UnreachableError(f"{self.place} cannot be reached ({self._clean(str(error))})")
        return None

    def reply(self, output: Any) -> Reply:
        """The reply in a chat completion.

        Raises `RefusedError` when the provider's filter stopped it, `UnavailableError` when it is none, and
        what an error inside a reply of status 200 says.
        """
        if error := output.get("error"):
            code = error.get("code") if isinstance(error, dict) else None
            status = code if isinstance(code, int) and code >= 400 else 502
            raise self._judge(_read_complaint(status, {"error": error}), None)
        try:
            choice = output.choices[0]
            message, finish = choice.message, str(choice.finish_reason or "")
            text = _text(message.content)
            reasoning = _text(message.reasoning) or _text(message.get("reasoning_content"))
            usage = output.usage
        except (AttributeError, TypeError, IndexError, KeyError):
            raise UnavailableError(f"{self.place} sent a reply that is no chat completion") from None
        if _FILTER_FINISH.match(finish):
            raise RefusedError(f"finish_reason {self._clean(finish)}")
        if finish == "error":
            raise UnavailableError(f"{self.place} broke off its answer")
        answer, thought = strip_thinking(text)
        thinking = "\n".join(part for part in (reasoning.strip(), thought) if part)
        return Reply(
            text=answer.strip(),
            thinking=thinking,
            finish_reason=finish,
            usage=_usage(usage, answer, thinking),
            model=_name(output.get("model")),
            fingerprint=_name(output.get("system_fingerprint")),
        )

    def _judge(self, complaint: Complaint, after: float | None) -> ChatError:
        status, text = complaint.status, self._clean(complaint.text)
        said = f"{status}: {text}" if text else str(status)
        if status in (400, 403, 422, 451) and (
            _FILTER_CODES.search(complaint.code) or _FILTER_TEXT.search(text)
        ):
            code = self._clean(complaint.code)
            return RefusedError(f"{code}: {text}" if code and text else code or text)
        if status == 402 or (
            status in (400, 403, 429) and (_NO_QUOTA.search(complaint.code) or _NO_CREDIT.search(text))
        ):
            return ExhaustedError(
                f"the account at {self.place} has no quota left ({said}); add some and start again"
            )
        if status == 429:
            return RateLimitedError(f"{self.place} allows no more requests now ({said})", after)
        if status in (401, 403):
            advice = (
                f"set {self.key} to a key that may use it"
                if self.has_key
                else f"export its key as {self.key}, or name another variable with --key-env"
            )
            return DeniedError(f"{self.place} does not let us ask {self.model} ({said}); {advice}")
        if status < 400:
            return NotFoundError(f"{self.place} sends us elsewhere ({status}); give the address it moved to")
        if status in (404, 405) or (status < 500 and _NO_MODEL.search(complaint.code)):
            return NotFoundError(
                f"{self.place} has no model {self.model} to chat with ({said}); "
                "check the model's id and the address"
            )
        if status in (408, 504):
            return TimedOutError(f"{self.place} did not answer in time ({said})", after)
        if status in (409, 425) or status >= 500:
            return UnavailableError(f"{self.place} failed ({said})", after)
        return BadRequestError(
            f"{self.place} does not take the request ({said})", complaint.parameter, status
        )

    def _clean(self, text: str) -> str:
        return redacted(text, *self.secrets)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds to wait that a response asks for: `retry-after-ms`, or `Retry-After` as seconds or date.

    A date is compared with the response's own `Date`, since clocks differ. None when there is none to read.
    """
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    for text, unit in ((milliseconds, 1e-3), (value, 1.0)):
        if text is not None and re.fullmatch(r"\s*\d{1,12}(?:\.\d+)?\s*", text):
            return float(text) * unit
    if value is None:
        return None
    then = _date(value)
    if then is None:
        return None
    here = now or _date(headers.get("date") or "") or datetime.now(UTC)
    return max(0.0, (then - here).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _complaint(status: int, body: bytes) -> Complaint:
    try:
        content = json.loads(body)
    except ValueError:
        text = body[:2000].decode("utf-8", "replace")
        return Complaint(status, re.sub(r"<[^>]*>", " ", text))
    return _read_complaint(status, content)


def _read_complaint(status: int, content: Any) -> Complaint:
    """The many shapes of an error: `error` as object or text, `detail` as text or list, `message`."""
    if isinstance(content, list):  # Google's answer is a list of one
        content = content[0] if content else {}
    if not isinstance(content, dict):
        return Complaint(status, str(content))
    error = content.get("error", content)
    if not isinstance(error, dict):
        return Complaint(status, str(error), str(content.get("code") or content.get("error_type") or ""))
    detail = error.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        place = detail[0].get("loc")
        parameter = str(place[-1]) if isinstance(place, list) and place else None
        return Complaint(
            status, f"{parameter}: {detail[0].get('msg', '')}", str(detail[0].get("type") or ""), parameter
        )
    inner = error.get("innererror")
    codes = (error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None)
    code = next((c for c in codes if isinstance(c, str) and _telling(c)), None)
    code = code or next((c for c in codes if isinstance(c, str)), "")
    parameter = error.get("param")
    return Complaint(
        status,
        str(error.get("message") or detail or ""),
        code,
        parameter if isinstance(parameter, str) else None,
    )


def _telling(code: str) -> bool:
    return any(pattern.search(code) for pattern in (_FILTER_CODES, _NO_MODEL, _NO_QUOTA))


def _text(content: Any) -> str:
    """The text of a message's content: a text, or a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _usage(usage: Any, answer: str, thinking: str) -> Usage:
    """Tokens as counted by the service.

    Where it does not count those of the reasoning, they are their share of the characters, or the words
    when nothing is counted.
    """
    if not isinstance(usage, dict):
        return Usage(thinking=len(thinking.split()))
    details = usage.get("completion_tokens_details")
    output = _count(usage.get("completion_tokens"))
    thought = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0
    if not thought and thinking:
        thought = round(output * len(thinking) / (len(thinking) + len(answer)))
    return Usage(_count(usage.get("prompt_tokens")), output, thought, counted=True)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
