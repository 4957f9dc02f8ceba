"""Runs -> one Parquet table and a manifest: what the site reads and what anybody can check.

`board.parquet` has a row an entry and suite, under the run that leads it (`ucbench.joined`); most suites
are one track. It tells identity, provenance, rank interval, and for every score key the columns `<key>`,
`<key>_low`, `<key>_high`, `<key>_coverage`, `<key>_n`. `breakdowns.parquet` is the long table of every
run's scores by category, concept, question and subset, `ranks.parquet` (`ucbench.board_ranks`) that of ranks
within categories. `manifest.json` names the runs and the digest of every file, so that a reader knows what
the tables were made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench import runs
from ucbench.board_cache import BoardCache, content, digest_of
from ucbench.board_ranks import COMPARABLE as COMPARABLE
from ucbench.board_ranks import MIN_COVERAGE as MIN_COVERAGE
from ucbench.board_ranks import RANK_KEY as RANK_KEY
from ucbench.board_ranks import RANK_TYPES as RANK_TYPES
from ucbench.board_ranks import RANKS as RANKS
from ucbench.board_ranks import Frames, by_category, rank
from ucbench.errors import StoreError
from ucbench.files import atomic_path, write_text
from ucbench.joined import Joined, join
from ucbench.metrics.keys import KEYS
from ucbench.record import RunRecord, Score
from ucbench.restricted import is_restricted, restricted
from ucbench.runs import Run
from ucbench.tracks.about import about
from ucbench.tracks.suites import SUITES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BOARD, BREAKDOWNS, MANIFEST, SCHEMA = "board.parquet", "breakdowns.parquet", "manifest.json", "schema.json"
BOARD_VERSION = 1

GROUPS = {
    "category": "by_category",
    "concept": "by_concept",
    "question": "by_question",
    "subset": "by_subset",
}


class NewerBoardError(StoreError):
    """A board that a later version wrote: it is sound, and its columns may mean something else."""


@dataclass(frozen=True, slots=True)
class Board:
    """The tables of one build, in memory."""

    rows: pd.DataFrame
    breakdowns: pd.DataFrame
    manifest: dict[str, Any]
    #: Ranks by category; None of a board that was built before there were any.
    ranks: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """A board as columns. `breakdowns(names)` gives some columns of the long table.

    Those of a board on disk are read when it is called, with text as a dictionary; that raises `StoreError`
    where the file is damaged.
    """

    rows: pa.Table
    manifest: dict[str, Any]
    breakdowns: Callable[[Sequence[str]], pa.Table]
    #: Ranks by category; None of a board that was built before there were any.
    ranks: pa.Table | None = None


def collect(stores: Sequence[Path], cache: BoardCache | None = None) -> list[tuple[Run, RunRecord]]:
    """All finished runs; a later store's run replaces an earlier one's with the same id."""
    found: dict[str, tuple[Run, RunRecord]] = {}
    for store in stores:
        if store.exists() and not store.is_dir():
            raise StoreError(f"{store} is a file, not a folder of runs")
        for run in runs.find(store):
            record = cache.record(run) if cache else run.record()
            if record.run_id != run.run_id:
                raise StoreError(
                    f"{run.folder} holds the record of run {record.run_id}; move it to a folder of that name"
                )
            found[run.run_id] = (run, record)
    return list(found.values())


def assemble(stores: Sequence[Path], cache: BoardCache | None = None) -> Board:
    """Join the runs of all stores into one board, in memory. Raises `StoreError` for a damaged run.

    `cache` keeps what was computed for runs that are still the same; the board is the same without it.
    """
    made = _assemble(stores, cache)
    # Through the tables' own types, so that a board in memory equals the same board read from disk.
    return Board(_frame(made.rows), _frame(made.breakdowns), made.manifest, _frame(made.ranks))


def assemble_tables(stores: Sequence[Path], cache: BoardCache | None = None) -> Tables:
    """As `assemble`, for those who want columns."""
    made = _assemble(stores, cache)
    return Tables(made.rows, made.manifest, lambda names: made.breakdowns.select(list(names)), made.ranks)


@dataclass(frozen=True, slots=True)
class _Made:
    rows: pa.Table
    breakdowns: pa.Table
    ranks: pa.Table
    manifest: dict[str, Any]


def _assemble(stores: Sequence[Path], cache: BoardCache | None) -> _Made:
    import pandas as pd

    entries = collect(stores, cache)
    told = [*entries, *restricted(entries, cache)]
    found = list(join(told, cache))
    rows = pd.DataFrame([_row(row) for row in found], columns=list(_types()))
    where = {row.lead.record.run_id: row for row in found}
    frames = Frames(where, cache)
    rank(rows, frames, where, cache)
    ranks = by_category(rows, frames, where)
    rows = rows.sort_values(
        ["track", "rank_low", RANK_KEY, "model", "run_id"],
        ascending=[True, True, False, True, True],
        na_position="last",
        ignore_index=True,
    )
    measured = [record.started_at for _, record in entries if record.started_at]
    manifest: dict[str, Any] = {
        "board_version": BOARD_VERSION,
        "as_of": max(measured).isoformat(timespec="seconds") if measured else None,
        "rank_key": RANK_KEY,
        "suites": {suite.id: suite.version for suite in SUITES},
        "guards": {run.run_id: record.entry.guard for run, record in entries if record.entry.guard},
        "runs": {
            run.run_id: {path.relative_to(run.folder).as_posix(): digest(path) for path in _files(run)}
            for run, _ in sorted(entries, key=lambda pair: pair[0].run_id)
        },
    }
    breakdowns = _breakdowns(told, cache)
    if cache:
        cache.finish()
    return _Made(_table(rows), breakdowns, _ranks(ranks), manifest)


def build(
    stores: Sequence[Path],
    out: Path,
    cache: BoardCache | None = None,
    also: Mapping[str, Any] | None = None,
) -> Board:
    """Join the runs of all stores into one board and write it to `out` (each file atomically).

    `cache` as for `assemble`; `also` is what else the manifest tells. Raises `StoreError` for a damaged run
    or a folder that cannot be written.
    """
    import pyarrow.parquet as pq

    made = _assemble(stores, cache)
    tables = {BOARD: made.rows, BREAKDOWNS: made.breakdowns, RANKS: made.ranks}
    for name, table in tables.items():
        with atomic_path(out / name) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    manifest = made.manifest | dict(also or {})
    manifest["tables"] = {name: digest(out / name) for name in tables}
    write_text(out / SCHEMA, json.dumps(RunRecord.model_json_schema(), indent=1, sort_keys=True) + "\n")
    # Last, because a reader takes a manifest as the sign that its tables are there.
    write_text(out / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return Board(_frame(made.rows), _frame(made.breakdowns), manifest, _frame(made.ranks))


def load(folder: Path) -> Board:
    """Read a built board. Raises `StoreError` when it is missing or is not of our columns and types."""
    tables = load_tables(folder)
    breakdowns = tables.breakdowns(list(BREAKDOWN_TYPES)).cast(_schema(BREAKDOWN_TYPES))
    ranks = None if tables.ranks is None else _frame(tables.ranks)
    return Board(_frame(tables.rows), _frame(breakdowns), tables.manifest, ranks)


def load_tables(folder: Path) -> Tables:
    """Read a built board but its breakdowns, of which only the columns and types are looked at.

    Raises `StoreError` as `load` does. The breakdowns' file stays open: a board that is built anew in the
    same place takes nothing away from this one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file, not a folder of runs")
    damaged = f"the board in {folder} is damaged; make it anew with `ucbench board build {folder}`"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        _refuse_newer(manifest, folder)
        # Not `read_table`: it imports pandas, which the first page of the site does not need.
        rows = pq.ParquetFile(folder / BOARD).read()
        file = pa.memory_map(str(folder / BREAKDOWNS))
        schema = pq.ParquetFile(file).schema_arrow
        told = _is_manifest(manifest) and RANKS in manifest["tables"]
        ranks = pq.ParquetFile(folder / RANKS).read() if told else None
    except FileNotFoundError as error:
        raise StoreError(
            f"there is no board in {folder}; make it with `ucbench board build {folder}`"
        ) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(damaged) from error
    rows = _with_later_columns(rows)
    sound = rows.schema.equals(_schema(_types())) and schema.equals(_schema(BREAKDOWN_TYPES))
    sound = sound and (ranks is None or ranks.schema.equals(_schema(RANK_TYPES)))
    if not sound or not _is_manifest(manifest):
        raise StoreError(damaged)

    def breakdowns(names: Sequence[str]) -> pa.Table:
        text = [name for name in names if BREAKDOWN_TYPES[name] == "t"]
        try:
            return pq.ParquetFile(file, read_dictionary=text).read(columns=list(names))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StoreError(damaged) from error

    return Tables(rows, manifest, breakdowns, ranks)


def _refuse_newer(manifest: Any, folder: Path) -> None:
    version = manifest.get("board_version") if isinstance(manifest, dict) else None
    if isinstance(version, int) and version > BOARD_VERSION:
        raise NewerBoardError(
            f"the board in {folder} has version {version}, and this ucbench reads boards up to version "
            f"{BOARD_VERSION}; update ucbench"
        )


def _with_later_columns(rows: pa.Table) -> pa.Table:
    """The table with what came later than it was built, of which nothing is known of its rows."""
    import pyarrow as pa

    columns = {name: rows.column(name) for name in rows.column_names}
    for field in _schema(_types()):
        key = next((key for key in KEYS if field.name in {f"{key}{part}" for part in _SCORE_TYPES}), None)
        if field.name in _LATER and field.name not in columns:
            columns[field.name] = pa.nulls(len(rows), field.type)
        elif key is not None and key not in rows.column_names and field.name not in columns:
            none = 0 if field.name.endswith("_n") else None
            columns[field.name] = pa.array([none] * len(rows), field.type)
    ordered = [name for name in _types() if name in columns]
    ordered += [name for name in columns if name not in ordered]
    return pa.table({name: columns[name] for name in ordered})


def _is_manifest(manifest: Any) -> bool:
    return (
        isinstance(manifest, dict)
        and isinstance(manifest.get("tables"), dict)
        and isinstance(manifest.get("runs"), dict)
        and all(isinstance(names, dict) for names in manifest["runs"].values())
    )


def is_current(folder: Path, stores: Sequence[Path]) -> bool:
    """Whether the board in `folder` was made from exactly the records that `stores` hold now."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not _is_manifest(manifest):
        return False
    made_from = {run_id: files.get(runs.RECORD) for run_id, files in manifest["runs"].items()}
    there = {run.run_id: digest(run.folder / runs.RECORD) for run, _ in collect(stores)}
    return made_from == there and manifest.get("board_version") == BOARD_VERSION


#: Said of rows on tracks whose scores hold no balanced accuracy: nothing is wrong with the run.
NO_RANKING = "this track has no ranking"


def unranked_reason(row: Joined) -> str | None:
    """Why a row is shown without a rank, in words for people; None when it is ranked."""
    record, score = row.lead.record, row.scores.get(RANK_KEY)
    if record.provenance != "measured":
        return f"{record.provenance}, not measured here"
    if record.status == "partial":
        return f"partial run of {record.track.n_samples} samples"
    if any(part.record.status == "incomplete" for part in row.ranked_by):
        return "more than 1% of the answers failed"
    if record.track.split == "train":
        return "asked on the training split"
    if record.track.draw:
        return f"fresh draw {record.track.draw}, not the board's own images"
    if RANK_KEY not in about(record.track.id).scores:
        return NO_RANKING
    if score is None or score.value is None:
        return "no safe images were asked"
    if (score.coverage or 0.0) < MIN_COVERAGE:
        return f"fewer than half of the questions were answered (coverage {score.coverage:.2f})"
    return None


#: The column that names the runs joined to the leading one.
JOINED = "joined"
#: The column that marks guard models: the format they are asked in.
GUARD = "guard"
#: The column that tells what the joined runs were asked: JSON, track -> [version, split, draw, judge].
JOINED_ASKED = "joined_asked"
#: Columns that came after the first boards.
_LATER = (JOINED, GUARD, JOINED_ASKED, "template", "max_pixels", "family", "parameters", "weights")
#: Columns of the tables and their types: t(ext), f(raction or seconds), i(nteger), w(hen).
IDENTITY_TYPES = {
    "run_id": "t", "model": "t", "entry": "t", "revision": "t", "dtype": "t", "adapter": "t",
    "system_prompt": "t", "temperature": "f", "top_p": "f", "max_new_tokens": "i", "seed": "i",
    "trained_on": "t", "track": "t", "track_version": "t", "split": "t", "draw": "i", "n_samples": "i",
    "n_questions": "i", "judge": "t", "provenance": "t", "source": "t", "status": "t", "engine": "t",
    "measured_at": "w", "seconds": "f", "code_version": "t", "rank_low": "i", "rank_high": "i",
    "ranked_among": "i", "unranked": "t", "joined": "t", "guard": "t", "joined_asked": "t",
    "template": "t", "max_pixels": "i", "family": "t", "parameters": "f", "weights": "t",
}  # fmt: skip
_SCORE_TYPES = {"": "f", "_low": "f", "_high": "f", "_coverage": "f", "_n": "i"}
BREAKDOWN_TYPES = {
    "run_id": "t", "group": "t", "group_id": "t", "key": "t", "value": "f", "low": "f", "high": "f",
    "n_items": "i", "n_clusters": "i", "coverage": "f",
}  # fmt: skip


def _types() -> dict[str, str]:
    scores = {f"{key}{part}": kind for key in KEYS for part, kind in _SCORE_TYPES.items()}
    return {**IDENTITY_TYPES, **scores}


def _schema(types: dict[str, str]) -> pa.Schema:
    import pyarrow as pa

    arrow = {"t": pa.string(), "f": pa.float64(), "i": pa.int64(), "w": pa.timestamp("us", tz="UTC")}
    return pa.schema([(name, arrow[kind]) for name, kind in types.items()])


def _table(rows: pd.DataFrame) -> pa.Table:
    import pyarrow as pa

    # Python objects, not pandas' guesses: a column of nothing is still a column of its type.
    columns = {
        column: [None if absent(cell) else cell for cell in rows[column].tolist()] for column in _types()
    }
    return pa.Table.from_pydict(columns, schema=_schema(_types()))


def _ranks(lines: Sequence[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(list(lines), schema=_schema(RANK_TYPES))


def _breakdowns(told: Sequence[tuple[Run, RunRecord]], cache: BoardCache | None) -> pa.Table:
    import pyarrow as pa

    schema = _schema(BREAKDOWN_TYPES)

    def table(run: Run, record: RunRecord) -> pa.Table:
        def make() -> pa.Table:
            return pa.Table.from_pylist(list(_breakdown(record)), schema=schema)

        return cache.table(_told_by(run, record), make) if cache else make()

    # One chunk, so that the file does not depend on how many runs it came from.
    return pa.concat_tables([schema.empty_table(), *(table(*one) for one in told)]).combine_chunks()


def _told_by(run: Run, record: RunRecord) -> str:
    """A digest of the files that a record was made from."""
    files = [run.folder / runs.RECORD]
    if is_restricted(record.run_id) and record.judge:
        files += run.frame_files(record.judge.id)
    return digest_of(record.run_id, content(*files))


def _frame(table: pa.Table) -> pd.DataFrame:
    """The table for pandas; whole numbers stay whole where some are missing."""
    import pandas as pd
    import pyarrow as pa

    whole = {pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=whole.get)
    return frame


def absent(cell: object) -> bool:
    """Whether a cell holds nothing: None or any of pandas' missing values."""
    import pandas as pd

    return cell is None or cell is pd.NA or cell is pd.NaT or cell != cell


def _row(joined: Joined) -> dict[str, Any]:
    from ucbench.models.facts import facts

    run, record = joined.lead.run, joined.lead.record
    entry, track = record.entry, record.track
    known = facts(entry, record.engine)
    row: dict[str, Any] = {
        "run_id": record.run_id,
        "model": entry.model,
        "entry": run.folder.parent.name,
        "revision": entry.revision,
        "dtype": entry.dtype,
        "adapter": entry.adapter,
        "system_prompt": entry.system_prompt,
        "temperature": entry.decoding.temperature,
        "top_p": entry.decoding.top_p,
        "max_new_tokens": entry.decoding.max_new_tokens,
        "seed": entry.decoding.seed,
        "trained_on": ", ".join(entry.trained_on) or None,
        "track": track.id,
        "track_version": track.version,
        "split": track.split,
        "draw": track.draw,
        "n_samples": track.n_samples,
        "n_questions": track.n_questions,
        "judge": record.judge.id if record.judge else None,
        "provenance": record.provenance,
        "source": record.source,
        "status": record.status,
        "engine": record.engine.path,
        "measured_at": record.started_at,
        "seconds": record.seconds,
        "code_version": record.code_version,
        "rank_low": None,
        "rank_high": None,
        "ranked_among": None,
        "unranked": unranked_reason(joined),
        JOINED: joined.note,
        GUARD: entry.guard,
        JOINED_ASKED: joined.asked,
        "template": entry.template,
        "max_pixels": entry.max_pixels,
        "family": known.family,
        "parameters": known.parameters,
        "weights": known.weights,
    }
    for key in KEYS:
        score = joined.scores.get(key, Score(value=None))
        row[key] = score.value
        row[f"{key}_low"], row[f"{key}_high"] = score.low, score.high
        row[f"{key}_coverage"], row[f"{key}_n"] = score.coverage, score.n_items
    return row


def _breakdown(record: RunRecord) -> Iterator[dict[str, Any]]:
    for group, attribute in GROUPS.items():
        for group_id, scores in getattr(record.scores, attribute).items():
            for key, score in scores.items():
                yield {
                    "run_id": record.run_id,
                    "group": group,
                    "group_id": group_id,
                    "key": key,
                    **score.model_dump(),
                }


def _files(run: Run) -> list[Path]:
    return sorted(path for path in run.folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
