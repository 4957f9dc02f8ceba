"""What the pages read: the board, the run folders behind it, and the drawings of a track.

Folders come from the environment (`UCBENCH_RESULTS`, `UCBENCH_RUNS`), by default `results/` and `runs/`
beside `app.py`. Where a results store is named (`ucbench.site.published`), its mirror takes the place of
`results/`. Nothing here is specific to a visitor, so all of it is cached for everybody.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench import board as boards
from ucbench.errors import StoreError, UnknownNameError
from ucbench.home import home
from ucbench.restricted import MARK, RestrictedRun, is_restricted, run_id_of, tested_with
from ucbench.runs import RECORD, Run, find
from ucbench.site import published
from ucbench.site.board_data import LoadedBoard, joined_runs, shaped
from ucbench.site.charts import Reading, reading
from ucbench.site.columns import Row
from ucbench.site.published import Published

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from ucbench.align.report_record import AlignReport
    from ucbench.parity import Parity
    from ucbench.record import Counts, RunRecord
    from ucbench.tracks.base import Track
    from ucbench.types import ImageSource

_LEFT_OUT = (
    "Your own runs are not shown, because a run in {results}/ or {runs}/ is damaged; "
    "`ucbench board build {results} {runs}` says which one."
)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """Published results, and the visitor's own runs on top of them."""

    results: Path
    runs: Path

    def run(self, entry: str, run_id: str) -> Run | None:
        """A run's folder, looked for in `runs` first; None when only its row was published."""
        for store in (self.runs, self.results):
            run = Run(store / entry / run_id_of(run_id))
            # Names come from the table: they must not lead out of the store.
            if run.folder.resolve().is_relative_to(store.resolve()) and run.exists():
                return run
        return None


def stores() -> Stores:
    """The two folders, as the environment says."""
    return _stores(source())


def _stores(shown: Published | None) -> Stores:
    return Stores(
        shown.folder if shown else _committed(), Path(os.environ.get("UCBENCH_RUNS") or home() / "runs")
    )


def source() -> Published | None:
    """Where the published results are from; None when no results store is named. Never waits."""
    return published.shown(_committed(), _load_whole)


def _committed() -> Path:
    return Path(os.environ.get("UCBENCH_RESULTS") or home() / "results")


def _load_whole(folder: Path) -> LoadedBoard:
    """Read a board, all of it, before anybody asks for it. Raises `StoreError`."""
    found = _published(folder)
    found.breakdowns.load()
    return found


def board() -> LoadedBoard:
    """The board that the site shows: the published results, joined with one's own runs where there are any.

    Own runs that cannot be read never hide the published results: then those are shown, with a note.
    Raises `StoreError` when there is no board or it is damaged.
    """
    shown = source()
    found = _overlaid(_stores(shown))
    return replace(found, source=shown) if shown else found


def _overlaid(both: Stores) -> LoadedBoard:
    if not any(find(both.runs)):
        return _published(both.results)
    with _LOADING:
        joined = _joined(both, _state(both))
    if joined is not None:
        return joined
    note = _LEFT_OUT.format(results=both.results.name, runs=both.runs.name)
    try:
        return replace(_published(both.results), note=note)
    except StoreError as error:
        raise StoreError(note) from error


def _published(folder: Path) -> LoadedBoard:
    digest = _digest(folder / boards.MANIFEST)
    with _LOADING:
        return _load(folder, digest)


#: Visitors who come at once to a board that nobody has read yet wait for one reading of it.
_LOADING = threading.RLock()


def _state(both: Stores) -> str:
    """A digest of everything that the joined board depends on: all records, and the board in `runs`."""
    state = hashlib.sha256()
    records = [run.folder / RECORD for store in (both.results, both.runs) for run in find(store)]
    try:
        for path in [*records, both.runs / boards.MANIFEST]:
            state.update(f"{path}\0{_content(path) if path.is_file() else ''}\0".encode())
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error
    return state.hexdigest()


@lru_cache(maxsize=2)
def _joined(both: Stores, state: str) -> LoadedBoard | None:
    """The board in `runs` when it was made from what both stores hold now; else one made in memory.

    None when one of the runs is damaged.
    """
    joined = [both.results, both.runs]
    try:
        if boards.is_current(both.runs, joined):
            try:
                return shaped(boards.load_tables(both.runs), _digest(both.runs / boards.MANIFEST))
            except StoreError as error:
                _LOG.warning("the board is made anew in memory: %s", error)
        return shaped(boards.assemble_tables(joined), state)
    except StoreError as error:
        _LOG.warning("own runs are left out: %s", error)
        return None


def _content(path: Path) -> str:
    """SHA-256 of a file, which is read when it has changed."""
    now = path.stat()
    return _content_at(path, (now.st_ino, now.st_mtime_ns, now.st_size))


@lru_cache(maxsize=8192)
def _content_at(path: Path, _written: tuple[int, ...]) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(manifest: Path) -> str:
    try:
        return _content(manifest)
    except OSError as error:
        raise StoreError(
            f"There is no board in {manifest.parent.name}/ yet; make one with `ucbench demo` or "
            "`ucbench board build`."
        ) from error


@lru_cache(maxsize=2)
def _load(folder: Path, digest: str) -> LoadedBoard:
    """Keyed by the manifest's digest: a board that was built anew is read anew."""
    try:
        return shaped(boards.load_tables(folder), digest)
    except StoreError as error:
        raise StoreError(
            f"The board in {folder.name}/ is damaged; make it anew with `ucbench board build`."
        ) from error


@dataclass(frozen=True, slots=True)
class LoadedReport:
    """The report on alignment, and a sentence for visitors when one of their own cannot be read."""

    report: AlignReport | None
    note: str = ""


def align_report() -> LoadedReport:
    """One's own report, joined by the published one's methods where both asked one model the same.

    A damaged report never hides the other.
    """
    from ucbench.align.report_record import REPORT, joined

    both = stores()
    notes: list[str] = []
    found: AlignReport | None = None
    # Reports are not among what a results store holds.
    published_here = both.results if (both.results / REPORT).is_file() else _committed()
    for store in (both.runs, published_here):
        path = store / REPORT
        try:
            if path.is_file():
                report = _report(path, path.stat().st_mtime_ns)
                found = joined(found, report) if found else report
        except (OSError, StoreError) as error:
            _LOG.warning("a report is left out: %s", error)
            notes.append(
                f"The alignment report in {store.name}/ is damaged; make it anew with `ucbench align-report`."
            )
    return LoadedReport(found, " ".join(notes))


@lru_cache(maxsize=2)
def _report(path: Path, _written: int) -> AlignReport:
    from ucbench.align.report_record import read

    return read(path)


@dataclass(frozen=True, slots=True)
class Part:
    """A run behind a row of the board. `counts` are those of the row: of the test split where it is cut."""

    run: Run
    record: RunRecord
    counts: Counts


def parts(row: Row) -> list[Part]:
    """The runs behind a row that are in this place, the leading one first. Raises `StoreError`."""
    both = stores()
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
    both, found = stores(), []
    for row in board().rows:
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

    both = stores()
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


@lru_cache(maxsize=4)
def track(name: str) -> Track | None:
    """The track of a choice on the page, without its data; None for one that is not known here."""
    from ucbench.tracks import registry

    try:
        return registry.load(name.partition(MARK)[0])
    except UnknownNameError:
        return None


@lru_cache(maxsize=2)
def pictures(name: str) -> dict[str, ImageSource]:
    """Sample id -> picture of a track's test split; none of a track whose pictures come from elsewhere.

    Nothing is drawn before it is loaded.
    """
    from ucbench.tracks import registry

    known = track(name)
    if known is None or registry.row(known.id).needs_data:
        return {}
    return {sample.id: sample.image for sample in known.samples("test")}


@lru_cache(maxsize=256)
def emblem(concept_id: str, size: int = 320) -> Image.Image:
    """The emblem of a concept of track `pictograms`. Raises `UnknownNameError`."""
    from ucbench.tracks.pictograms import emblem_preview

    return emblem_preview(concept_id, size)


@lru_cache(maxsize=64)
def drawing(concept_id: str, number: int, size: int = 320) -> Image.Image:
    """A drawing made for a visitor, enlarged for people."""
    from ucbench.site.trial.pictures import SPLIT
    from ucbench.tracks.pictograms import EmblemImage

    return EmblemImage(concept_id, SPLIT, number).enlarged(size)


def public_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: dates as text."""
    return [
        {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in row.items()}
        for row in rows
    ]
