"""Audits: what is drawn, what people say of it in real terminals and tables, and what that shows."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench import evaluate, runs
from ucbench.errors import StoreError, UcbenchError
from ucbench.judges import audit, audit_labels, audit_report
from ucbench.judges.audit import Item, Sample
from ucbench.judges.audit_terminal import page, visible
from ucbench.judges.base import Item as Judged
from ucbench.judges.rules import RulesJudge
from ucbench.record import Entry, JudgeRef
from ucbench.runs import Run
from ucbench.tracks import registry as tracks
from ucbench.types import Verdict


class Careless:
    """Reads as the rules do, but calls some Unsafe answers Safe."""

    id, name, digest = "careless-1", "careless", None

    def judge(self, items: Sequence[Judged]) -> list[Verdict]:
        found = []
        for n, (item, verdict) in enumerate(zip(items, RulesJudge().judge(items), strict=True)):
            slip = n % 4 == 0 and verdict.label == "Unsafe"
            found.append(
                Verdict(item.sample_id, item.question_id, "Safe" if slip else verdict.label, "x", self.id)
            )
        return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, scripted: Callable[..., Any]) -> Path:
    place = tmp_path_factory.mktemp("runs")
    for name, declines in (("acme/llama-v1.5-7b", 0.0), ("other/llama-1.5-13b-hf", 0.1), ("acme/otter", 0.3)):
        evaluate.evaluate(
            scripted(name, 0.8, declines), tracks.load("pictograms"), Careless(), out=place, limit=24
        )
    return place


@pytest.fixture(scope="module")
def found(store: Path) -> list[Run]:
    return list(runs.find(store))


CARELESS = JudgeRef(id="careless-1", name="careless")


# Drawing


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava-1.5"), ("liuhaotian/llava-v1.5-13b", "llava-1.5"),
        ("Qwen/Qwen2-VL-7B-Instruct", "qwen2-vl"),
        ("Salesforce/instructblip-vicuna-13b", "instructblip-vicuna"),
        ("HuggingFaceTB/SmolVLM-256M-Instruct", "smolvlm"), ("gpt-4-vision-preview", "gpt-4-vision-preview"),
        ("embedded:tiny-vlm", "tiny-vlm"), ("local:7b", "7b"), ("mistral-community/pixtral-12b", "pixtral"),
    ],
)  # fmt: skip
def test_families(model: str, name: str) -> None:
    assert audit.family(Entry(model=model)) == name
    assert audit.family(Entry(model=model, adapter="x")) == f"{name}, aligned"


def test_what_is_drawn(found: list[Run]) -> None:
    sample = audit.draw(found, CARELESS, n=60, seed=0)
    assert len(sample.units) == 60
    assert sample == audit.draw(found[::-1], CARELESS, n=60, seed=0)
    assert sample.id != audit.draw(found, CARELESS, n=60, seed=1).id
    assert sample.level == ("family", "kind", "verdict")
    assert Counter(unit.family for unit in sample.units) == {"llama-1.5": 30, "otter": 30}
    answers = sum(len(run.answers()) for run in found)
    assert sum(stratum.population for stratum in sample.strata) + sum(sample.left_out.values()) == answers
    for index, stratum in enumerate(sample.strata):
        own = [unit for unit in sample.units if unit.stratum == index]
        assert len(own) == stratum.drawn >= min(audit.LEAST, stratum.population)
        assert {unit.probability for unit in own} == {stratum.drawn / stratum.population}
    assert {unit.item for unit in sample.units} == {item.id for item in sample.items}
    keys = [(unit.run_id, unit.sample_id, unit.question_id) for unit in sample.units]
    assert len(set(keys)) == 60


def test_small_samples_pool_strata(found: list[Run]) -> None:
    levels = [audit.draw(found, CARELESS, n=n, seed=0).level for n in (60, 28, 4)]
    assert levels == list(audit.LEVELS)
    with pytest.raises(UcbenchError, match="at least 4"):
        audit.draw(found, CARELESS, n=3, seed=0)
    whole = audit.draw(found, CARELESS, n=10**6, seed=0)
    assert {unit.probability for unit in whole.units} == {1.0}


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 300), st.booleans())
def test_allocation(sizes: list[int], n: int, equal: bool) -> None:
    given_ = audit._allocate(sizes, n, equal=equal)
    assert sum(given_) == min(n, sum(sizes))
    assert all(0 <= got <= size for got, size in zip(given_, sizes, strict=True))
    if sum(min(audit.LEAST, size) for size in sizes) <= n:
        assert all(got >= min(audit.LEAST, size) for got, size in zip(given_, sizes, strict=True))
    if not equal:
        ordered = sorted(zip(sizes, given_, strict=True))
        assert all(a[1] <= b[1] for a, b in itertools.pairwise(ordered) if a[0] < b[0])


def test_runs_of_several_judges_are_refused(found: list[Run]) -> None:
    records = [run.record() for run in found]
    assert audit.common_judge(records).id == "careless-1"
    other = records[0].model_copy(update={"judge": JudgeRef(id="rules-1", name="rules")})
    with pytest.raises(UcbenchError, match="read by careless-1, rules-1; name the judge"):
        audit.common_judge([other, *records])


# Reporting


def share_right(found: list[Run], family: str) -> float:
    right = []
    for run in found:
        frame = run.frame("careless-1")
        if audit.family(run.record().entry) == family:
            rules = {
                (v.sample_id, v.question_id): v.label for v in RulesJudge().judge(runs.items(run.answers()))
            }
            right += [rules[row.sample_id, row.question_id] == row.label for row in frame.itertuples()]
    return sum(right) / len(right)


def test_all_answers_labelled_give_the_accuracy_itself(found: list[Run]) -> None:
    sample = audit.draw(found, CARELESS, n=10**6, seed=0)
    told = audit_report.report(sample, {"a": labels_by_unit(sample, found)})
    for name in ("llama-1.5", "otter"):
        own = told["families"][name]
        assert own["accuracy"] == pytest.approx(share_right(found, name))
        assert own["effective"] == pytest.approx(own["population"]) == own["labelled"]
        assert own["low"] < own["accuracy"] < own["high"]
    shares = [
        n for matrix in told["confusion"].values() for row in matrix["shares"].values() for n in row.values()
    ]
    assert sum(shares) == pytest.approx(len(told["confusion"]))
    assert told["represented"] == 1


def labels_by_unit(sample: Sample, found: list[Run]) -> dict[str, str]:
    """What the rules read, by item."""
    by_key = {}
    for run in found:
        for verdict in RulesJudge().judge(runs.items(run.answers())):
            by_key[run.run_id, verdict.sample_id, verdict.question_id] = verdict.label
    return {unit.item: by_key[unit.run_id, unit.sample_id, unit.question_id] for unit in sample.units}


def test_the_estimate_is_unbiased_and_its_interval_holds_the_truth(found: list[Run]) -> None:
    right = share_right(found, "llama-1.5")
    everything_ = audit.draw(found, CARELESS, n=10**6, seed=0)
    labels = labels_by_unit(everything_, found)
    told = []
    for seed in range(30):
        sample = audit.draw(found, CARELESS, n=60, seed=seed)
        told.append(audit_report.report(sample, {"a": labels})["families"]["llama-1.5"])
    mean = sum(own["accuracy"] for own in told) / len(told)
    assert mean == pytest.approx(right, abs=0.04)
    assert sum(own["low"] <= right <= own["high"] for own in told) >= 26


def hand_made() -> Sample:
    """Two strata: of 90 answers two are drawn, of 10 two."""

    def unit(n: int, verdict: str, stratum: int, probability: float) -> audit.Unit:
        return audit.Unit(
            run_id="r", sample_id=f"s{n}", question_id="q", family="f", kind="image_alignment",
            verdict=verdict, stratum=stratum, probability=probability, item=f"i{n}",
        )  # fmt: skip

    return Sample(
        id="x", judge=CARELESS, runs=("r",), n=4, seed=0, level=("family",), left_out={},
        strata=(
            audit.Stratum(name="one", family="f", population=90, drawn=2),
            audit.Stratum(name="two", family="f", population=10, drawn=2),
        ),
        units=(
            unit(0, "Safe", 0, 2 / 90), unit(1, "Safe", 0, 2 / 90),
            unit(2, "Unsafe", 1, 0.2), unit(3, "N/A", 1, 0.2),
        ),
        items=tuple(Item(id=f"i{n}", kind="image_alignment", prompt="Safe?", text=f"{n}") for n in range(4)),
    )  # fmt: skip


def test_weights_by_hand() -> None:
    sample = hand_made()
    one = {"i0": "Safe", "i1": "Unsafe", "i2": "Unsafe", "i3": "N/A"}
    told = audit_report.report(sample, {"a": one})
    assert told["overall"]["accuracy"] == pytest.approx((45 + 5 + 5) / 100)
    assert told["overall"]["effective"] == pytest.approx(100**2 / (2 * 45**2 + 2 * 5**2))
    (matrix,) = told["confusion"].values()
    assert matrix["counts"]["Unsafe"] == {"Safe": 1, "Unsafe": 1, "N/A": 0}
    assert matrix["shares"]["Unsafe"]["Safe"] == pytest.approx(0.45)

    # Half way: what is labelled stands for its stratum; a stratum without labels is left out, and said so.
    part = audit_report.report(sample, {"a": {"i0": "Safe"}})
    assert part["overall"]["accuracy"] == 1
    assert part["represented"] == pytest.approx(0.9)

    # Two people who differ: half an agreement, and their kappa.
    two = audit_report.report(sample, {"a": one, "b": one | {"i1": "Safe"}})
    assert two["overall"]["accuracy"] == pytest.approx((45 + 22.5 + 10) / 100)
    assert two["annotators"]["b"]["accuracy"] == 1
    (pair,) = two["agreement"]
    assert (pair["n"], pair["agreement"]) == (4, 0.75)
    assert pair["kappa"] == pytest.approx((0.75 - 0.3125) / (1 - 0.3125))
    with pytest.raises(UcbenchError, match="nobody has labelled"):
        audit_report.report(sample, {})


# Labels on disk


def test_labels_survive_a_cut_line_and_one_writer_at_a_time(tmp_path: Path) -> None:
    sample = hand_made()
    with audit_labels.opened(sample, tmp_path, "ann") as own:
        own.give("i0", "Safe")
        own.give("i1", "Safe")
        own.give("i0", None)
        own.give("i1", "Unsafe")
        with (
            pytest.raises(StoreError, match="another terminal"),
            audit_labels.opened(sample, tmp_path, "ann"),
        ):
            pass
        with audit_labels.opened(sample, tmp_path, "bob") as other:
            other.give("i3", "N/A")
    path = tmp_path / "labels-ann.jsonl"
    path.write_bytes(path.read_bytes() + b'{"item": "i2", "la')
    assert audit_labels.read_all(sample, tmp_path) == {"ann": {"i1": "Unsafe"}, "bob": {"i3": "N/A"}}
    with audit_labels.opened(sample, tmp_path, "ann") as own:
        own.give("i2", "Safe")
    assert audit_labels.read_all(sample, tmp_path)["ann"] == {"i1": "Unsafe", "i2": "Safe"}
    path.write_bytes(b'{"item": "i0", "label": "Maybe"}\n' + path.read_bytes())
    with pytest.raises(StoreError, match="damaged at line 1"):
        audit_labels.read_all(sample, tmp_path)
    with (
        pytest.raises(UcbenchError, match="cannot name a file"),
        audit_labels.opened(sample, tmp_path, "../x"),
    ):
        pass


def test_a_table_goes_out_and_comes_back(tmp_path: Path) -> None:
    sample = hand_made()
    odd = '=HYPERLINK("x")\n\x00"quoted", \x1b[31m'
    sample = sample.model_copy(
        update={"items": (sample.items[0].model_copy(update={"text": odd}), *sample.items[1:])}
    )
    target = tmp_path / "a.csv"
    audit_labels.export(sample, {"i1": "Safe"}, target)
    with target.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["i0", "i1", "i2", "i3"]
    assert rows[0]["answer"].startswith("'=HYPERLINK")
    assert [row["label"] for row in rows] == ["", "Safe", "", ""]
    assert not {"family", "verdict", "model"} & set(rows[0])
    with pytest.raises(StoreError, match="is there already"):
        audit_labels.export(sample, {}, target)

    for row, label in zip(rows, ("unsafe", "Safe", "NA", ""), strict=True):
        row["label"] = label

    def written(changes: dict[int, dict[str, str]]) -> Path:
        with (tmp_path / "b.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(row | changes.get(n, {}) for n, row in enumerate(rows))
        return tmp_path / "b.csv"

    with audit_labels.opened(sample, tmp_path, "ann") as own:  # the first answer takes two lines
        own.give("i1", "Unsafe")
        with pytest.raises(
            UcbenchError, match=r"line 4 \(there is no answer 'zz'.*line 5 \(label 'hm' is none"
        ):
            audit_labels.take_in(sample, own, written({1: {"id": "zz", "answer": "x"}, 2: {"label": "hm"}}))
        assert own.given == {"i1": "Unsafe"}, "nothing is taken in of a bad table"
        assert audit_labels.take_in(sample, own, written({})) == (2, 1)
        assert own.given == {"i0": "Unsafe", "i1": "Safe", "i2": "N/A"}
        assert audit_labels.take_in(sample, own, written({})) == (0, 0)


def test_nothing_in_an_answer_moves_the_cursor() -> None:
    assert visible("a\x1b[2Jb\rc\u202ed\x9b") == "a\\x1b[2Jb\\x0dc\\u202ed\\x9b"
    assert visible("caf\u00e9 \u4e2d\n\tx") == "caf\u00e9 \u4e2d\n    x"
    shown = page(
        Item(id="i", kind="general", prompt="Q", text="A\x1b]0;title\x07", expected="blue"), 3, 10, 60
    )
    assert "\x1b" not in shown
    assert "4 of 10" in shown
    assert "blue" in shown
    assert "c Correct   w Wrong   n N/A" in shown


# The command in real terminals


class Terminal:
    """A real process in a real terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "ucbench.cli", "judge", "audit", *arguments]
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            # A background job is started with Ctrl+C ignored, and its children would be as well.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(sys.executable, command, os.environ | {"TERM": "xterm", "COLUMNS": "100"})
        self.seen = ""
        self.before = 0

    def screen(self, *awaited: str, last: bool = False) -> str:
        """What is shown once all of `awaited` is: on a screen drawn since the last key, or the `last`."""
        deadline = time.monotonic() + 240
        while True:
            now = self.seen.rpartition("\x1b[2J")[2]
            fresh = last or self.seen.count("\x1b[2J") > self.before
            if fresh and all(re.search(pattern, now) for pattern in awaited):
                return now
            assert time.monotonic() < deadline, f"{awaited} not in {now!r}"
            assert self._read(), f"{awaited} not in {now!r}, and the process has ended"

    def press(self, keys: str) -> None:
        self.before = self.seen.count("\x1b[2J")
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Its status, when it has ended by itself."""
        while self._read():
            pass
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        """Take what is written within a second; False when the process is gone."""
        if select.select([self.master], [], [], 1.0)[0]:
            try:
                content = os.read(self.master, 65536)
            except OSError:
                return False
            self.seen += content.decode()
            return bool(content)
        return True

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


def key_for(screen: str) -> str:
    """The key a careful person presses."""
    body = screen.replace("\r\n", "\n")
    answer = body.partition("\nAnswer\n")[2].partition("\n---")[0].strip()
    if "Right answer" in body:
        expected = body.partition("Right answer\n")[2].split("\n")[0].strip()
        return "n" if "sorry" in answer else "c" if f" {expected}." in f"{answer}" else "w"
    if chosen := re.search(r"The answer is ([A-D])\.", answer):
        return chosen[1].lower()
    return "n" if "sorry" in answer else "u" if answer.startswith("No") else "s"


def test_labelling_in_terminals(store: Path, found: list[Run]) -> None:
    arguments = [*(str(run.folder) for run in found), "--out", str(store), "--n", "22", "--annotator", "ann"]
    first = Terminal(*arguments)
    screen = first.screen(r"1 of \d+", "q quit")
    total = int(re.findall(r"1 of (\d+)", screen)[0])
    assert not re.search("llama|otter|acme|careless", screen), "blind to model and judge"
    busy = subprocess.run(
        [sys.executable, "-m", "ucbench.cli", "judge", "audit", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert busy.returncode == 2
    assert "another terminal" in busy.stderr

    first.press("\x1b[A")  # an arrow is no A
    first.press("x")  # nor is this a key
    first.press(key_for(screen))
    screen = first.screen(f"2 of {total}", "q quit")
    first.press(key_for(screen))
    first.screen(f"3 of {total}", "q quit")
    first.press("z")
    again = first.screen(f"2 of {total}", "q quit")
    assert again.partition("Answer")[2] == screen.partition("Answer")[2], "the last one is back"
    first.press(" ")
    later = first.screen(f"2 of {total}", "q quit")
    first.press(key_for(later))
    first.screen(f"3 of {total}", "q quit")
    first.press("q")
    first.screen("the same command goes on", r"\d+ of 22 drawn", last=True)
    assert first.end() == 0

    (place,) = (store / audit.FOLDER).iterdir()
    sample = Sample.model_validate_json((place / audit.SAMPLE).read_bytes())
    assert len(sample.items) == total
    assert len(audit_labels.read_all(sample, place)["ann"]) == 2

    second = Terminal(*arguments)
    screen = second.screen(f"3 of {total}", "q quit")
    second.press(key_for(screen))
    second.screen(f"4 of {total}", "q quit")
    second.kill()
    assert len(audit_labels.read_all(sample, place)["ann"]) == 3, "killed, nothing is lost"

    third = Terminal(*arguments)
    for number in range(4, total + 1):
        third.press(key_for(third.screen(f"{number} of {total}", "q quit")))
    third.screen("22 of 22 drawn answers labelled", last=True)
    assert third.end() == 0

    told = json.loads((place / audit_report.REPORT).read_text())
    given_ = audit_labels.read_all(sample, place)
    assert given_["ann"] == labels_by_unit(sample, found), "each key is the label that the screen says"
    assert told == json.loads(json.dumps(audit_report.report(sample, given_)))
    assert set(told["families"]) == {"llama-1.5", "otter"}


def test_a_terminal_is_put_back_and_needed(store: Path, found: list[Run]) -> None:
    arguments = [str(found[0].folder), "--out", str(store), "--n", "10"]
    terminal = Terminal(*arguments)
    before = termios.tcgetattr(terminal.master)
    terminal.screen("1 of", "q quit")
    assert not termios.tcgetattr(terminal.master)[3] & termios.ICANON
    terminal.press("\x03")
    terminal.screen("the same command goes on", last=True)
    assert termios.tcgetattr(terminal.master)[3] == before[3]
    assert terminal.end() == 0
    piped = subprocess.run(
        [sys.executable, "-m", "ucbench.cli", "judge", "audit", *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert piped.returncode == 2
    assert "labelling needs a terminal" in piped.stderr
    assert "--export" in piped.stderr
