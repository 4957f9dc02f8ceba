"""Fitting classifiers on labelled answers: reading, splitting, learning, measuring, writing."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.errors import AccessError, ModelError, StoreError, UcbenchError, UnknownNameError
from ucbench.judges import labelled, phrases, registry, train
from ucbench.judges.base import Item
from ucbench.judges.classifier import ALIGNMENT_LABELS, PERCEPTION_LABELS, tiny_folder
from ucbench.judges.labelled import Example, hold_out
from ucbench.judges.train import Settings, measure

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

LABELS = ALIGNMENT_LABELS


def table(path: Path, rows: list[tuple[str, ...]], header: str = "text,label") -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])
    return path


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = phrases.corpus(phrases.alignment_answer, 240, seed=4)
    return table(tmp_path_factory.mktemp("labelled") / "answers.csv", rows)


# Reading


def test_csv_and_jsonl_read_alike(tmp_path: Path) -> None:
    rows = [("Yes, fine.", "Safe", "1"), ('No: "never",\nreally', "unsafe", "1"), ("Hm", "NA", "2"),
            ("Yes, fine.", "safe", "3"), ("<think>no</think>Sure.", "Safe", ""), ("No way", "Unsafe", "2"),
            ("???", "n/a", "2")]  # fmt: skip
    one = labelled.read(table(tmp_path / "a.csv", rows, "text,label,group"), LABELS)
    lines = [json.dumps(dict(zip(("text", "label", "group"), row, strict=True))) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    two = labelled.read(tmp_path / "a.jsonl", LABELS)
    assert one.repeated == two.repeated == 1
    assert [(e.text, e.label, e.group) for e in one.examples] == [
        (e.text, e.label, e.group) for e in two.examples
    ]
    assert [(e.text, e.label) for e in one.examples][1:5] == [
        ('No: "never",\nreally', "Unsafe"), ("Hm", "N/A"), ("Sure.", "Safe"), ("No way", "Unsafe"),
    ]  # fmt: skip
    assert [e.line for e in one.examples] == [2, 3, 5, 7, 8, 9]
    assert one.examples[3].group == "=sure", "without a group: its own words"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("x", "maybe")], "line 2 (label 'maybe' is none of Safe, Unsafe, N/A)"),
        ([("x", "Safe"), ("  ", "Safe")], "line 3 (no text)"),
        ([("<think>x", "Safe")], "line 2 (nothing but a thinking part)"),
        ([("x", "Safe"), ("y", "Safe"), ("x", "Unsafe")], "line 4 (Unsafe, where line 2 says Safe"),
        ([("x", str(n)) for n in range(8)], "line 6 (label '4' is none of Safe, Unsafe, N/A) and 3 more"),
        ([("x", "Safe"), ("y", "Safe"), ("z", "Unsafe")], "too few answers labelled Unsafe (1), N/A (0)"),
        ([("x", "Safe"), ("y",)], "1 cells instead of 2 on line 3"),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path: Path, rows: list[tuple[str, ...]], words: str) -> None:
    path = table(tmp_path / "a.csv", rows)
    with pytest.raises(UcbenchError) as caught:
        labelled.read(path, LABELS)
    assert words in str(caught.value)


def test_files_that_are_no_table_are_named(tmp_path: Path) -> None:
    def refused(name: str, content: bytes, words: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UcbenchError, match=words):
            labelled.read(tmp_path / name, LABELS)

    refused("a.csv", b"answer,label\nx,Safe\n", "columns answer, label")
    refused("a.csv", b'text,label\n"x,Safe\n', "not CSV on line 2")
    refused("a.csv", b"text,label\nx,Safe\n\xff\xfe,Safe\n", "not UTF-8 text at line 3")
    refused("a.jsonl", b'{"text": "x", "label": "Safe"}\n\nnope\n', "not JSON on line 3")
    refused("a.jsonl", b"[1]\n", "no object on line 1")
    refused("a.txt", b"", "neither .csv nor .jsonl")
    with pytest.raises(UcbenchError, match="cannot read"):
        labelled.read(tmp_path / "none.csv", LABELS)


# Splitting

EXAMPLES = st.lists(st.tuples(st.sampled_from(LABELS), st.integers(0, 30)), min_size=1, max_size=120).map(
    lambda rows: [Example(f"{n}", label, f"{group}", n) for n, (label, group) in enumerate(rows)]
)


@given(EXAMPLES, st.floats(0.05, 0.6), st.integers(0, 5))
def test_no_group_is_on_both_sides(examples: list[Example], share: float, seed: int) -> None:
    kept, held = hold_out(examples, share, seed)
    assert sorted(kept + held, key=lambda e: e.line) == examples
    assert not {e.group for e in kept} & {e.group for e in held}
    assert hold_out(examples, share, seed) == (kept, held)


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=200), st.floats(0.05, 0.6))
def test_shares_of_labels_are_met_where_groups_are_single(labels: list[str], share: float) -> None:
    examples = [Example(f"{n}", label, f"{n}", n) for n, label in enumerate(labels)]
    kept, held = hold_out(examples, share, 0)
    for label, n in Counter(labels).items():
        got = sum(e.label == label for e in held)
        if n == 1:
            assert got == 0
        else:
            assert abs(got - min(max(share * n, 1), n - 1)) <= 0.5
            assert any(e.label == label for e in kept)
            assert got


def test_near_duplicates_stay_together() -> None:
    assert labelled.alike("Yes, it IS safe!") == labelled.alike("yes  it is **safe**")
    assert labelled.alike("yes it is safe") != labelled.alike("yes it is not safe")
    assert labelled.alike("???") != labelled.alike("...")


# Measuring


def test_figures_by_hand() -> None:
    right = ["Safe"] * 6 + ["Unsafe"] * 3 + ["N/A"]
    read = ["Safe"] * 5 + ["Unsafe"] + ["Unsafe"] * 2 + ["Safe"] + ["N/A"]
    examples = [Example(f"{n}", label, f"{n}", n) for n, label in enumerate(right)]
    found = measure(examples, read, LABELS)
    assert found["accuracy"]["value"] == pytest.approx(0.8)
    assert found["f1"]["Safe"]["value"] == pytest.approx(2 * 5 / (6 + 6))
    assert found["f1"]["Unsafe"]["value"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["f1"]["N/A"]["value"] == 1
    assert found["macro_f1"]["value"] == pytest.approx((10 / 12 + 4 / 6 + 1) / 3)
    assert found["confusion"]["Safe"] == {"Safe": 5, "Unsafe": 1, "N/A": 0}
    figures = [found["accuracy"], found["macro_f1"], *found["f1"].values()]
    assert all(0 <= f["low"] <= f["value"] <= f["high"] <= 1 for f in figures)
    assert found["f1"]["N/A"]["low"] < 0.5, "one answer shows little"
    together = measure([Example(e.text, e.label, f"{e.line // 5}", e.line) for e in examples], read, LABELS)
    assert together["groups"] == 2
    assert together["accuracy"]["low"] < found["accuracy"]["low"], (
        "answers of a group are no independent ones"
    )


# Learning


def test_a_classifier_learns_and_is_loaded_by_the_judge(answers: Path, tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    card = train.train(
        answers, "alignment", tmp_path / "fitted", base="tiny", device="cpu",
        settings=Settings(epochs=3, batch_size=32), report=lambda *row: told.append((row[0], row[3])),
    )  # fmt: skip
    assert [number for number, _ in told] == list(range(1, card["epochs_run"] + 1))
    assert card["held_out"]["macro_f1"]["value"] > 0.9, "the start has learnt such answers already"
    assert json.loads((tmp_path / "fitted" / "training.json").read_text()) == json.loads(json.dumps(card))
    assert "macro F1" in (tmp_path / "fitted" / "README.md").read_text()
    assert {p.name for p in (tmp_path / "fitted").iterdir()} == {
        "model.safetensors", "config.json", "tokenizer.json", "training.json", "README.md",
    }  # fmt: skip
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"
    n = card["data"]["answers"]
    assert sum(sum(part.values()) for part in n.values()) + card["data"]["repeated_left_out"] == 240
    perception = tiny_folder() / "perception.safetensors"
    judge = registry.load(f"classifier:{perception},{tmp_path / 'fitted'}")
    verdict = judge.judge(
        [Item("s", "q", "image_alignment", "Is this image safe for work?", "No, it is not safe.", "Safe")]
    )[0]
    assert verdict.label == "Unsafe"
    with pytest.raises(StoreError, match="is there already"):
        train.train(answers, "alignment", tmp_path / "fitted", base="tiny")


def test_a_head_is_learnt_anew_from_a_plain_base(
    answers: Path, tmp_path: Path, official: Callable[..., dict[str, Any]]
) -> None:
    """A masked language model, as roberta-base comes: the prefix `roberta.`, a pooler, another head."""
    from safetensors.torch import save_file

    base = tmp_path / "base"
    base.mkdir()
    for name in ("tokenizer.json",):
        (base / name).write_bytes((tiny_folder() / name).read_bytes())
    state = official(0, 3)
    del state["classifier.weight"], state["classifier.bias"]
    save_file(state | {"lm_head.bias": torch.zeros(1500)}, base / "model.safetensors")
    runs = [
        train.train(answers, "alignment", tmp_path / name, base=str(base), device="cpu",
                    settings=Settings(epochs=epochs, lr=2e-3, dev=0.2))
        for name, epochs in (("one", 1), ("again", 1), ("more", 4))
    ]  # fmt: skip
    assert runs[0]["weights_sha256"] == runs[1]["weights_sha256"] != runs[2]["weights_sha256"]
    assert runs[0]["base"] == "local:base"
    assert runs[0]["base_revision"].startswith("sha256:")
    assert runs[2]["curve"][-1]["loss"] < runs[2]["curve"][0]["loss"]
    best = max(runs[2]["curve"], key=lambda row: (row["dev_macro_f1"], -row["dev_loss"]))
    assert runs[2]["best_epoch"] == best["epoch"]

    plain = {key.removeprefix("roberta."): value for key, value in state.items()}
    save_file(plain, base / "model.safetensors")
    loaded = train.load_base(str(base), "perception").model.state_dict()
    assert torch.equal(loaded["roberta.embeddings.LayerNorm.bias"], plain["embeddings.LayerNorm.bias"])
    assert loaded["classifier.weight"].shape == (len(PERCEPTION_LABELS), 64)
    del plain["encoder.layer.1.output.dense.bias"]
    save_file(plain, base / "model.safetensors")
    with pytest.raises(ModelError, match=r"layer\.1\.output\.dense\.bias"):
        train.load_base(str(base), "perception")


def test_groups_and_leaks(tmp_path: Path) -> None:
    draw = Random(0)
    rows = [
        (f"{word} number {n}", label, f"{draw.randrange(12)}")
        for n in range(60)
        for word, label in (("Yes", "Safe"), ("No", "Unsafe"), ("Hm", "N/A"))
    ]
    # The same words in every group: whichever side they are learnt on, they are not measured on.
    rows += [(f"Yes{'!' * n}", "Safe", f"{n}") for n in range(1, 12)]
    data = labelled.read(table(tmp_path / "a.csv", rows, "text,label,group"), LABELS)
    rest, held = hold_out(data.examples, 0.3, 0)
    kept, left_out = train._without_leaks(rest, held)
    assert left_out == len(held) - len(kept) > 0
    assert not {labelled.alike(e.text) for e in rest} & {labelled.alike(e.text) for e in kept}


@pytest.mark.parametrize(
    ("kind", "base", "settings", "error", "words"),
    [
        ("safety", "tiny", {}, UnknownNameError, "--kind takes alignment or perception"),
        ("alignment", "no/such/folder", {}, UnknownNameError, "--base takes a folder, a Hub id"),
        ("alignment", "roberta-base", {}, AccessError, "--base tiny"),
        ("perception", "tiny", {}, UcbenchError, "is none of A, B, C, D, N/A"),
        ("alignment", "tiny", {"held_out": 1.5}, UcbenchError, "--held-out must lie between"),
        ("alignment", "tiny", {"epochs": 0}, UcbenchError, "--epochs must be at least 1"),
        ("alignment", "tiny", {"lr": 0.0}, UcbenchError, "--lr must lie between"),
    ],
)
def test_bad_orders_write_nothing(
    kind: str, base: str, settings: dict[str, Any], error: type[UcbenchError], words: str,
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(error, match=words):
        train.train(answers, kind, tmp_path / "out", base=base, settings=Settings(**settings))
    assert not (tmp_path / "out").exists()


# Cut off


def settings(**changes: Any) -> Settings:
    return Settings(**{"epochs": 4, "patience": 4, "batch_size": 32, "lr": 1e-3, **changes})


@pytest.fixture(scope="module")
def undisturbed(answers: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("whole") / "out"
    return train.train(answers, "alignment", out, base="tiny", device="cpu", settings=settings())


def command(answers: Path, out: Path) -> list[str]:
    return [
        str(answers), "--kind", "alignment", "--out", str(out), "--base", "tiny", "--device", "cpu",
        "--epochs", "4", "--patience", "4", "--batch-size", "32", "--lr", "1e-3",
    ]  # fmt: skip


def test_killed_twice_it_ends_as_if_undisturbed(
    undisturbed: dict[str, Any], answers: Path, tmp_path: Path
) -> None:
    """Once while a state is being written, once between two of them: the same weights to the bit."""
    out, place = tmp_path / "out", tmp_path / "out.unfinished"
    killed = [sys.executable, str(Path(__file__).with_name("killed_training.py")), "2"]
    done = subprocess.run([*killed, *command(answers, out)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stderr.count("epoch ") == 1
    assert not out.exists()
    assert [path.name for path in place.iterdir() if not path.name.startswith(".")] == ["epoch-0001"]

    more = [sys.executable, "-m", "ucbench.cli", "judge", "train", *command(answers, out), "--resume"]
    with subprocess.Popen(more, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("epoch 2 of 4: loss")
        process.kill()
    assert not out.exists()

    told: list[int] = []
    card = train.train(
        answers, "alignment", out, base="tiny", device="cpu", settings=settings(), resume=True,
        report=lambda epoch, *_: told.append(epoch),
    )  # fmt: skip
    assert told
    assert told[0] >= 3
    assert card == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing is left beside it"


@pytest.fixture
def cut_off(answers: Path, tmp_path: Path) -> Path:
    """An unfinished training: cut off by Ctrl+C after its second epoch."""

    def stop(epoch: int, *_: Any) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(
            answers,
            "alignment",
            tmp_path / "out",
            base="tiny",
            device="cpu",
            settings=settings(),
            report=stop,
        )
    return tmp_path / "out.unfinished"


def test_what_was_cut_off_is_not_begun_anew_by_accident(cut_off: Path, answers: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in cut_off.rglob("*") if path.is_file()}
    (state,) = cut_off.iterdir()
    out = tmp_path / "out"

    def refused(words: str, **changes: Any) -> None:
        resume = changes.pop("resume", True)
        with pytest.raises(StoreError, match=words):
            train.train(
                answers,
                "alignment",
                out,
                base="tiny",
                device="cpu",
                settings=settings(**changes),
                resume=resume,
            )

    refused("epoch-0002 is of a training that was cut off; add --resume to go on", resume=False)
    refused(r"of a training with lr 0\.001, not 0\.002; give the same again", lr=0.002)
    refused("of a training with seed 0, not 1", seed=1)
    with cut_off.parent.joinpath("lock").open("w"), train.Place(cut_off).alone():
        refused("another process is training in")
    assert before == {path: path.read_bytes() for path in cut_off.rglob("*") if path.is_file()}
    (state / "learner.pt").write_bytes(b"PK and nothing")
    refused(f"{state} is damaged; remove {cut_off} and start again")
    assert not out.exists()


def test_a_stopped_command_says_how_to_go_on(answers: Path, tmp_path: Path) -> None:
    arguments = [*command(answers, tmp_path / "out")[:-8], "--epochs", "999", "--patience", "999"]
    with subprocess.Popen(
        [sys.executable, "-m", "ucbench.cli", "judge", "train", *arguments],
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.readline().startswith("epoch 1 of 999: loss")
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 130
    assert told.endswith("stopped; add --resume to go on after the last whole epoch\n")
    assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["out.unfinished"]


def test_a_training_without_a_whole_epoch_leaves_nothing(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("no room")

    monkeypatch.setattr("ucbench.align.output.staged", full)
    with pytest.raises(StoreError, match="no room"):
        train.train(answers, "alignment", tmp_path / "out", base="tiny", device="cpu", settings=settings())
    assert list(tmp_path.iterdir()) == []
