"""Which models can be tried from a page of the board, and what is said of those that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from ucbench.site.trial import tried
from ucbench.site.trial.models import DEFAULT, Choice

KNOWN = {
    DEFAULT: Choice(DEFAULT, DEFAULT),
    "local:ppo": Choice("local:ppo", "/somewhere/ppo", base=DEFAULT),
}


@pytest.mark.parametrize(
    ("row", "model", "served"),
    [
        ({"model": DEFAULT}, DEFAULT, False),
        ({"model": DEFAULT, "adapter": "local:ppo@sha256:00"}, "local:ppo", False),
        ({"model": "acme/large-vlm"}, "acme/large-vlm", True),
        ({"model": "provider:novita:acme/vlm"}, "provider:novita:acme/vlm", True),
    ],
)
def test_a_way_leads_to_a_model_that_answers(row: dict[str, Any], model: str, served: bool) -> None:
    assert tried.way(row, KNOWN) == tried.Way(model, served)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"model": DEFAULT, "adapter": "local:gone@sha256:00"}, "adapter is not on this machine"),
        ({"model": "acme/vlm", "adapter": "acme/ppo"}, "adapter is not on this machine"),
        ({"model": "acme/guard", "guard": "llama-guard"}, "guard gives verdicts"),
        ({"model": "gpt-4-vision-preview"}, "cannot be tried here"),
        ({"model": "endpoint:served-vlm"}, "cannot be tried here"),
    ],
)
def test_there_is_no_dead_link_but_a_reason(row: dict[str, Any], words: str) -> None:
    way = tried.way(row, KNOWN)
    assert way.model == ""
    assert words in way.why


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"model": DEFAULT}, ""),
        ({"model": DEFAULT, "temperature": 0.0, "system_prompt": None}, ""),
        ({"model": DEFAULT, "temperature": float("nan"), "system_prompt": ""}, ""),
        ({"model": DEFAULT, "temperature": 0.7}, "here greedily"),
        ({"model": DEFAULT, "temperature": 0.7, "provenance": "imported"}, ""),
        (
            {"model": DEFAULT, "temperature": 0.0, "system_prompt": "Be kind."},
            "here without its system prompt",
        ),
        (
            {"model": DEFAULT, "temperature": 1.0, "system_prompt": "Be kind."},
            "here greedily and without its system prompt",
        ),
    ],
)
def test_a_try_says_how_it_differs_from_the_run(row: dict[str, Any], words: str) -> None:
    assert tried.otherwise(row) == words
