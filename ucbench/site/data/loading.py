"""What the pages read: the board, the folders that it is from, and the report on alignment.

Folders come from the environment (`UCBENCH_RESULTS`, `UCBENCH_RUNS`), by default `results/` and `runs/`
beside `app.py`. Where a results store is named (`ucbench.site.data.published`), its mirror takes the place of
`results/`. Nothing here is specific to a visitor, so all of it is cached for everybody.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench import board as boards
from ucbench.errors import StoreError, UcbenchError
from ucbench.home import home
from ucbench.restricted import run_id_of
from ucbench.runs import RECORD, Run, find
from ucbench.site.columns import Row
from ucbench.site.data import published
from ucbench.site.data.board import LoadedBoard, shaped
from ucbench.site.data.published import Published

if TYPE_CHECKING:
    from ucbench.align.report_record import AlignReport

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


def told(error: UcbenchError) -> str:
    """An error's words for visitors: files of the stores by their names, and not where they lie."""
    words = str(error)
    both = stores()
    for root in {both.results, both.runs, _committed()}:
        words = re.sub(re.escape(f"{root}{os.sep}") + r"[^\s;:]+", lambda m: Path(m[0]).name, words)
    return words[:1].upper() + words[1:] if words.partition(" ")[0].isalpha() else words


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
    """A digest of everything that the joined board depends on: all own records, and both boards.

    Of published runs their board's manifest tells, and the folders of entries whether one came or went: to
    look at a thousand records takes longer than all else that a page does. Without a board the records are
    looked at.
    """
    state = hashlib.sha256()
    published_board = both.results / boards.MANIFEST
    stores = (both.runs,) if published_board.is_file() else (both.results, both.runs)
    records = [run.folder / RECORD for store in stores for run in find(store)]
    try:
        if published_board.is_file():
            state.update(_entries(both.results).encode())
        for path in [*records, published_board, both.runs / boards.MANIFEST]:
            state.update(f"{path}\0{_content(path) if path.is_file() else ''}\0".encode())
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error
    return state.hexdigest()


def _entries(store: Path) -> str:
    """The folders of a store and when a run last came to or went from each."""
    with os.scandir(store) as found:
        folders = [(one.name, one.stat().st_mtime_ns) for one in found if one.is_dir()]
    return json.dumps(sorted(folders))


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
    except boards.NewerBoardError as error:
        raise StoreError(
            f"The board in {folder.name}/ was made by a newer version of ucbench than the one that serves "
            "this site; update the site."
        ) from error
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


def public_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: dates as text."""
    return [
        {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in row.items()}
        for row in rows
    ]
