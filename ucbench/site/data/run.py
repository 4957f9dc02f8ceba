"""What is known of the runs behind a row: records, judged answers, audits, how far judges agree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ucbench.errors import StoreError
from ucbench.restricted import RestrictedRun, is_restricted, run_id_of, tested_with
from ucbench.runs import Run
from ucbench.site.columns import Row
from ucbench.site.data import loading
from ucbench.site.data.board import joined_runs
from ucbench.site.figures.charts import Reading, reading

if TYPE_CHECKING:
    import pandas as pd

    from ucbench.parity import Parity
    from ucbench.record import Counts, RunRecord


@dataclass(frozen=True, slots=True)
class Part:
    """A run behind a row of the board. `counts` are those of the row: of the test split where it is cut."""

    run: Run
    record: RunRecord
    counts: Counts


def parts(row: Row) -> list[Part]:
    """The runs behind a row that are in this place, the leading one first. Raises `StoreError`."""
    both = loading.stores()
    found = []
    for run_id in (str(row["run_id"]), *joined_runs(row).values()):
        run = both.run(str(row["entry"]), run_id)
        if run is None:
            continue
        record = run.record()
        cut = cut_down(run, record) if is_restricted(run_id) else run
        if cut is not None:
            found.append(Part(run, record, record.counts if cut is run else _counts(cut, record)))
    return found


def cut_down(run: Run, record: RunRecord) -> Run | None:
    """A run over a whole set with the answers to the test items alone. Raises `StoreError`."""
    tested = tested_with([(other, other.record()) for other in _of_trained(record.track.id)], record)
    return None if tested is None else RestrictedRun(run.folder, tested)


def _of_trained(track: str) -> list[Run]:
    """The runs of a track whose entries were trained on some of it; the board knows them, unread."""
    both, found = loading.stores(), []
    for row in loading.board().rows:
        if not row["trained_on"] or is_restricted(row["run_id"]):
            continue
        for name, run_id in ((row["track"], row["run_id"]), *joined_runs(row).items()):
            run = both.run(str(row["entry"]), str(run_id)) if name == track else None
            if run is not None:
                found.append(run)
    return found


def _counts(cut: Run, record: RunRecord) -> Counts:
    from ucbench.metrics.scores import counts

    assert record.judge is not None  # only judged runs are cut
    return counts(frame(cut, record.judge.id))


def parity(run: Run) -> Parity | None:
    """What `ucbench parity` found for a run, if it was measured. Raises `StoreError`."""
    from ucbench import parity as measured

    return measured.load(run)


@dataclass(frozen=True, slots=True)
class Audit:
    """How often people agreed with a run's judge: on answers of models of its family, and of all."""

    id: str
    family: str
    accuracy: Reading
    labelled: int
    overall: Reading
    overall_labelled: int
    people: int


def audits(record: RunRecord) -> list[Audit]:
    """The reports of `ucbench judge audit` on a run and its judge, the largest sample first.

    Raises `StoreError` for a report that is damaged.
    """
    from ucbench.judges import audit, audit_report

    both = loading.stores()
    found: dict[str, Audit] = {}
    for store in (both.results, both.runs):
        for path in sorted(store.glob(f"{audit.FOLDER}/*/{audit_report.REPORT}")):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                if run_id_of(record.run_id) not in told["runs"] or record.judge is None:
                    continue
                if told["judge"]["id"] == record.judge.id:
                    one = _audit(told, audit.family(record.entry))
                    found[one.id] = one
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(
                    f"The audit in {store.name}/{audit.FOLDER}/{path.parent.name} is damaged; report it "
                    "again with `ucbench judge audit ... --report`."
                ) from error
    return sorted(found.values(), key=lambda one: -one.overall_labelled)


def _audit(told: dict[str, Any], family: str) -> Audit:
    own, overall = told["families"].get(family, {}), told["overall"]
    return Audit(
        str(told["audit"]),
        family,
        reading(*(own.get(name) for name in ("accuracy", "low", "high"))),
        int(own.get("labelled", 0)),
        reading(*(overall[name] for name in ("accuracy", "low", "high"))),
        int(overall["labelled"]),
        len(told["annotators"]),
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far another judge, which read the same answers, agrees with the record's."""

    judge: str
    n: int
    share: float
    kappa: Reading


def agreement(run: Run, judge_id: str) -> list[Agreement]:
    """Every other judge that has read a run beside the record's own. Raises `StoreError`."""
    others = tuple(other for other in run.judge_ids() if other != judge_id)
    written = tuple(run.judgements_path(judge).stat().st_mtime_ns for judge in (judge_id, *others))
    return _agreement(run, judge_id, others, written) if others else []


@lru_cache(maxsize=32)
def _agreement(
    run: Run, judge_id: str, others: tuple[str, ...], _written: tuple[int, ...]
) -> list[Agreement]:
    from ucbench.judges.agreement import agree, kappa_interval, side_by_side

    found = []
    for other in others:
        both = side_by_side(run, [judge_id, other])
        if both.empty:
            continue
        ours, theirs = both[judge_id].tolist(), both[other].tolist()
        agreed = agree(ours, theirs)
        low, high = kappa_interval(ours, theirs, both["concept_id"].tolist()) or (None, None)
        found.append(Agreement(other, agreed.n, agreed.agreement, reading(agreed.kappa, low, high)))
    return found


def frame(run: Run, judge_id: str) -> pd.DataFrame:
    """A run's answers beside a judge's verdicts. Raises `StoreError`."""
    return _frame(run, judge_id, (run.folder / "record.json").stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _frame(run: Run, judge_id: str, _written: int) -> pd.DataFrame:
    return run.frame(judge_id)
