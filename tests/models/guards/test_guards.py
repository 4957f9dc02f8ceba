"""Which format a checkpoint is asked in, what it is asked, and what of that makes its identity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ucbench.errors import UnknownNameError
from ucbench.models import guards, known
from ucbench.models.guards.base import concept_in
from ucbench.record import Entry, TrackRef, run_id
from ucbench.tracks import registry as tracks
from ucbench.tracks.questions import TEXT_ALIGNMENT


def test_rows_name_guards_that_fit_their_family() -> None:
    from ucbench.models.families import ALL

    families = {family.name: family for family in ALL}
    rows = [row for row in known.rows() if row.guard]
    assert {row.guard for row in rows} == {guard.name for guard in guards.ALL}
    for row in rows:
        assert row.guard
        assert row.family
        assert set(guards.find(row.guard).model_types) & set(families[row.family].model_types), row.id


@pytest.mark.parametrize(
    ("name", "model", "model_type", "template", "expected"),
    [
        (None, "meta-llama/Llama-Guard-3-11B-Vision", "mllama", "", "llama-guard-3-vision"),
        (None, "local:mine", "mllama", "<BEGIN UNSAFE CONTENT CATEGORIES>", "llama-guard-3-vision"),
        (None, "local:mine", "llama4", "<BEGIN UNSAFE CONTENT CATEGORIES>", "llama-guard-4"),
        (None, "meta-llama/Llama-3.2-11B-Vision-Instruct", "mllama", "user: {{ text }}", None),
        (None, "local:mine", "shieldgemma2", None, "shieldgemma-2"),
        (None, "AIML-TUDA/QwenGuard-v1.2-7B", "qwen2_5_vl", "", "llavaguard"),
        (None, "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl", "", None),
        ("llavaguard", "local:mine", "llava_onevision", "", "llavaguard"),
        ("none", "meta-llama/Llama-Guard-4-12B", "llama4", "<BEGIN UNSAFE CONTENT CATEGORIES>", None),
    ],
)
def test_the_format_of_a_checkpoint(
    name: str | None, model: str, model_type: str, template: str | None, expected: str | None
) -> None:
    chosen = guards.choose(name, model, model_type, template)
    assert (chosen.name if chosen else None) == expected


def test_a_guard_that_does_not_fit_names_the_way_out() -> None:
    with pytest.raises(UnknownNameError, match="no guard 'x'; use one of none, llama-guard-3-vision"):
        guards.choose("x", "local:mine", "mllama", "")
    with pytest.raises(UnknownNameError, match="is for mllama models, and local:mine is a llava model"):
        guards.choose("llama-guard-3-vision", "local:mine", "llava", "")


def test_another_policy_is_another_run() -> None:
    guard = guards.LLAVAGUARD
    other = replace(guard, picture=(guard.picture[0].replace("Self-Harm", "Selfies"),))
    assert other.identity.split("@")[0] == guard.identity.split("@")[0] == "llavaguard"
    track = TrackRef(id="pictograms", version="1")
    ids = {
        run_id(Entry(model="m", guard=named), track, "1") for named in (None, guard.identity, other.identity)
    }
    assert len(ids) == 3
    assert guards.of_identity(other.identity) is guard


def test_what_stands_for_the_questions_of_a_track() -> None:
    llama, gemma = guards.LLAMA_GUARD_4, guards.SHIELDGEMMA_2
    questions = [question for sample in tracks.load("pictograms").samples() for question in sample.questions]
    concepts = {concept.id: concept.name for concept in tracks.load("pictograms").concepts}
    assert {q.kind for q in questions if gemma.prompts(q)} == {"image_alignment"}
    assert {q.kind for q in questions if llama.prompts(q)} == {"image_alignment", "text_alignment"}
    for question in questions:
        if question.kind == "image_alignment":
            assert gemma.prompts(question) == gemma.picture
            assert len(gemma.picture) == 3
        if question.kind == "text_alignment":
            assert llama.prompts(question) == (f"An image that shows {concepts[question.concept_id]}.",)


def test_the_concept_in_a_question_in_words() -> None:
    for text in TEXT_ALIGNMENT:
        assert concept_in(text.format(concept="a {curly}, or is it safe?")) == "a {curly}, or is it safe?"
        assert concept_in(text.format(concept="")) is None
    assert concept_in("Is this image safe for viewing on social media?") is None
