"""Guards in the place of models: real tiny checkpoints, whole runs, their rows and cells, services."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ucbench import board as boards
from ucbench import evaluate, terminal
from ucbench.cli import app
from ucbench.errors import ModelError, UcbenchError
from ucbench.judges import registry as judges
from ucbench.models import guards, registry
from ucbench.models.base import Batch, OutOfMemoryError
from ucbench.models.guards.vlm import GuardVLM, served, wrap
from ucbench.record import Decoding
from ucbench.runs import Run
from ucbench.site.columns import columns_of
from ucbench.site.figures import tables
from ucbench.tracks import registry as tracks
from ucbench.types import Answer, Question, Sample
from ucbench.verify import verify

NAMES = {"mllama": None, "llava_onevision": "llavaguard", "shieldgemma2": None}
WAYS = {
    "mllama": ("batched", "one_at_a_time"),
    "llava_onevision": ("shared_prefix", "batched", "one_at_a_time"),
    "shieldgemma2": ("shared_vision", "batched", "one_at_a_time"),
}


def load(folder: Path, guard: str | None = None) -> GuardVLM:
    vlm = registry.load(str(folder), decoding=Decoding(max_new_tokens=6), device="cpu", guard=guard)
    assert isinstance(vlm, GuardVLM)
    return vlm


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Three pictures and five concepts in words, each with all its questions."""
    chosen = tracks.load("pictograms").samples("test", limit=4)
    pictures = [sample for sample in chosen if sample.questions[0].kind == "perception"][:3]
    words = next(s for s in tracks.load("pictograms").samples() if s.questions[0].kind == "text_alignment")
    return [*pictures, replace(words, questions=words.questions[:25])]


def taken(vlm: GuardVLM, samples: Sequence[Sample]) -> list[Sample]:
    kept = [replace(s, questions=tuple(filter(vlm.takes, s.questions))) for s in samples]
    return [sample for sample in kept if sample.questions]


@pytest.mark.parametrize("name", NAMES)
def test_every_way_gives_the_same_verdicts(
    name: str, checkpoint: Callable[[str], Path], samples: list[Sample]
) -> None:
    vlm = load(checkpoint(name), NAMES[name])
    inner: Any = vlm._vlm
    assert inner.ways == WAYS[name]
    asked = taken(vlm, samples)
    given: dict[tuple[str, int], list[Answer]] = {}
    for way in inner.ways:
        inner.use(way)
        for size in (1, 64):
            given[way, size] = [a for batch in vlm.plan(asked, size) for a in vlm.answer(batch)]
    expected = given["one_at_a_time", 1]
    assert all(answers == expected for answers in given.values())
    assert not [answer for answer in expected if answer.error]
    texts = {(a.sample_id, a.text) for a in expected if a.question_id.startswith("image")}
    assert len({text for _, text in texts}) > 1, "answers must depend on the picture"
    assert len(texts) == 3, "one verdict a picture"
    assert {a.guard for a in expected} == {vlm.entry.guard}


def test_shieldgemma_gives_the_probabilities_of_transformers(
    checkpoint: Callable[[str], Path], samples: list[Sample]
) -> None:
    """Against its processor and model in transformers, which write prompts and read answers themselves."""
    from transformers import (
        AutoTokenizer,
        Gemma3ImageProcessorPil,
        ShieldGemma2ForImageClassification,
        ShieldGemma2Processor,
    )

    folder = checkpoint("shieldgemma2")
    vlm = load(folder)
    model = ShieldGemma2ForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    processor = ShieldGemma2Processor(
        Gemma3ImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder),
        chat_template=(folder / "chat_template.jinja").read_text(), image_seq_length=4,
    )  # fmt: skip
    picture = taken(vlm, samples)[0]
    (batch,) = vlm.plan([picture], 8)
    said = [line.split() for line in vlm.answer(batch)[0].text.splitlines()]
    with torch.inference_mode():
        inputs = processor(images=[picture.image.load()], return_tensors="pt")
        expected = model(**inputs).probabilities[:, 0].tolist()
    assert [name for name, _ in said] == ["dangerous", "sexual", "violence"]
    assert [float(p) for _, p in said] == pytest.approx(expected, abs=1e-4)


def test_shieldgemma_loads_under_the_names_it_was_published_with(
    checkpoint: Callable[[str], Path], samples: list[Sample], tmp_path: Path
) -> None:
    """And asks the policies that the published processor holds, which then are part of its identity."""
    from safetensors.torch import load_file, save_file

    folder = checkpoint("shieldgemma2")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    older = {
        key.replace("model.model.language_model.", "model.language_model.")
        .replace("model.model.", "model."): value.contiguous()
        for key, value in weights.items()
    }  # fmt: skip
    assert set(older) != set(weights)
    save_file(older, tmp_path / "model.safetensors", {"format": "pt"})
    same, asked = load(tmp_path), load(folder)
    (picture,) = taken(asked, samples)[:1]
    text = [vlm.answer(vlm.plan([picture], 8)[0])[0].text for vlm in (same, asked)]
    assert text[0] == text[1]
    settings = json.loads((tmp_path / "processor_config.json").read_text())
    settings["policy_definitions"] = {"clowns": "No Clowns: The image shall not contain clowns."}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    other = load(tmp_path)
    assert other.entry.guard != asked.entry.guard
    assert other.answer(other.plan([picture], 8)[0])[0].text.startswith("clowns 0.")


def test_llama_guard_4_says_what_it_needs(tmp_path: Path) -> None:
    from importlib.util import find_spec

    from safetensors.numpy import save_file

    if find_spec("torchvision"):
        pytest.skip("torchvision is installed here")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama4"}))
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "Llama4ImageProcessor", "processor_class": "Llama4Processor"})
    )
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"torchvision.*--endpoint"):
        registry.load(str(tmp_path), decoding=Decoding(), device="cpu")


class Scripted:
    """Says what a guard says, by a picture's concept."""

    engine_path = "one_at_a_time"

    def __init__(self, says: Callable[[Sample, Question], str], room: int = 10**6) -> None:
        from ucbench.record import Entry

        self.entry = Entry(model="acme/guard", revision="0" * 40, dtype="float32")
        self.says, self.room = says, room
        self.asked: list[tuple[str, str]] = []

    def plan(self, samples: Sequence[Sample], batch_size: int) -> list[Batch]:
        items = [(sample, question) for sample in samples for question in sample.questions]
        starts = range(0, len(items), batch_size)
        return [Batch(n, n, tuple(items[start : start + batch_size])) for n, start in enumerate(starts)]

    def answer(self, batch: Batch) -> list[Answer]:
        if len(batch.items) > self.room:
            raise OutOfMemoryError
        self.asked += [(sample.id, question.text) for sample, question in batch.items]
        return [Answer(s.id, q.id, self.says(s, q), 4) for s, q in batch.items]


def verdict(sample: Sample, question: Question) -> str:
    """Sees what is unsafe in two of three pictures, and in all words."""
    if "An image that shows" in question.text or question.expected == "Safe":
        return "safe" if question.expected == "Safe" else "unsafe\nS1"
    return "unsafe\nS1,S9" if sum(sample.id.encode()) % 3 else "safe"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, scripted: Callable[..., Any]) -> Path:
    """A guard beside a model that answers questions, on the whole track."""
    out = tmp_path_factory.mktemp("store")
    track, judge = tracks.load("pictograms"), judges.load("rules")
    evaluate.evaluate(wrap(Scripted(verdict), guards.LLAMA_GUARD_3_VISION), track, judge, out=out)
    evaluate.evaluate(scripted("acme/fair-vlm", 0.7), track, judge, out=out, batch_size=500)
    boards.build([out], out)
    return out


def test_a_record_says_what_one_verdict_stands_for(store: Path) -> None:
    (path,) = store.glob("acme-guard/*")
    run = Run(path)
    record, answers = run.record(), run.answers()
    assert record.status == "complete"
    assert record.entry.guard == guards.LLAMA_GUARD_3_VISION.identity
    assert set(answers["kind"]) == {"image_alignment", "text_alignment"}
    pictures = answers[answers["kind"] == "image_alignment"]["sample_id"].nunique()
    words = answers[answers["kind"] == "text_alignment"]["concept_id"].nunique()
    assert record.track.n_questions == record.counts.questions == 5 * (pictures + words)
    assert record.counts.verdicts == pictures + words
    assert any("one verdict on a picture stands for all" in note for note in record.engine.notes)
    hows = set(run.judgements("rules-1")["how"])
    assert hows == {"guard:lines", "guard:lines:S1", "guard:lines:S1,S9"}
    # A verdict is one answer: five questions make neither more answers nor more tokens.
    assert answers["tokens"].sum() == 4 * record.counts.verdicts
    scores = record.scores.overall
    unsafe = answers[(answers["kind"] == "image_alignment") & answers["unsafe"]]
    assert scores["image_alignment"].n_items == unsafe["sample_id"].nunique() == len(unsafe) / 5
    assert scores["image_alignment"].value == pytest.approx((unsafe["text"] != "safe").mean(), abs=1e-9)
    assert scores["text_alignment"].value == 1.0
    for key in ("perception", "recognised_called_safe", "general_ability", "diversity"):
        assert key not in scores
    by_question = record.scores.by_question
    assert {f"image_alignment_{n}" for n in range(5)} <= set(by_question)
    assert len({by_question[f"image_alignment_{n}"]["image_alignment"].value for n in range(5)}) == 1
    assert not [check for check in verify([store]) if check.problems]


def test_the_intervals_are_those_of_single_answers(store: Path) -> None:
    """Five questions with one verdict tell no more than one of them."""
    from ucbench.metrics.scores import score_run

    (path,) = store.glob("acme-guard/*")
    frame = Run(path).frame("rules-1")
    single = frame[frame["template"].str.endswith("_0")]
    whole, one = score_run(frame).overall, score_run(single.drop(columns="guard")).overall
    for key in ("image_alignment", "text_alignment", "over_refusal", "balanced_accuracy", "modality_gap"):
        assert whole[key] == one[key]


def test_the_row_is_marked_and_ranked_beside_models(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = boards.load(store)
    rows: dict[str, dict[str, Any]] = {r["model"]: {**r} for r in board.rows.to_dict("records")}  # type: ignore[dict-item]
    guard, other = rows["acme/guard"], rows["acme/fair-vlm"]
    assert guard["guard"] == guards.LLAMA_GUARD_3_VISION.identity
    assert boards.absent(other["guard"])
    assert list(board.manifest["guards"].values()) == [guard["guard"]]
    assert guard["ranked_among"] == other["ranked_among"] == 2
    assert boards.absent(guard["perception"])
    assert not boards.absent(guard["image_alignment"])
    monkeypatch.setenv("COLUMNS", "160")
    terminal.print_board(board, "pictograms", "balanced_accuracy")
    shown = capsys.readouterr().out
    assert "acme/guard (guard)" in shown
    assert "acme/fair-vlm (guard)" not in shown
    cells = {
        name: tables.board([row], columns_of("pictograms"), tables.Drawn("balanced_accuracy"))
        for name, row in rows.items()
    }
    assert ">guard</span>" in cells["acme/guard"]
    assert ">guard</span>" not in cells["acme/fair-vlm"]


def test_a_board_from_before_has_no_guards(store: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for path in store.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    table = pq.read_table(tmp_path / boards.BOARD)
    pq.write_table(table.drop_columns(["guard"]), tmp_path / boards.BOARD)
    assert boards.load(tmp_path).rows["guard"].isna().all()


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_each_picture_is_shown_once(batch_size: int, samples: list[Sample]) -> None:
    inner = Scripted(verdict)
    vlm = wrap(inner, guards.LLAMA_GUARD_4)
    asked = taken(vlm, samples)
    batches = vlm.plan(asked, batch_size)
    answers = [answer for batch in batches for answer in vlm.answer(batch)]
    assert len(answers) == sum(len(sample.questions) for sample in asked)
    assert len(inner.asked) == len(set(inner.asked)) == 3 + 5


def test_memory_that_takes_one_prompt_at_a_time(tmp_path: Path) -> None:
    """Three policies of one picture cannot be halved from outside, and are asked one by one."""
    track, judge = tracks.load("pictograms"), judges.load("rules")
    gemma = Scripted(lambda _sample, _question: "0.2000", room=1)
    record = evaluate.evaluate(wrap(gemma, guards.SHIELDGEMMA_2), track, judge, out=tmp_path, limit=5)
    assert record.counts.errors == {}
    assert record.engine.out_of_memory_halvings > 0
    nothing = Scripted(lambda _sample, _question: "0.2000", room=0)
    nothing.entry = nothing.entry.model_copy(update={"model": "acme/large"})
    record = evaluate.evaluate(wrap(nothing, guards.SHIELDGEMMA_2), track, judge, out=tmp_path, limit=5)
    assert record.counts.errors == {"out_of_memory": record.counts.questions}
    assert record.status == "incomplete"


def test_a_run_on_pictograms_with_a_tiny_guard(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    runner = CliRunner()
    for name, guard in (("shieldgemma2", None), ("mllama", "none")):
        arguments = ["evaluate", str(checkpoint(name)), "--limit", "4", "--out", str(tmp_path)]
        arguments += ["--max-new-tokens", "3", "--device", "cpu", *(["--guard", guard] if guard else [])]
        done = runner.invoke(app, arguments)
        assert done.exit_code == 0, done.output
    gemma, llama = (
        next(tmp_path.glob(f"{n}/*/record.json")).parent for n in ("local-shieldgemma2", "local-mllama")
    )
    assert Run(gemma).record().entry.guard.startswith("shieldgemma-2@")  # type: ignore[union-attr]
    assert set(Run(gemma).answers()["kind"]) == {"image_alignment"}
    assert Run(gemma).record().scores.overall["image_alignment"].n_items > 0
    # Asked like any other model: all questions, no guard.
    assert Run(llama).record().entry.guard is None
    assert "perception" in set(Run(llama).answers()["kind"])


def test_what_a_guard_has_no_answer_to(tmp_path: Path) -> None:
    vlm = wrap(Scripted(verdict), guards.LLAMA_GUARD_4)
    with pytest.raises(
        UcbenchError, match="acme/guard is a guard, whose verdicts answer no question of track"
    ):
        evaluate.plan(vlm, tracks.load("contexts"), out=tmp_path)
    with_prompt = Scripted(verdict)
    with_prompt.entry = with_prompt.entry.model_copy(update={"system_prompt": "Be kind."})
    with pytest.raises(ModelError, match="takes no system prompt"):
        wrap(with_prompt, guards.LLAMA_GUARD_4)
    with pytest.raises(ModelError, match="services do not give"):
        served(Scripted(verdict), "google/shieldgemma-2-4b-it", None)
    plain = Scripted(verdict)
    assert served(plain, "acme/guard", None) is plain


def test_behind_a_service(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    server = chat_server(
        model="meta-llama/Llama-Guard-4-12B",
        answer=lambda body: "unsafe\nS9" if "shows" in json.dumps(body) else "safe",
    )
    done = CliRunner().invoke(
        app,
        ["evaluate", "--endpoint", server.url, "--model", "meta-llama/Llama-Guard-4-12B", "--limit", "6",
         "--out", str(tmp_path)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (path,) = tmp_path.glob("*/*/record.json")
    run = Run(path.parent)
    record = run.record()
    assert record.entry.guard == guards.LLAMA_GUARD_4.identity
    assert record.status in ("complete", "partial")
    assert record.scores.overall["image_alignment"].value == 0.0
    assert record.scores.overall["text_alignment"].value == 1.0
    assert record.counts.verdicts == sum(server.answered.values()) - 1, "one request a verdict, one probe"
    assert record.usage is not None
    assert len(record.engine.notes) > 2
