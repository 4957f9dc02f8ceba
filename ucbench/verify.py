"""Checking a board from the answers up: judge again, score again, compare everything."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench import board as boards
from ucbench import runs
from ucbench.errors import UcbenchError
from ucbench.record import RunRecord, Score, Scores
from ucbench.runs import Run
from ucbench.tracks.base import Track

if TYPE_CHECKING:
    import pandas as pd

#: Scores are recomputed with the same seed; only the last bits may depend on the machine.
TOLERANCE = 1e-9


@dataclass(slots=True)
class Check:
    """What was found about one run. `rejudged` is None for rows that have no answers to judge."""

    run_id: str
    model: str
    provenance: str
    rejudged: bool | None = None
    problems: list[str] = field(default_factory=list)


def verify(store: Path) -> list[Check]:
    """Re-judge every run with answers from its texts, recompute its scores, compare record and board.

    Rows of provenance `reported` have no answers: their record is checked against the schema only.
    A run whose judge cannot be loaded here is marked `rejudged=False`; its scores are still recomputed
    from the stored verdicts. Raises `StoreError` when there is no board at all.
    """
    board = boards.load(store)
    checks = []
    found = dict(_by_id(store))
    for run_id in board.rows["run_id"]:
        row = board.rows[board.rows["run_id"] == run_id].iloc[0]
        check = Check(run_id, row["model"], row["provenance"])
        checks.append(check)
        if run_id not in found:
            check.problems.append(f"its folder is missing from {store}")
            continue
        run = found.pop(run_id)
        try:
            record = run.record()
            _check_files(run, board, check)
            if record.provenance != "reported":
                _check_answers(run, record, check)
            _check_row(record, row.to_dict(), check)
        except UcbenchError as error:
            check.problems.append(str(error))
    for run_id, run in found.items():
        problem = "it is not on the board; build the board anew"
        checks.append(Check(run_id, run.folder.parent.name, "unknown", None, [problem]))
    return checks


def _by_id(store: Path) -> list[tuple[str, Run]]:
    return [(run.run_id, run) for run in runs.find(store)]


def _check_files(run: Run, board: boards.Board, check: Check) -> None:
    expected: dict[str, str] = board.manifest["runs"].get(run.run_id, {})
    for name, digest in expected.items():
        path = run.folder / name
        if not path.is_file():
            check.problems.append(f"{name} is missing")
        elif boards.digest(path) != digest:
            check.problems.append(f"{name} is not the file that the board was made from")


def _check_answers(run: Run, record: RunRecord, check: Check) -> None:
    from ucbench.judges import registry as judges
    from ucbench.metrics.scores import counts, score_run
    from ucbench.tracks import registry as tracks

    if record.judge is None:
        check.problems.append("the record names no judge")
        return
    answers, stored = run.answers(), run.judgements(record.judge.id)
    track = tracks.load(record.track.id)
    check.problems.extend(_question_differences(answers, record, track))
    try:
        judge = judges.load(record.judge.name)
        check.rejudged = (judge.id, judge.digest) == (record.judge.id, record.judge.digest)
    except UcbenchError:
        check.rejudged = False
    if check.rejudged:
        labels = {(v.sample_id, v.question_id): v.label for v in judge.judge(runs.items(answers))}
        told = {(r["sample_id"], r["question_id"]): r["label"] for r in stored.to_dict("records")}
        wrong = [key for key in labels.keys() | told.keys() if labels.get(key) != told.get(key)]
        if wrong:
            sample, question = min(wrong)
            check.problems.append(
                f"{len(wrong)} verdicts differ from what {judge.id} reads in the answers, the first is "
                f"{question} on {sample}: stored {told.get((sample, question))}, "
                f"read {labels.get((sample, question))}"
            )
    frame = runs.join(answers, stored)
    recomputed = score_run(frame, subsets=track.subsets)
    check.problems.extend(_differences(record.scores, recomputed))
    if record.counts != counts(frame):
        check.problems.append("the counts differ from those of the stored answers")


def _question_differences(answers: pd.DataFrame, record: RunRecord, track: Track) -> list[str]:
    """The stored questions and right labels against those the track asks."""
    if track.version != record.track.version:
        return [f"it was asked version {record.track.version} of {track.id}, here is version {track.version}"]
    samples = track.samples(record.track.split, record.track.draw, record.track.limit)
    asked = {(s.id, q.id): (q.text, q.expected, q.concept_id) for s in samples for q in s.questions}
    told = {
        (row["sample_id"], row["question_id"]): (row["prompt"], row["expected"], row["concept_id"])
        for row in answers.to_dict("records")
    }
    wrong = [key for key in asked.keys() | told.keys() if asked.get(key) != told.get(key)]
    if not wrong:
        return []
    sample, question = min(wrong)
    return [f"{len(wrong)} questions are not the track's, the first is {question} on {sample}"]


def _differences(told: Scores, recomputed: Scores) -> list[str]:
    left, right = _flat(told.model_dump()), _flat(recomputed.model_dump())
    wrong = sorted(name for name in left.keys() | right.keys() if not _same(left.get(name), right.get(name)))
    if not wrong:
        return []
    name = wrong[0]
    return [f"{len(wrong)} figures differ, the first is scores.{name}: {left.get(name)} is {right.get(name)}"]


def _check_row(record: RunRecord, row: dict[str, Any], check: Check) -> None:
    for key, score in record.scores.overall.items():
        for column, value in _cells(key, score).items():
            if not _same(row.get(column), value):
                check.problems.append(f"the board says {column} {row.get(column)}, the record {value}")
                return


def _cells(key: str, score: Score) -> dict[str, float | None]:
    return {key: score.value, f"{key}_low": score.low, f"{key}_high": score.high}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _same(left: Any, right: Any) -> bool:
    def missing(value: Any) -> bool:
        return value is None or (isinstance(value, float) and math.isnan(value))

    if missing(left) or missing(right):
        return missing(left) and missing(right)
    return math.isclose(float(left), float(right), rel_tol=0, abs_tol=TOLERANCE)


def as_json(checks: list[Check]) -> str:
    """The checks as JSON text for scripts."""
    return json.dumps(
        [
            {
                "run_id": check.run_id,
                "model": check.model,
                "provenance": check.provenance,
                "rejudged": check.rejudged,
                "problems": check.problems,
            }
            for check in checks
        ],
        indent=1,
    )
