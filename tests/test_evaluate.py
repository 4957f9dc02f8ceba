"""The evaluation on the real embedded model, in real processes that are really killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from ucbench import evaluate as engine
from ucbench import journal, runs
from ucbench.cli import app
from ucbench.judges import registry as judges
from ucbench.models.base import Batch, OutOfMemoryError
from ucbench.runs import Run
from ucbench.tracks import registry as tracks
from ucbench.types import Answer

pytestmark = pytest.mark.xdist_group("evaluate")

HERE = Path(__file__).parent
MODEL = "embedded:tiny-vlm"


def command(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    head = launcher or (sys.executable, "-m", "ucbench.cli")
    if launcher:
        head = (*launcher, "-m", "ucbench.cli")
    return subprocess.run([*head, *arguments], capture_output=True, text=True, check=False, timeout=280)


def only_run(store: Path) -> Run:
    (run,) = runs.find(store)
    return run


def outcome(run: Run) -> dict[str, Any]:
    """Everything about a run that a kill, a restart or another process must not change."""
    record = run.record()
    assert record.judge
    return {
        "answers": run.answers().drop(columns="seconds").to_dict("list"),
        "verdicts": run.judgements(record.judge.id).to_dict("list"),
        "scores": record.scores.model_dump(),
        "counts": record.counts.model_dump(),
        "run_id": record.run_id,
        "status": record.status,
    }


def same(left: dict[str, Any], right: dict[str, Any]) -> None:
    for name in left:
        if name in ("answers", "verdicts"):
            pd.testing.assert_frame_equal(pd.DataFrame(left[name]), pd.DataFrame(right[name]))
        else:
            assert left[name] == right[name], name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = tmp_path_factory.mktemp("undisturbed")
    done = command("evaluate", MODEL, "--limit", "24", "--out", str(store))
    assert done.returncode == 0, done.stderr
    return only_run(store)


def kill_and_restart(store: Path, kills: int, arguments: tuple[str, ...], questions: int) -> None:
    """Kill one evaluation `kills` times at random places, half of them in the middle of a write."""
    draw = random.Random(2024)
    for n in range(kills):
        middle = "middle" if n % 2 == 0 else "between"
        share = max(1, questions // (kills + 1))
        after = draw.randint(1, share)
        done = subprocess.run(
            [sys.executable, str(HERE / "killed_evaluation.py"), str(after), middle, MODEL, *arguments,
             "--out", str(store)],
            capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        (journal_path,) = store.glob("*/*/answers-0.jsonl")
        assert journal_path.read_bytes().endswith(b"\n") == (middle == "between")
        assert not any(runs.find(store))
    before, _ = journal.read(journal_path)
    done = command("evaluate", MODEL, *arguments, "--out", str(store))
    assert done.returncode == 0, done.stderr
    # What was written before the last start was not asked for again: its measured seconds stand.
    after_all = only_run(store).answers().set_index(runs.KEY)["seconds"]
    for line in before:
        key = (line.answer.sample_id, line.answer.question_id)
        assert after_all[key] == pytest.approx(line.seconds, rel=1e-5)
    assert not list(store.glob("*/*/*.jsonl"))


def test_killed_twice_it_ends_as_if_undisturbed(undisturbed: Run, tmp_path: Path) -> None:
    kill_and_restart(tmp_path, 2, ("--limit", "24"), len(undisturbed.answers()))
    same(outcome(undisturbed), outcome(only_run(tmp_path)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_twenty_times_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    assert command("evaluate", MODEL, "--limit", "150", "--out", str(tmp_path / "a")).returncode == 0
    questions = len(only_run(tmp_path / "a").answers())
    kill_and_restart(tmp_path / "b", 20, ("--limit", "150"), questions)
    same(outcome(only_run(tmp_path / "a")), outcome(only_run(tmp_path / "b")))


@pytest.mark.parametrize(
    "launcher",
    [
        # Without MPI this starts a single process; the next one starts two (gloo).
        pytest.param(("accelerate", "launch", "--num_processes", "2", "--cpu"), marks=pytest.mark.slow),
        ("accelerate", "launch", "--num_processes", "2", "--multi_gpu"),
    ],
)
def test_under_accelerate_launch_the_scores_are_the_same(
    launcher: tuple[str, ...], undisturbed: Run, tmp_path: Path
) -> None:
    program = str(Path(sys.executable).with_name(launcher[0]))
    done = command(
        "evaluate", MODEL, "--limit", "24", "--out", str(tmp_path), launcher=(program, *launcher[1:])
    )
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    same(outcome(undisturbed), outcome(run))
    assert run.record().engine.processes == (2 if "--multi_gpu" in launcher else 1)


def test_a_finished_run_is_not_asked_again(scripted: Callable[..., Any], tmp_path: Path) -> None:
    vlm, track, judge = scripted("acme/vlm", 0.8), tracks.load("pictograms"), judges.load("rules")
    first = engine.evaluate(vlm, track, judge, out=tmp_path, limit=10)
    asked = vlm.asked
    assert engine.evaluate(vlm, track, judge, out=tmp_path, limit=10) == first
    assert vlm.asked == asked == first.track.n_questions
    assert first.status == "partial"


def test_what_could_change_an_answer_makes_another_run(scripted: Callable[..., Any], tmp_path: Path) -> None:
    track, judge = tracks.load("pictograms"), judges.load("rules")
    vlm = scripted("acme/vlm", 0.8)
    entries = [
        vlm.entry,
        vlm.entry.model_copy(update={"dtype": "bfloat16"}),
        vlm.entry.model_copy(update={"revision": "1" * 40}),
        vlm.entry.model_copy(update={"decoding": vlm.entry.decoding.model_copy(update={"temperature": 1.0})}),
    ]
    for entry in entries:
        vlm.entry = entry
        engine.evaluate(vlm, track, judge, out=tmp_path, limit=2)
    engine.evaluate(vlm, track, judge, out=tmp_path, limit=3)
    engine.evaluate(vlm, track, judge, out=tmp_path, limit=2, draw=1)
    assert len(list(runs.find(tmp_path))) == len(entries) + 2
    engine.evaluate(vlm, track, judge, out=tmp_path, limit=2, batch_size=3)
    assert len(list(runs.find(tmp_path))) == len(entries) + 2


class Cramped:
    """A real model on a machine whose memory holds `room` answers at a time."""

    def __init__(self, vlm: Any, room: int) -> None:
        self.vlm, self.room = vlm, room
        self.entry, self.engine_path, self.plan = vlm.entry, vlm.engine_path, vlm.plan

    def answer(self, batch: Batch) -> list[Answer]:
        if len(batch.items) > self.room:
            raise OutOfMemoryError
        answers: list[Answer] = self.vlm.answer(batch)
        return answers


def test_a_limit_that_limits_nothing_is_the_whole_run(scripted: Callable[..., Any], tmp_path: Path) -> None:
    track, vlm = tracks.load("pictograms"), scripted("acme/vlm", 0.8)
    whole = engine.plan(vlm, track, out=tmp_path)
    assert engine.plan(vlm, track, out=tmp_path, limit=10**6).run == whole.run
    assert engine.plan(vlm, track, out=tmp_path, limit=900).run != whole.run


def test_the_judge_of_a_finished_run_stays_unless_another_is_named(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    track, vlm = tracks.load("pictograms"), scripted("acme/vlm", 0.8)
    rules, classifier = judges.load("rules"), judges.load("classifier")
    engine.evaluate(vlm, track, classifier, out=tmp_path, limit=2)
    kept = engine.evaluate(vlm, track, rules, out=tmp_path, limit=2, keep_judge=True)
    assert kept.judge
    assert kept.judge.id == classifier.id
    named = engine.evaluate(vlm, track, rules, out=tmp_path, limit=2)
    assert named.judge
    assert named.judge.id == rules.id


def test_a_finished_run_with_damaged_answers_does_not_pass(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    track, vlm, rules = tracks.load("pictograms"), scripted("acme/vlm", 0.8), judges.load("rules")
    engine.evaluate(vlm, track, rules, out=tmp_path, limit=2)
    (only_run(tmp_path).folder / runs.ANSWERS).write_bytes(b"PAR1")
    with pytest.raises(engine.StoreError, match="evaluate again"):
        engine.evaluate(vlm, track, rules, out=tmp_path, limit=2)


def test_out_of_memory_halves_the_batch_and_the_answers_stay(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    track, judge = tracks.load("pictograms"), judges.load("rules")
    plain = engine.evaluate(scripted("acme/vlm", 0.8), track, judge, out=tmp_path / "a", limit=6)
    cramped = engine.evaluate(
        Cramped(scripted("acme/vlm", 0.8), 5), track, judge, out=tmp_path / "b", limit=6
    )
    assert cramped.scores == plain.scores
    assert cramped.engine.out_of_memory_halvings > plain.engine.out_of_memory_halvings == 0


def test_when_one_answer_does_not_fit_it_is_a_typed_error_and_asked_again_later(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    track, judge = tracks.load("pictograms"), judges.load("rules")
    record = engine.evaluate(Cramped(scripted("acme/vlm", 0.8), 0), track, judge, out=tmp_path, limit=4)
    assert record.status == "incomplete"
    assert record.counts.errors == {"out_of_memory": record.track.n_questions}
    assert record.scores.overall["perception"].value is None
    mended = engine.evaluate(scripted("acme/vlm", 0.8), track, judge, out=tmp_path, limit=4)
    assert mended.run_id == record.run_id
    assert (mended.status, mended.counts.errors) == ("partial", {})


class WithBrokenPicture:
    """The pictograms track with one picture that is a text file."""

    def __init__(self, track: Any, broken: Path) -> None:
        self.track, self.broken = track, broken
        self.id, self.version, self.concepts = track.id, track.version, track.concepts
        self.categories, self.subsets, self.splits = track.categories, track.subsets, track.splits

    def samples(self, *arguments: Any) -> Any:
        from ucbench.images import FileImage

        first, *rest = self.track.samples(*arguments)
        return [replace(first, image=FileImage(self.broken)), *rest]


def test_a_broken_picture_is_one_typed_error_and_the_run_goes_on(tmp_path: Path) -> None:
    from ucbench.models import registry as models
    from ucbench.record import Decoding

    (tmp_path / "broken.png").write_text("this is text")
    track = WithBrokenPicture(tracks.load("pictograms"), tmp_path / "broken.png")
    vlm = models.load(MODEL, decoding=Decoding(max_new_tokens=16))
    record = engine.evaluate(vlm, track, judges.load("rules"), out=tmp_path / "runs", limit=8)
    answers = only_run(tmp_path / "runs").answers()
    broken = answers[answers["sample_id"] == answers["sample_id"].iloc[0]]
    assert record.counts.errors == {"bad_image": len(broken)}
    assert (broken["text"] == "").all()
    assert answers[answers["sample_id"] != answers["sample_id"].iloc[0]]["error"].isna().all()


def test_a_second_process_at_the_same_run_is_turned_away(
    scripted: Callable[..., Any], tmp_path: Path
) -> None:
    import fcntl

    track, judge = tracks.load("pictograms"), judges.load("rules")
    vlm = scripted("acme/vlm", 0.8)
    folder = engine.plan(vlm, track, out=tmp_path, limit=2).run.folder
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(engine.StoreError, match="another process"):
            engine.evaluate(vlm, track, judge, out=tmp_path, limit=2)
    assert engine.evaluate(vlm, track, judge, out=tmp_path, limit=2).status == "partial"


def test_stored_answers_are_judged_again_without_the_model(
    scripted: Callable[..., Any], tmp_path: Path, ucbench: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    track = tracks.load("pictograms")
    record = engine.evaluate(scripted("acme/vlm", 0.8), track, judges.load("rules"), out=tmp_path, limit=6)
    run = only_run(tmp_path)
    of_run = ("--out", str(tmp_path))
    again = CliRunner().invoke(app, ["judge", "run", record.run_id[:6], "--judge", "classifier", *of_run])
    assert again.exit_code == 0, again.output
    assert len(run.judge_ids()) == 2
    assert run.record() == record, "the record keeps its judge unless told otherwise"
    done = ucbench("judge", "run", str(run.folder), "--judge", "classifier", "--record", *of_run)
    assert done.returncode == 0, done.stderr
    changed = run.record()
    assert changed.judge
    assert changed.judge.name != "rules"
    agreed = CliRunner().invoke(app, ["judge", "agree", record.run_id[:6], "rules", "classifier", *of_run])
    assert agreed.exit_code == 0, agreed.output
    assert "kappa" in agreed.stdout
