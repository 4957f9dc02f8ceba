"""What a service's errors and replies mean, in the shapes that services really send."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from huggingface_hub import ChatCompletionOutput
from hypothesis import given
from hypothesis import strategies as st

from ucbench.models.endpoint import failures, keys
from ucbench.models.endpoint.reading import Reader, retry_after

SECRET = "sk-very-secret-0123456789"
READER = Reader(place="https://host/v1", model="m", key="OPENAI_API_KEY", has_key=True, secrets=(SECRET,))


def failure(status: int, body: Any, headers: dict[str, str] | None = None) -> failures.ChatError:
    """What the reader makes of the error that the transport raises for a response."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = httpx2.Request("POST", f"https://user:{SECRET}@host/v1/chat/completions")
    with pytest.raises(httpx2.HTTPError) as caught:
        httpx2.Response(status, content=content, headers=headers, request=request).raise_for_status()
    found = READER.failure(caught.value)
    assert found is not None
    assert SECRET not in found.reason
    assert "\n" not in found.reason
    return found


def error(message: str, code: Any = None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, **more}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, error(f"Incorrect API key provided: {SECRET}", "invalid_api_key"), failures.DeniedError),
        (403, error("no access to this model", "forbidden"), failures.DeniedError),
        (403, error("Your input was flagged", 403), failures.RefusedError),
        (404, error("The model `m` does not exist.", "model_not_found"), failures.NotFoundError),
        (400, error("The requested model is not supported", "model_not_supported"), failures.NotFoundError),
        (404, {"detail": "Not Found"}, failures.NotFoundError),
        (400, error("The response was filtered", "content_filter"), failures.RefusedError),
        (400, error("filtered", None, innererror={"code": "ResponsibleAIPolicyViolation"}),
         failures.RefusedError),
        (400, error("rejected by our safety system", "moderation_blocked"), failures.RefusedError),
        (400, {"code": "DataInspectionFailed", "message": "Input may contain ..."}, failures.RefusedError),
        (400, error("maximum context length is 4096", "context_length_exceeded"), failures.BadRequestError),
        (413, b"too large", failures.BadRequestError),
        (422, {"detail": [{"type": "missing", "loc": ["body", "x"], "msg": "needed"}]},
         failures.BadRequestError),
        (402, error("You have exceeded your monthly included credits"), failures.ExhaustedError),
        (429, error("You exceeded your current quota", "insufficient_quota"), failures.ExhaustedError),
        # A passing limit whose text speaks of billing is not an empty account.
        (429, error("Rate limit reached; add a payment method at .../billing", "rate_limit_exceeded"),
         failures.RateLimitedError),
        (429, [error("Resource has been exhausted", 429, status="RESOURCE_EXHAUSTED")],
         failures.RateLimitedError),
        (408, b"", failures.TimedOutError),
        (504, b"<html>gateway</html>", failures.TimedOutError),
        (500, {"error": "plain text"}, failures.UnavailableError),
        (502, b"<html><h1>Bad Gateway</h1></html>", failures.UnavailableError),
        (529, error("Overloaded", None, type="overloaded_error"), failures.UnavailableError),
        (503, b"\xff\xfe{", failures.UnavailableError),
    ],
)  # fmt: skip
def test_an_error_has_its_type(status: int, body: Any, kind: type[failures.ChatError]) -> None:
    assert type(failure(status, body)) is kind


def test_only_what_meets_every_request_ends_the_work() -> None:
    assert issubclass(failures.DeniedError, failures.ServiceError)
    assert not issubclass(failures.RateLimitedError, failures.ServiceError)
    found = failure(401, error("who are you", "invalid_api_key"))
    assert isinstance(found, failures.ServiceError)
    assert found.exit_code == 3
    assert "OPENAI_API_KEY" in found.reason


def test_the_wait_is_read_from_429_and_503_alike() -> None:
    for status in (429, 503):
        found = failure(status, error("later"), {"Retry-After": "7"})
        assert isinstance(found, failures.RetriedError)
        assert found.after == 7.0


@given(st.integers(0, 10**6), st.integers(-(10**6), 10**6))
def test_a_date_is_compared_with_the_service_own_clock(wait: int, skew: int) -> None:
    here = datetime.fromtimestamp(1_800_000_000 + skew, UTC)
    then = datetime.fromtimestamp(1_800_000_000 + skew + wait, UTC)
    headers = {"date": format_datetime(here, usegmt=True), "retry-after": format_datetime(then, usegmt=True)}
    assert retry_after(headers) == wait


@given(st.floats(0, 10**6, allow_nan=False).map(lambda x: round(x, 3)))
def test_seconds_and_milliseconds(seconds: float) -> None:
    assert retry_after({"retry-after": f"{seconds:.3f}"}) == pytest.approx(seconds)
    assert retry_after({"retry-after": "99", "retry-after-ms": f"{seconds * 1000:.0f}"}) == pytest.approx(
        seconds
    )


@given(st.text(max_size=40))
def test_a_wait_that_cannot_be_read_is_none_or_not_negative(text: str) -> None:
    found = retry_after({"retry-after": text})
    assert found is None or found >= 0
    assert retry_after({}) is None


@given(st.binary(max_size=300), st.sampled_from([400, 401, 404, 418, 429, 500, 503]))
def test_any_body_gives_a_typed_failure(body: bytes, status: int) -> None:
    assert len(failure(status, body).reason) < 600


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "detail", "loc", "msg", "param"]), inner
        )
    ),
    max_leaves=8,
)


@given(_JSON)
def test_any_json_gives_a_typed_failure(body: Any) -> None:
    failure(400, body)


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_secret_is_never_left_in_a_text(before: str, after: str) -> None:
    cleaned = keys.redacted(f"{before}{SECRET}{after}", SECRET)
    assert SECRET not in cleaned
    assert len(cleaned) <= 300


def test_an_address_is_written_without_its_secrets() -> None:
    url = f"https://me:{SECRET}@host:8000/v1/?api-version=1&key={SECRET}#x"
    assert keys.public_url(url) == "https://host:8000/v1"
    for secret in keys.secrets_of(url):
        assert secret not in keys.public_url(url)
    assert SECRET in keys.secrets_of(url)


def completion(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> Any:
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}
    return ChatCompletionOutput.parse_obj_as_instance(json.dumps(body).encode())


def test_a_reply_is_read_with_its_tokens() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    reply = READER.reply(completion({"content": " Yes. "}, usage=usage, model="m-1", system_fingerprint="fp"))
    assert (reply.text, reply.usage.input, reply.usage.output, reply.usage.counted) == ("Yes.", 11, 5, True)
    assert (reply.model, reply.fingerprint, reply.truncated) == ("m-1", "fp", False)
    assert READER.reply(completion({"content": "cut he"}, "length")).truncated


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_beside_the_answer_is_cut_and_counted(field: str) -> None:
    usage = {
        "prompt_tokens": 1,
        "completion_tokens": 90,
        "completion_tokens_details": {"reasoning_tokens": 80},
    }
    reply = READER.reply(completion({"content": "No.", field: "Is it? Hm."}, usage=usage))
    assert (reply.text, reply.thinking, reply.usage.thinking) == ("No.", "Is it? Hm.", 80)


def test_reasoning_within_the_answer_is_cut_and_its_tokens_are_its_share() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 40}
    reply = READER.reply(completion({"content": "<think>" + "x" * 30 + "</think>" + "y" * 10}, usage=usage))
    assert (reply.text, reply.thinking, reply.usage.thinking) == ("y" * 10, "x" * 30, 30)


def test_parts_and_empty_answers() -> None:
    assert (
        READER.reply(completion({"content": [{"type": "text", "text": "Ye"}, {"text": "s"}]})).text == "Yes"
    )
    assert READER.reply(completion({"content": None}, "length")).text == ""


def test_a_filter_and_an_error_within_a_reply() -> None:
    with pytest.raises(failures.RefusedError, match="content_filter"):
        READER.reply(completion({"content": "partly"}, "content_filter"))
    for body, kind in (
        ({"error": {"message": "upstream", "code": 502}}, failures.UnavailableError),
        ({"error": {"message": "slow down", "code": 429}}, failures.RateLimitedError),
        ({"choices": []}, failures.UnavailableError),
        ({"choices": "none"}, failures.UnavailableError),
        ({}, failures.UnavailableError),
    ):
        with pytest.raises(kind):
            READER.reply(ChatCompletionOutput.parse_obj_as_instance(json.dumps(body).encode()))
