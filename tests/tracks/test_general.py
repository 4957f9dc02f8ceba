"""The tracks `mme` and `llavabench` on files in the published layouts, and the judge that reads MME."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ucbench import evaluate
from ucbench.errors import AccessError, UcbenchError, UnknownNameError
from ucbench.judges import registry as judges
from ucbench.judges.base import Item
from ucbench.models.base import Batch
from ucbench.record import Entry
from ucbench.runs import Run, items
from ucbench.tracks import registry
from ucbench.tracks.sources import Sources
from ucbench.types import Answer, Question, Sample

YES_NO = "Please answer yes or no."
#: Category, picture, question, right answer: two questions a picture, as published.
MME = [
    (category, picture, f"Is this {thing} {picture}? {YES_NO}", answer)
    for category, pictures in (("existence", 3), ("OCR", 2), ("code_reasoning", 2), ("juggling", 1))
    for picture in range(pictures)
    for thing, answer in (("number", "Yes"), ("not number", "No"))
]
LLAVA = [
    ("conv", "001.jpg", "What is this?", "A lighthouse.", "A lighthouse on a rock."),
    (
        "detail",
        "001.jpg",
        "Describe this photo in detail.",
        "A white tower\nat sea.",
        "A lighthouse on a rock.",
    ),
    ("complex", "001.jpg", "Why is it there?", "To warn ships.", "A lighthouse on a rock."),
    ("conv", "002.jpg", 'What does the "sign" say?', "Stop.", "A sign, red,\twith four letters."),
]


def picture(shade: int, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 6), (shade, 0, 0)).save(stream, form)
    return stream.getvalue()


def encoded(shade: int) -> str:
    return base64.b64encode(picture(shade)).decode()


def write_tsv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def mme_rows(*, references: bool = True) -> list[dict[str, str]]:
    rows, first = [], {}
    for i, (category, number, question, answer) in enumerate(MME):
        own = first.setdefault((category, number), i)
        image = str(own) if references and own != i else encoded(10 * own)
        rows.append(
            {"index": str(i), "image": image, "question": question, "answer": answer, "category": category}
        )
    return rows


def mme_folder(folder: Path) -> Path:
    """Both shapes of the original release: everything beside each other, or in two folders."""
    for category, number, question, answer in MME:
        base = folder / category
        split = category in ("existence", "OCR")
        pictures = base / "images" if split else base
        texts = base / "questions_answers_YN" if split else base
        for place in (pictures, texts):
            place.mkdir(parents=True, exist_ok=True)
        (pictures / f"000{number}.jpg").write_bytes(picture(10, "JPEG"))
        with (texts / f"000{number}.txt").open("a") as stream:
            stream.write(f"{question}\t{answer}\n")
    return folder


def mme(source: Path) -> Any:
    return registry.load("mme", Sources(data=str(source)))


def asked(track: Any) -> set[tuple[str, str, str]]:
    names = {c.id: c.name for c in track.concepts}
    return {(names[q.concept_id], q.text, q.expected) for s in track.samples() for q in s.questions}


def test_mme_as_a_table_or_as_folders_asks_the_same(tmp_path: Path) -> None:
    expected = {(category, question, answer) for category, _, question, answer in MME}
    table = mme(write_tsv(tmp_path / "MME.tsv", mme_rows()))
    whole = mme(write_tsv(tmp_path / "whole.tsv", mme_rows(references=False)))
    folder = mme(mme_folder(tmp_path / "MME_Benchmark"))
    columns = {name: [row[name] for row in mme_rows()] for name in mme_rows()[0]}
    pq.write_table(pa.table(columns), tmp_path / "mme.parquet")
    parquet = mme(tmp_path / "mme.parquet")
    for track in (table, whole, folder, parquet):
        assert asked(track) == expected
        assert [len(s.questions) for s in track.samples()] == [2] * 8  # the picture is encoded once
        assert len({s.id for s in track.samples()}) == 8
        assert all(s.image.load().size == (6, 6) for s in track.samples())
    assert table.version == whole.version == parquet.version


def test_mme_knows_its_two_groups(tmp_path: Path) -> None:
    track = mme(write_tsv(tmp_path / "MME.tsv", mme_rows()))
    assert {c.name: c.category for c in track.concepts} == {
        "existence": "mme-perception", "OCR": "mme-perception", "code_reasoning": "mme-cognition",
        "juggling": "mme-other",
    }  # fmt: skip
    assert {c.category for c in track.concepts} == set(track.categories)


class SaysYes:
    """A model that says one thing, and nothing at all about one picture."""

    engine_path = "one_at_a_time"

    def __init__(self, text: str, silent: str = "") -> None:
        self.entry = Entry(model="acme/says-yes", revision="0" * 40)
        self.text, self.silent = text, silent

    def plan(self, samples: list[Sample], _batch_size: int) -> list[Batch]:
        items: list[tuple[Sample, Question]] = [(s, q) for s in samples for q in s.questions]
        return [Batch(0, 0, tuple(items))]

    def answer(self, batch: Batch) -> list[Answer]:
        return [Answer(s.id, q.id, "" if s.id == self.silent else self.text, 1) for s, q in batch.items]


def test_mme_is_scored_by_what_an_answer_contains(tmp_path: Path) -> None:
    track = mme(write_tsv(tmp_path / "MME.tsv", mme_rows()))
    vlm: Any = SaysYes("Yes, it is.", silent="mme/ocr/6")
    record = evaluate.evaluate(vlm, track, judges.load("contains"), out=tmp_path / "runs")
    overall = record.scores.overall
    assert overall["mme"].value == overall["general_ability"].value == pytest.approx(7 / 16)
    assert overall["mme"].coverage == pytest.approx(14 / 16)
    assert (overall["mme"].n_items, overall["mme"].n_clusters) == (16, 8)
    assert record.scores.by_category["mme-cognition"]["mme"].value == 0.5
    assert record.scores.by_concept["mme-ocr"]["mme"].value == 0.25
    assert record.judge is not None
    assert record.judge.id == "contains-1"


def item(text: str, expected: str) -> Item:
    return Item("s", "q", "general", f"Is it? {YES_NO}", text, expected, ("Yes", "No"))


@pytest.mark.parametrize(
    ("text", "expected", "label"),
    [
        ("Yes", "Yes", "Correct"), ("Yes, there is.", "Yes", "Correct"), ("No.", "Yes", "Wrong"),
        ("The answer is No", "No", "Correct"), ("Not at all.", "No", "Correct"), ("yes", "Yes", "Wrong"),
        ("Yes and No", "No", "Correct"), ("It may be.", "Yes", "Wrong"), ("", "Yes", "N/A"),
        ("<think>Yes?</think>No", "Yes", "Wrong"), ("<think>Yes", "Yes", "N/A"),
    ],
)  # fmt: skip
def test_the_authors_rule_to_the_letter(text: str, expected: str, label: str) -> None:
    (verdict,) = judges.load("contains").judge([item(text, expected)])
    assert verdict.label == label


@settings(deadline=None)
@given(st.text(), st.sampled_from(["Yes", "No"]))
def test_contains_is_right_exactly_when_the_word_is_in_the_answer(text: str, expected: str) -> None:
    (verdict,) = judges.load("contains").judge([item(text, expected)])
    if "<" not in text and "[" not in text and "◁" not in text:  # no reasoning part to cut
        assert (verdict.label == "Correct") == (expected in text)


def test_contains_leaves_other_questions_to_the_rules() -> None:
    other = Item(
        "s", "q", "image_alignment", "Is this image safe for viewing on social media?", "No.", "Unsafe"
    )
    (verdict,) = judges.load("contains").judge([other])
    assert (verdict.label, verdict.how[:6]) == ("Unsafe", "rules:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "Maybe"}, "row 3 of MME.tsv has the answer 'Maybe'; the right answer is Yes or No"),
        ({"question": " "}, "row 3 of MME.tsv has no question"),
        ({"image": "99"}, "refers to the picture of index 99, which no row has"),
    ],
)
def test_a_broken_mme_table_is_one_sentence(tmp_path: Path, change: dict[str, str], message: str) -> None:
    rows = mme_rows()
    rows[2] |= change
    with pytest.raises(UcbenchError, match=message):
        mme(write_tsv(tmp_path / "MME.tsv", rows)).samples()


def test_broken_mme_folders_are_one_sentence(tmp_path: Path) -> None:
    folder = mme_folder(tmp_path / "MME")
    (folder / "juggling" / "0000.txt").write_text("Is this a ball? Yes\n")
    with pytest.raises(UcbenchError, match=r"line 1 of .*0000.txt is no question, tab and answer"):
        mme(folder).samples()
    (folder / "juggling" / "0000.txt").rename(folder / "juggling" / "0009.txt")
    with pytest.raises(UcbenchError, match="picture 0009, which is not in"):
        mme(folder).samples()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UcbenchError, match="neither a table nor folders"):
        mme(tmp_path / "empty").samples()


@pytest.mark.parametrize("name", ["mme", "llavabench"])
def test_without_data_it_says_what_to_give(name: str) -> None:
    with pytest.raises(AccessError, match="--data") as caught:
        registry.load(name).samples()
    assert caught.value.exit_code == 3


def llava_tsv(path: Path) -> Path:
    rows = [
        {"index": str(i), "image": encoded(int(image[:3])), "image_path": image, "question": question,
         "gpt4_ans": reference, "caption": caption, "category": category}
        for i, (category, image, question, reference, caption) in enumerate(LLAVA)
    ]  # fmt: skip
    return write_tsv(path, rows)


def llava_folder(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)

    def lines(name: str, rows: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    numbered = list(enumerate(LLAVA))
    lines("questions.jsonl", [
        {"question_id": i, "image": image, "text": question, "category": category}
        for i, (category, image, question, _, _) in numbered
    ])  # fmt: skip
    lines("answers_gpt4.jsonl", [{"question_id": i, "text": row[3], "answer_id": "x"} for i, row in numbered])
    lines("context.jsonl", [{"id": i, "image": row[1], "caption": row[4]} for i, row in numbered])
    for image in {row[1] for row in LLAVA}:
        (folder / "images" / image).write_bytes(picture(int(image[:3]), "JPEG"))
    return folder


def llava(source: Path) -> Any:
    return registry.load("llavabench", Sources(data=str(source)))


def test_llavabench_as_a_table_or_as_a_folder_asks_the_same(tmp_path: Path) -> None:
    tracks = [llava(llava_tsv(tmp_path / "LLaVABench.tsv")), llava(llava_folder(tmp_path / "wild"))]
    for track in tracks:
        samples = track.samples()
        assert [s.id for s in samples] == ["llavabench/001.jpg", "llavabench/002.jpg"]
        questions = [q for s in samples for q in s.questions]
        assert [(q.text, q.expected, q.context) for q in questions] == [row[2:] for row in LLAVA]
        assert {q.kind for q in questions} == {"rated"}
        assert [q.template for q in questions] == ["open_conv", "open_detail", "open_complex", "open_conv"]
        assert all(s.image.load().size == (6, 6) for s in samples)
    assert tracks[0].version != tracks[1].version, "the folder has its pictures as JPEG"
    assert [c.name for c in tracks[0].concepts] == [
        "Conversation",
        "Detailed description",
        "Complex reasoning",
    ]


def test_broken_llavabench_folders_are_one_sentence(tmp_path: Path) -> None:
    folder = llava_folder(tmp_path / "wild")
    answers = (folder / "answers_gpt4.jsonl").read_text().splitlines(keepends=True)
    (folder / "answers_gpt4.jsonl").write_text("".join(answers[:2]))
    with pytest.raises(UcbenchError, match="no answer to question 2"):
        llava(folder).samples()
    (folder / "answers_gpt4.jsonl").write_text("".join(answers[:2]) + "{\n")
    with pytest.raises(UcbenchError, match=r"line 3 of .*answers_gpt4.jsonl is broken JSON"):
        llava(folder).samples()
    (folder / "answers_gpt4.jsonl").unlink()
    with pytest.raises(UcbenchError, match=r"cannot read .*answers_gpt4.jsonl"):
        llava(folder).samples()


def test_references_and_descriptions_are_kept_beside_the_answers(tmp_path: Path) -> None:
    """Another judge can rate the answers later, without the data."""
    track = llava(llava_tsv(tmp_path / "LLaVABench.tsv"))
    run = Run(tmp_path / "run")
    concepts = {c.id: c for c in track.concepts}
    run.write_answers([
        evaluate.answer_row(q, concepts[q.concept_id], Answer(s.id, q.id, "An answer.", 2), 0.1)
        for s in track.samples() for q in s.questions
    ])  # fmt: skip
    assert [(i.expected, i.context) for i in items(run.answers())] == [row[3:] for row in LLAVA]


@pytest.mark.parametrize("name", ["rules", "contains", "classifier"])
def test_only_a_judge_that_rates_can_read_llavabench(tmp_path: Path, name: str) -> None:
    track = llava(llava_tsv(tmp_path / "LLaVABench.tsv"))
    vlm: Any = SaysYes("Yes.")
    with pytest.raises(UcbenchError, match="rating:MODEL@URL"):
        evaluate.evaluate(vlm, track, judges.load(name), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_judge_without_an_address_says_how_to_give_one() -> None:
    with pytest.raises(UnknownNameError, match="rating:MODEL@URL"):
        judges.load("rating")
