"""Models behind a service through the real engine: 1,000 questions, failures of all kinds, restarts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ucbench import evaluate as engine
from ucbench import runs
from ucbench.errors import AccessError, ModelError, UcbenchError
from ucbench.judges import registry as judges
from ucbench.models.endpoint import failures
from ucbench.models.endpoint import load as endpoints
from ucbench.models.endpoint.client import Service
from ucbench.models.endpoint.costs import Prices
from ucbench.models.endpoint.probe import SIDE
from ucbench.models.endpoint.retries import Policy
from ucbench.models.endpoint.vlm import EndpointVLM
from ucbench.record import Decoding, RunRecord
from ucbench.tracks import registry as tracks

pytestmark = pytest.mark.xdist_group("endpoint")

QUICK = Policy(attempts=5, first_wait=0.002, longest_wait=0.02)
#: 72 emblems with 9 questions each, and 5 about each of their 72 concepts.
LIMIT, QUESTIONS = 73, 1008


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def load(server: Any, *, concurrency: int = 8, timeout: float = 20.0, **more: Any) -> EndpointVLM:
    service = Service(more.pop("model", "test-vlm"), server.url, timeout=timeout, concurrency=concurrency)
    return endpoints.load(service, decoding=Decoding(**more.pop("decoding", {})), policy=QUICK, **more)


def evaluate(vlm: Any, out: Path, limit: int = 3, **more: Any) -> tuple[RunRecord, Any]:
    track, judge = tracks.load("pictograms"), judges.load("rules")
    try:
        record = engine.evaluate(vlm, track, judge, out=out, limit=limit, **more)
    finally:
        vlm.close()
    return record, runs.Run(out / record.entry.slug / record.run_id).answers()


def right_answers(server: Any, answers: Any) -> None:
    """Every text is what the server says to that question: none went to another's place."""
    assert not answers["text"].eq("").any()
    rule = server.behaviour.answer
    messages = [{"role": "user", "content": text} for text in ("Is this image safe?", "A, B, C, or D")]
    kinds = {rule({"messages": [message]})[:6] for message in messages}
    assert kinds
    letters = answers[answers["kind"] == "perception"]["text"]
    assert letters.str.startswith("The answer is").all()


def test_a_thousand_questions_with_failures_and_limits(
    chat_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = chat_server(
        latency=0.002,
        faults={"cut": 0.03, "500": 0.02, "502": 0.02, "503": 0.02, "malformed": 0.02, "429": 0.005},
        retry_after=0.3,
    )
    record, answers = evaluate(load(server), tmp_path, LIMIT)
    assert len(answers) == QUESTIONS
    assert not answers.duplicated(runs.KEY).any()
    assert answers["error"].isna().all()
    right_answers(server, answers)
    assert not server.doubled, "a question that was answered was asked again"
    assert sum(server.answered.values()) == QUESTIONS + 1, "and the first request"
    assert server.most_at_once <= 8
    assert server.pauses >= 1
    assert server.during_pauses <= 8 * server.pauses
    assert record.status == "partial"
    assert record.engine.path == "endpoint"
    assert record.usage
    assert record.usage.output_tokens == answers["tokens"].sum() > QUESTIONS
    assert not list(tmp_path.glob("*/*/*.jsonl"))


def test_a_picture_is_encoded_once_for_all_its_questions(
    chat_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from ucbench.models.endpoint import vlm as module

    sizes: list[tuple[int, int]] = []
    real = module.data_uri

    def counted(image: Image.Image) -> str:
        sizes.append(image.size)
        return real(image)

    monkeypatch.setattr(module, "data_uri", counted)
    record, _ = evaluate(load(chat_server()), tmp_path, 10)
    assert len(sizes) == record.track.n_samples
    assert sizes.count((1000, 1000)) == 1, "one blank picture for all text questions"


def test_refusals_are_kept_with_their_reason_and_not_asked_again(
    chat_server: Callable[..., Any], tmp_path: Path
) -> None:
    kinds = ("filter-400", "filter-azure", "filter-403", "filter-finish")
    server = chat_server(script=("ok", *kinds, *("500",) * 12))
    record, answers = evaluate(load(server, concurrency=1), tmp_path, 3)
    refused = answers[answers["error"] == "provider_refusal"]
    assert len(refused) == record.counts.provider_refusals == len(kinds)
    assert (refused["text"] == "").all()
    assert set(refused["reason"]) >= {
        "finish_reason content_filter",
        "content_filter: The response was filtered",
    }
    failed = record.counts.errors["provider_error"]
    assert failed in (1, 2), "five tries each"
    assert record.status == "incomplete"
    asked = server.requests
    mended, _ = evaluate(load(server, concurrency=1), tmp_path, 3)
    assert mended.run_id == record.run_id
    assert mended.status == "partial", "refusals are no failure of the run"
    assert server.requests == asked + 1 + failed, "the first request and those that had failed"


def test_one_slow_answer_holds_up_no_other(chat_server: Callable[..., Any]) -> None:
    samples = tracks.load("pictograms").samples("test", 0, 4)
    first = samples[0].questions[0].text
    n = sum(len(sample.questions) for sample in samples)

    def holds(body: dict[str, Any], server: Any) -> bool:
        # With the first request that makes all but this one.
        return body["messages"][-1]["content"][1]["text"] == first and len(server.answered) < n

    server = chat_server(holds=holds)
    vlm = load(server, concurrency=2)
    order = [
        (answer.sample_id, answer.question_id)
        for group in vlm.answer_stream(vlm.plan(samples, 10**6)[0].items)
        for answer in group
    ]
    vlm.close()
    assert len(order) == len(set(order)) == n
    assert order.index((samples[0].id, "perception")) >= n - 2, "it and the last of the others may cross"


def test_the_service_goes_down_and_comes_back(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    server = chat_server(script=("ok",) * 41 + ("500",) * 10_000)
    with pytest.raises(AccessError, match=r"one after the other.*same command again"):
        evaluate(load(server, concurrency=4), tmp_path, 10)
    assert server.outcomes["ok"] == 41
    assert server.requests < 41 + 5 * (3 + 2) * 4 + 8, "it gave up soon"
    server.recover()
    _, answers = evaluate(load(server, concurrency=4), tmp_path, 10)
    assert answers["error"].isna().all()
    assert list(server.doubled.values()) == [2], "only the first request was made twice"


def test_what_a_service_never_takes_does_not_end_the_run(
    chat_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = chat_server(script=("ok",) * 11 + ("400",) * 40)
    record, answers = evaluate(load(server, concurrency=2), tmp_path, 10)
    assert record.counts.errors == {"provider_error": 40}
    assert answers["reason"].str.contains("context length").sum() == 40
    assert record.status == "incomplete"


def test_a_key_that_is_withdrawn_ends_the_run_and_keeps_its_answers(
    chat_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = chat_server(script=("ok",) * 31 + ("401",) * 10_000)
    with pytest.raises(failures.DeniedError):
        evaluate(load(server, concurrency=2), tmp_path, 10)
    (journal,) = tmp_path.glob("*/*/answers-0.jsonl")
    assert 20 <= len(journal.read_text().splitlines()) <= 30
    assert '"error": null' in journal.read_text()
    assert "provider_error" not in journal.read_text()


def test_a_bad_picture_concerns_its_own_questions(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    from dataclasses import replace

    from ucbench.images import FileImage

    (tmp_path / "secret-place.png").write_text("no picture")
    vlm = load(chat_server(), concurrency=2)
    first, *others = tracks.load("pictograms").samples("test", 0, 5)
    bad = replace(first, id="bad", image=FileImage(tmp_path / "secret-place.png"))
    (batch,) = vlm.plan([first, bad, *others], 10**6)
    answers = vlm.answer(batch)
    vlm.close()
    assert [(a.sample_id, a.question_id) for a in answers] == [(s.id, q.id) for s, q in batch.items]
    assert {a.sample_id for a in answers if a.error} == {"bad"}
    assert {a.error for a in answers if a.sample_id == "bad"} == {"bad_image"}
    assert not [a for a in answers if "secret-place" in a.reason]


def test_what_a_service_lacks_is_on_the_record(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    lacks = frozenset({"max_tokens", "temperature", "system"})
    server = chat_server(unsupported=lacks, reported_model="test-vlm-2026-11-01", fingerprint="fp_1")
    record, _ = evaluate(load(server, system_prompt="Be brief."), tmp_path)
    notes = " | ".join(record.engine.notes)
    assert "max_completion_tokens" in notes
    assert "no temperature" in notes
    assert "no system message" in notes
    assert "fp_1" in notes
    assert server.url in notes
    assert record.entry.model == "endpoint:test-vlm"
    assert record.entry.revision == "test-vlm-2026-11-01"
    assert record.hardware == {"device": "remote"}
    assert server.requests == record.track.n_questions + 4, "each was found out by the first request"


def test_a_fingerprint_that_changes_changes_no_identity(
    chat_server: Callable[..., Any], tmp_path: Path
) -> None:
    first, second = chat_server(fingerprint="fp_1"), chat_server(fingerprint="fp_2")
    vlms = [load(first), load(second)]
    track = tracks.load("pictograms")
    folders = {engine.plan(vlm, track, out=tmp_path, limit=2).run.folder for vlm in vlms}
    assert len(folders) == 1, "the same model at another address is the same entry"
    for vlm in vlms:
        vlm.close()


def test_tokens_and_cost_of_a_run_that_was_interrupted(
    chat_server: Callable[..., Any], tmp_path: Path
) -> None:
    whole, part = chat_server(), chat_server(script=("ok",) * 20 + ("401",) * 10_000)
    prices = Prices(2.5, 10.0)
    undisturbed, answers = evaluate(load(whole, prices=prices), tmp_path / "a", 5)
    with pytest.raises(failures.DeniedError):
        evaluate(load(part, prices=prices), tmp_path / "b", 5)
    part.recover()
    record, _ = evaluate(load(part, prices=prices), tmp_path / "b", 5)
    assert record.usage == undisturbed.usage
    assert record.usage
    used = record.usage
    assert used.input_tokens == sum(len(prompt.split()) for prompt in answers["prompt"])
    assert used.cost == pytest.approx((2.5 * used.input_tokens + 10 * used.output_tokens) / 1e6)


def test_no_cost_is_claimed_without_prices_or_tokens(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    half, _ = evaluate(load(chat_server(), prices=Prices(2.5)), tmp_path / "a")
    uncounted, _ = evaluate(load(chat_server(counts_tokens=False), prices=Prices(1, 1)), tmp_path / "b")
    assert half.usage
    assert (half.usage.cost, half.usage.price_input) == (None, 2.5)
    assert uncounted.usage
    assert uncounted.usage.cost is None
    assert "not counted" in " ".join(uncounted.engine.notes)
    with pytest.raises(UcbenchError, match="--price-output"):
        Prices(1.0, float("nan"))


def test_reasoning_is_cut_and_counted(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    server = chat_server(reasoning="Let me see what this is and think again.", finish_reason="length")
    record, answers = evaluate(load(server), tmp_path)
    assert not answers["text"].str.contains("Let me see").any()
    assert (answers["thinking_tokens"] > 0).all()
    assert (answers["thinking_tokens"] < answers["tokens"]).all()
    assert record.counts.truncated == record.track.n_questions


@pytest.mark.parametrize(
    ("behaviour", "model", "kind", "words"),
    [
        ({"key": "right"}, "test-vlm", failures.DeniedError, "OPENAI_API_KEY"),
        ({}, "other", failures.NotFoundError, "no model other"),
        ({"unsupported": frozenset({"image"})}, "test-vlm", ModelError, "takes images"),
        ({"script": ("402",)}, "test-vlm", failures.ExhaustedError, "quota"),
        ({"script": ("403",)}, "test-vlm", failures.DeniedError, "not your model"),
        ({"script": ("500",) * 99}, "test-vlm", AccessError, "500"),
        ({"script": ("400",) * 99}, "test-vlm", ModelError, "cannot be asked"),
    ],
)  # fmt: skip
def test_what_is_wrong_from_the_start_is_one_sentence(
    behaviour: dict[str, Any], model: str, kind: type[Exception], words: str, chat_server: Callable[..., Any]
) -> None:
    with pytest.raises(kind, match=words) as caught:
        load(chat_server(**behaviour), model=model)
    assert isinstance(caught.value, UcbenchError)
    assert len(str(caught.value).splitlines()) == 1


def test_the_first_request_has_a_picture_and_all_parameters(chat_server: Callable[..., Any]) -> None:
    seen: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> str:
        seen.append(body)
        return "yes"

    load(chat_server(answer=answer), decoding={"temperature": 0.7, "top_p": 0.9, "seed": 5}).close()
    (body,) = seen
    assert (body["temperature"], body["top_p"], body["seed"], body["max_tokens"]) == (0.7, 0.9, 5, 512)
    picture = body["messages"][0]["content"][0]["image_url"]["url"]
    assert picture.startswith("data:image/png;base64,")
    assert SIDE > 0


def test_the_path_a_model_is_served_under_is_private() -> None:
    service = Service("/home/someone/models/llava-1.5-7b/", "http://127.0.0.1:9/v1")
    assert endpoints.public_name(service) == "endpoint:llava-1.5-7b"
    assert endpoints.public_name(Service("a/b", provider="together")) == "provider:together:a/b"


def test_a_provider_of_the_hub(
    chat_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub's own client routes the request; only the router's address is the test's."""
    from huggingface_hub.inference._providers import CONVERSATIONAL_AUTO_ROUTER

    server = chat_server(model="acme/vlm", reported_model="acme-vlm-turbo", key="hf_" + "x" * 34)
    monkeypatch.setenv("HF_TOKEN", server.behaviour.key)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(CONVERSATIONAL_AUTO_ROUTER, "base_url", server.url.removesuffix("/v1"))
    vlm = endpoints.load(Service("acme/vlm", provider="auto"), decoding=Decoding(), policy=QUICK)
    record, answers = evaluate(vlm, tmp_path)
    assert record.entry.model == "provider:auto:acme/vlm"
    assert record.entry.revision is None, "the next request may be routed elsewhere"
    assert answers["error"].isna().all()
    assert server.behaviour.key not in record.to_json()


def test_a_provider_that_is_none_and_a_token_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-of-the-hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for provider in ("nobody", "auto"):
        with pytest.raises(UcbenchError) as caught:
            endpoints.load(Service("acme/vlm", provider=provider), decoding=Decoding(), policy=QUICK)
        assert "not-of-the-hub" not in str(caught.value)
