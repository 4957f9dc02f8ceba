"""The engine on the checkpoint that comes with the package, against plain `generate`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from naive import OneAtATime

from ucbench.models import registry
from ucbench.record import Decoding
from ucbench.tracks import registry as tracks
from ucbench.types import Sample

NAME = "embedded:tiny-vlm"
NEW_TOKENS = 40


@pytest.fixture(scope="module")
def pictograms() -> list[Sample]:
    """Pictures with all their questions, and the blank one with some of its text questions."""
    samples = tracks.load("pictograms").samples(limit=5)
    return [replace(sample, questions=sample.questions[:30]) for sample in samples]


def test_answers_equal_plain_generate(pictograms: list[Sample]) -> None:
    vlm = registry.load(NAME, decoding=Decoding(max_new_tokens=NEW_TOKENS), device="cpu")
    assert vlm.engine_path == "shared_prefix"
    answers = {
        (answer.sample_id, answer.question_id): answer.text
        for batch in vlm.plan(pictograms, 16)
        for answer in vlm.answer(batch)
    }
    plain = OneAtATime(registry.EMBEDDED[NAME], max_new_tokens=NEW_TOKENS)(pictograms)
    assert answers == {key: reply.text for key, reply in plain.items()}


def test_sampled_answers_do_not_depend_on_the_batch(pictograms: list[Sample]) -> None:
    decoding = Decoding(temperature=1.0, max_new_tokens=NEW_TOKENS, seed=1)
    vlm = registry.load(NAME, decoding=decoding, device="cpu")
    runs = [
        {
            (answer.sample_id, answer.question_id): answer
            for batch in vlm.plan(pictograms, batch_size)
            for answer in vlm.answer(batch)
        }
        for batch_size in (8, 64)
    ]
    assert runs[0] == runs[1]


def test_its_identity() -> None:
    entry = registry.load(NAME, decoding=Decoding(), device="cpu").entry
    assert entry.model == NAME
    assert entry.revision is not None
    assert entry.revision.startswith("sha256:")
    assert entry.dtype == "float32"
