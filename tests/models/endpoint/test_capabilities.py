"""What a service does not take, learnt from complaints in the words of several services."""

from __future__ import annotations

from typing import Any

import pytest

from ucbench.models.endpoint.capabilities import Capabilities
from ucbench.models.endpoint.failures import BadRequestError
from ucbench.models.endpoint.messages import ChatRequest, arguments


@pytest.mark.parametrize(
    ("text", "parameter", "learnt"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with this model. Use "
         "'max_completion_tokens' instead.", "max_tokens", {"max_completion_tokens"}),
        ("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.", None,
         {"max_completion_tokens"}),
        ("Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
         "supported.", "temperature", {"no_temperature"}),
        ("`temperature` and `top_p` cannot both be specified; `top_p` is deprecated", None,
         {"no_temperature", "no_top_p"}),
        ("seed: Extra inputs are not permitted", "seed", {"no_seed"}),
        ("System role not supported", None, {"no_system_role"}),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.",
         "messages[0].role", {"no_system_role"}),
    ],
)  # fmt: skip
def test_complaints(text: str, parameter: str | None, learnt: set[str]) -> None:
    able = Capabilities().learn(BadRequestError(text, parameter), system=True)
    assert {name for name in Capabilities.__slots__ if getattr(able, name)} == learnt
    assert len(able.notes()) == len(learnt)


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("This model's maximum context length is 4096 tokens", None),
        ("max_tokens is too large: 9000. This model supports at most 4096 completion tokens", "max_tokens"),
        ("image_url is only supported by certain models", "messages"),
        ("the system is down", None),
    ],
)
def test_other_complaints_teach_nothing(text: str, parameter: str | None) -> None:
    able = Capabilities()
    assert able.learn(BadRequestError(text, parameter), system=True) is able


def test_what_is_known_is_not_learnt_again() -> None:
    complaint = BadRequestError("Unsupported parameter: 'max_tokens'", "max_tokens")
    able = Capabilities().learn(complaint, system=False)
    assert able.learn(complaint, system=False) is able


def test_the_request_says_no_more_than_the_service_takes() -> None:
    request = ChatRequest("q", "data:x", "be brief", 7, 0.5, 0.9, 3)
    plain = arguments(request, Capabilities())
    assert (plain["max_tokens"], plain["temperature"], plain["top_p"], plain["seed"]) == (7, 0.5, 0.9, 3)
    assert [message["role"] for message in plain["messages"]] == ["system", "user"]
    bare: dict[str, Any] = arguments(request, Capabilities(True, True, True, True, True))
    assert bare.pop("extra_body") == {"max_completion_tokens": 7}
    assert not [name for name, value in bare.items() if value is not None and name != "messages"]
    (message,) = bare["messages"]
    assert message["content"][1]["text"] == "be brief\n\nq"


def test_greedy_needs_no_seed() -> None:
    plain = arguments(ChatRequest("q", seed=3, top_p=0.9), Capabilities())
    assert (plain["temperature"], plain["top_p"], plain["seed"]) == (0.0, None, None)
