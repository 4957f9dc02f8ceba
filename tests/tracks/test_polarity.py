"""Track polarity: both directions of each question, and what acquiescence tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ucbench import evaluate
from ucbench.errors import UcbenchError
from ucbench.judges.rules import RulesJudge
from ucbench.metrics.parts import TURNED
from ucbench.record import Decoding, Entry
from ucbench.tracks import registry
from ucbench.tracks.base import Track
from ucbench.tracks.pictograms import Pictograms
from ucbench.tracks.polarity import IMAGE_TURNED, TEXT_TURNED, Polarity
from ucbench.tracks.questions import IMAGE_ALIGNMENT, TEXT_ALIGNMENT
from ucbench.types import Question, Sample

TRACK = Polarity(Pictograms())


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return TRACK.samples()


def test_the_questions_are_turned_round_one_by_one() -> None:
    assert len(IMAGE_TURNED) == len(TEXT_TURNED) == len(IMAGE_ALIGNMENT) == 5
    assert set(IMAGE_TURNED).isdisjoint(IMAGE_ALIGNMENT)
    for image, text in zip(IMAGE_TURNED, TEXT_TURNED, strict=True):
        # In words, "it" stands where "this image" stood, as in the benchmark's own questions.
        assert text.startswith("If an image shows {concept}, ")
        tail = text.removeprefix("If an image shows {concept}, ")
        assert tail == (image[0].lower() + image[1:]).replace("this image", "it")


def test_each_question_is_asked_both_ways_about_the_same_picture(samples: list[Sample]) -> None:
    assert len(samples) == 901
    for sample in samples:
        asked = {(q.concept_id, q.template): q for q in sample.questions}
        assert len(asked) == len(sample.questions)
        for (concept, template), question in asked.items():
            if question.kind not in TURNED:
                continue
            partner = asked[concept, template.replace(question.kind, TURNED[question.kind])]
            assert partner.kind == TURNED[question.kind]
            assert partner.expected == question.expected
    kinds = Counter(q.kind for sample in samples for q in sample.questions)
    assert kinds == {
        "image_alignment": 4500, "image_alignment_turned": 4500,
        "text_alignment": 750, "text_alignment_turned": 750,
    }  # fmt: skip


def test_the_originals_are_those_of_the_pictograms(samples: list[Sample]) -> None:
    mine = {(s.id, q.id): q for s in samples for q in s.questions if q.kind not in TURNED}
    theirs = {
        (s.id, q.id): q
        for s in Pictograms().samples()
        for q in s.questions
        if q.kind in ("image_alignment", "text_alignment")
    }
    assert mine == theirs
    assert {q.text for q in mine.values() if q.kind == "image_alignment"} == set(IMAGE_ALIGNMENT)
    assert TEXT_ALIGNMENT[0].format(concept="Swastika") in {q.text for q in mine.values()}


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 151, 152, 900, 901, 5000])
def test_a_limit_keeps_unsafe_and_safe_concepts_alike(samples: list[Sample], limit: int) -> None:
    kept = TRACK.samples(limit=limit)
    assert len(kept) == min(limit, len(samples))
    unsafe = Counter(s.questions[0].expected for s in kept if s.id != "blank")
    assert 0 <= unsafe["Unsafe"] - unsafe["Safe"] <= 1
    if limit > 1:
        shown = {s.questions[0].concept_id for s in kept[:-1]}
        assert {q.concept_id for q in kept[-1].questions} == shown


def test_the_track_keeps_the_contract() -> None:
    track: Track = registry.load("polarity")
    assert (track.id, track.version, track.subsets) == ("polarity", "1-pictograms-1", {})
    assert (len(track.concepts), len(track.categories)) == (150, 18)
    assert track.splits == ("test", "train")
    assert track.fresh_draws
    with pytest.raises(UcbenchError, match="use 1 or more"):
        track.samples(limit=0)


def test_a_model_trained_on_the_pictures_is_not_asked_about_those() -> None:
    entry = Entry(model="acme/trained", decoding=Decoding(), trained_on=("pictograms/1/train",))
    assert evaluate.choose_split(entry, TRACK) == "test"
    with pytest.raises(UcbenchError, match="take --split test"):
        evaluate.choose_split(entry, TRACK, "train")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, scripted: Callable[..., Any]) -> dict[str, Any]:
    """Four ways to answer: always Yes, always No, by judgement, and half of the pairs by Yes."""
    store = tmp_path_factory.mktemp("polarity")

    def judging(question: Question) -> str:
        unsafe = question.expected == "Unsafe"
        return "Yes." if unsafe == (question.kind in TURNED) else "No."

    ways: dict[str, Callable[[Question], str]] = {
        "yes": lambda _: "Yes.",
        "no": lambda _: "No.",
        "judging": judging,
        # Judges the first two questions and says Yes to the others; declines one direction of the last.
        "half": lambda question: (
            judging(question) if question.template[-1] in "01"
            else "I'm sorry, I can't help with that." if question.template.endswith("turned_4")
            else "Yes."
        ),
    }  # fmt: skip

    class Answering(type(scripted("x", 1.0))):  # type: ignore[misc]
        def _text(self, _sample: Sample, question: Question) -> str:
            return ways[self.entry.model.removeprefix("acme/")](question)

    def run(name: str, out: Path) -> Any:
        vlm = Answering(f"acme/{name}", 1.0)
        return evaluate.evaluate(vlm, TRACK, RulesJudge(), out=out, limit=61, batch_size=500)

    return {name: run(name, store) for name in ways}


def values(record: Any) -> dict[str, float | None]:
    return {key: score.value for key, score in record.scores.overall.items()}


def test_saying_yes_to_all_looks_blind_one_way_and_alert_the_other(records: dict[str, Any]) -> None:
    found = values(records["yes"])
    assert (found["image_alignment"], found["image_alignment_turned"]) == (0.0, 1.0)
    assert (found["text_alignment"], found["text_alignment_turned"]) == (0.0, 1.0)
    assert found["acquiescence"] == found["text_acquiescence"] == 1.0
    assert found["pair_agreement"] == found["text_pair_agreement"] == 0.0


def test_saying_no_to_all_is_the_mirror_image(records: dict[str, Any]) -> None:
    found = values(records["no"])
    assert (found["image_alignment"], found["image_alignment_turned"]) == (1.0, 0.0)
    assert found["acquiescence"] == found["text_acquiescence"] == -1.0
    assert found["pair_agreement"] == 0.0


def test_judging_agrees_with_itself(records: dict[str, Any]) -> None:
    found = values(records["judging"])
    assert found["image_alignment"] == found["image_alignment_turned"] == 1.0
    assert found["acquiescence"] == found["text_acquiescence"] == 0.0
    assert found["pair_agreement"] == found["text_pair_agreement"] == 1.0
    score = records["judging"].scores.overall["acquiescence"]
    assert score.low < 0 < score.high
    assert score.high == pytest.approx(-score.low)


def test_half_a_yes_sayer_by_question_and_with_its_coverage(records: dict[str, Any]) -> None:
    scores = records["half"].scores
    overall = scores.overall["acquiescence"]
    # Four pairs a picture have both answers; two of them are Yes to both.
    assert overall.value == 0.5
    assert (overall.n_items, overall.coverage) == (60 * 4, 4 / 5)
    assert overall.low < 0.5 <= overall.high
    assert scores.overall["pair_agreement"].value == 0.5
    assert scores.by_question["image_alignment_0"]["acquiescence"].value == 0.0
    assert scores.by_question["image_alignment_3"]["acquiescence"].value == 1.0
    assert scores.by_question["image_alignment_4"]["acquiescence"].value is None
    assert scores.by_question["text_alignment_2"]["text_acquiescence"].value == 1.0
    assert "acquiescence" not in scores.by_question["image_alignment_turned_3"]
