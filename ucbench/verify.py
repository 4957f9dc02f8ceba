"""Checking a board from the answers up: judge again, score again, compare everything."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench import board as boards
from ucbench import runs
from ucbench.errors import UcbenchError
from ucbench.format import model_name, n_of
from ucbench.judges.guard import judge_items
from ucbench.models import guards
from ucbench.record import RunRecord, Scores
from ucbench.restricted import run_id_of
from ucbench.runs import Run
from ucbench.tracks.base import Track
from ucbench.tracks.scoring import scoring
from ucbench.tracks.stimuli import strangers
from ucbench.withheld import withheld

if TYPE_CHECKING:
    import pandas as pd

#: Scores are recomputed with the same seed; only the last bits may depend on the machine.
TOLERANCE = 1e-9


@dataclass(slots=True)
class Check:
    """What was found about one run.

    `rejudged` and `compared` are None for rows that have no answers to judge. `compared` is False when the
    track's pictures are not at hand: then its questions are compared as far as they are the same for any
    picture. `withheld` counts answers whose texts were taken down; they are not judged again, and without
    any text `rejudged` is False.
    """

    run_id: str
    model: str
    provenance: str
    rejudged: bool | None = None
    compared: bool | None = None
    withheld: int = 0
    problems: list[str] = field(default_factory=list)


def verify(stores: Sequence[Path]) -> list[Check]:
    """Re-judge every run with answers from its texts, recompute its scores, compare record and board.

    The board is the one in the last store; it may join runs of the stores before. Its tables are made
    anew from the runs and compared whole: identity, provenance, ranks, every score and breakdown.
    Rows of provenance `reported` have no answers: their record is checked against the schema only.
    A run whose judge cannot be loaded here is marked `rejudged=False`; its scores are still recomputed
    from the stored verdicts. No gated data is asked for. Raises `StoreError` when there is no board, or
    it is damaged.
    """
    board = boards.load(stores[-1])
    checks: dict[str, Check] = {}
    there = {run.run_id: run for store in stores for run in runs.find(store)}
    behind = map(run_id_of, board.rows["run_id"])
    for run_id in dict.fromkeys([*board.manifest["runs"], *behind, *there]):
        checks[run_id] = check = Check(run_id, "unknown", "unknown")
        try:
            if run_id not in there:
                check.problems.append("its folder is missing")
                continue
            run = there[run_id]
            record = run.record()
            check.model, check.provenance = _name(record), record.provenance
            _check_files(run, board, check)
            if record.provenance != "reported":
                _check_answers(run, record, check)
        except UcbenchError as error:
            check.problems.append(str(error))
    with suppress(UcbenchError):  # of a damaged run, which was told above
        for run_id, wrong in table_differences(board, boards.assemble(stores)).items():
            checks.setdefault(run_id, Check(run_id, "unknown", "unknown")).problems.extend(wrong)
    return list(checks.values())


def check_run(run: Run) -> Check:
    """One run by itself: its answers judged and scored again, no board. Raises `StoreError`."""
    record = run.record()
    check = Check(run.run_id, _name(record), record.provenance)
    if record.provenance != "reported":
        _check_answers(run, record, check)
    return check


def _name(record: RunRecord) -> str:
    return model_name(record.entry.model, record.entry.adapter)


def _check_files(run: Run, board: boards.Board, check: Check) -> None:
    expected: dict[str, str] | None = board.manifest["runs"].get(run.run_id)
    if expected is None:
        check.problems.append("it is not on the board; build the board anew")
        return
    for name, digest in expected.items():
        path = run.folder / name
        if not path.is_file():
            check.problems.append(f"{name} is missing")
        elif boards.digest(path) != digest:
            check.problems.append(f"{name} is not the file that the board was made from")


def table_differences(told: boards.Board, made: boards.Board) -> dict[str, list[str]]:
    """What is wrong with a board's tables, by run: they are compared with tables made anew, cell by cell."""
    found: dict[str, list[str]] = {}
    pairs = (
        (told.rows, made.rows, ["run_id"]),
        (told.breakdowns, made.breakdowns, ["run_id", "group", "group_id", "key"]),
        # A board that was built before there were ranks by category tells none.
        *(
            []
            if told.ranks is None or made.ranks is None
            else [(told.ranks, made.ranks, ["run_id", "category"])]
        ),
    )
    for left, right, keys in pairs:
        left_cells, right_cells = _cells(left, keys), _cells(right, keys)
        wrong: dict[str, list[str]] = {}
        for place in left_cells.keys() | right_cells.keys():
            if place not in left_cells or place not in right_cells:
                which = "lacks" if place not in left_cells else "has beyond the runs"
                wrong.setdefault(place[0][0], []).append(
                    f"it {which} {' '.join(map(str, place[0][1:]))} {place[1]}"
                )
            elif not _same(left_cells[place], right_cells[place]):
                wrong.setdefault(place[0][0], []).append(
                    f"{' '.join([*place[0][1:], place[1]])} is {left_cells[place]}, not {right_cells[place]}"
                )
        for run_id, problems in wrong.items():
            told_of = found.setdefault(run_id, [])
            told_of.append(f"the board differs in {n_of(len(problems), 'cell')}: {min(problems)}")
    return found


def _cells(frame: pd.DataFrame, keys: list[str]) -> dict[tuple[tuple[str, ...], str], Any]:
    columns = [column for column in frame.columns if column not in keys]
    return {
        (tuple(row[key] for key in keys), column): row[column]
        for row in frame.to_dict("records")
        for column in columns
    }


def _check_answers(run: Run, record: RunRecord, check: Check) -> None:
    from ucbench.judges import registry as judges
    from ucbench.metrics.scores import counts, score_run
    from ucbench.tracks import registry as tracks

    if record.judge is None:
        check.problems.append("the record names no judge")
        return
    whole, stored = run.answers(), run.judgements(record.judge.id)
    hidden = withheld(whole)
    check.withheld, answers = int(hidden.sum()), whole[~hidden]
    track = tracks.load(record.track.id)
    known = tracks.row(record.track.id)
    # A track that takes data may have been asked with some, which its version tells.
    check.compared = not known.needs_data and (not known.takes or track.version == record.track.version)
    if check.compared:
        check.problems.extend(_question_differences(whole, record, track))
    elif strange := strangers(answers):
        sample, question = strange[0]
        check.problems.append(
            f"{len(strange)} questions are not in the benchmark's words, the first is {question} on {sample}"
        )
    try:
        judge = judges.load_recorded(record.judge)
        check.rejudged = (judge.id, judge.digest) == (record.judge.id, record.judge.digest)
    except UcbenchError:
        check.rejudged = False
    if check.rejudged:
        labels = {(v.sample_id, v.question_id): v.label for v in judge_items(judge, runs.items(answers))}
        kept = set(zip(whole["sample_id"][hidden], whole["question_id"][hidden], strict=True))
        told = {(r["sample_id"], r["question_id"]): r["label"] for r in stored.to_dict("records")}
        told = {key: label for key, label in told.items() if key not in kept}
        wrong = [key for key in labels.keys() | told.keys() if labels.get(key) != told.get(key)]
        if wrong:
            sample, question = min(wrong)
            check.problems.append(
                f"{len(wrong)} verdicts differ from what {judge.id} reads in the answers, the first is "
                f"{question} on {sample}: stored {told.get((sample, question))}, "
                f"read {labels.get((sample, question))}"
            )
    if answers.empty:
        check.rejudged = False
    frame = runs.join(whole, stored)
    own = scoring(track.id)
    recomputed = score_run(frame, subsets=track.subsets, extra=own.extra, clusters=own.clusters)
    check.problems.extend(_differences(record.scores, recomputed, by_text=not check.withheld))
    if record.counts != counts(frame):
        check.problems.append("the counts differ from those of the stored answers")


def _question_differences(answers: pd.DataFrame, record: RunRecord, track: Track) -> list[str]:
    """The stored questions and right labels against those the track asks."""
    if track.version != record.track.version:
        return [f"it was asked version {record.track.version} of {track.id}, here is version {track.version}"]
    samples = track.samples(record.track.split, record.track.draw, record.track.limit)
    takes = guards.of_identity(record.entry.guard).prompts if record.entry.guard else bool
    asked = {
        (s.id, q.id): (q.text, q.expected, q.concept_id) for s in samples for q in s.questions if takes(q)
    }
    told = {
        (row["sample_id"], row["question_id"]): (row["prompt"], row["expected"], row["concept_id"])
        for row in answers.to_dict("records")
    }
    for row in answers[withheld(answers)].to_dict("records"):
        place = (row["sample_id"], row["question_id"])
        told[place] = asked.get(place, told[place])
    wrong = [key for key in asked.keys() | told.keys() if asked.get(key) != told.get(key)]
    if not wrong:
        return []
    sample, question = min(wrong)
    return [f"{len(wrong)} questions are not the track's, the first is {question} on {sample}"]


def _differences(told: Scores, recomputed: Scores, *, by_text: bool) -> list[str]:
    left, right = _flat(told.model_dump()), _flat(recomputed.model_dump())
    if not by_text:  # diversity is counted on the texts themselves
        left, right = ({k: v for k, v in each.items() if ".diversity." not in k} for each in (left, right))
    wrong = sorted(name for name in left.keys() | right.keys() if not _same(left.get(name), right.get(name)))
    if not wrong:
        return []
    name = wrong[0]
    differ = "1 figure differs, it" if len(wrong) == 1 else f"{len(wrong):,} figures differ, the first"
    return [f"{differ} is scores.{name}: {left.get(name)} is {right.get(name)}"]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _same(left: Any, right: Any) -> bool:
    if boards.absent(left) or boards.absent(right):
        return boards.absent(left) and boards.absent(right)
    if isinstance(left, int | float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=0, abs_tol=TOLERANCE)
    return bool(left == right)


def as_json(checks: list[Check]) -> str:
    """The checks as JSON text for scripts."""
    return json.dumps(
        [
            {
                "run_id": check.run_id,
                "model": check.model,
                "provenance": check.provenance,
                "rejudged": check.rejudged,
                "compared": check.compared,
                "withheld": check.withheld,
                "problems": check.problems,
            }
            for check in checks
        ],
        indent=1,
    )
