"""What an evaluation left, taken for a stranger's: only the answers count, and everything is made anew.

Of the files, `record.json` and `answers.parquet` are read, within limits. Entry and track have to be what the
request asked for; questions, right answers and concepts come from the track, verdicts and scores are computed
here. So a forged record, score or label has no effect, whoever wrote it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from ucbench import evaluate as engine
from ucbench import runs
from ucbench.errors import UcbenchError
from ucbench.hub.request import Request
from ucbench.hub.worker.failure import JobError
from ucbench.models import guards, known
from ucbench.record import Counts, Decoding, Entry, RunRecord, Scores, TrackRef, run_id
from ucbench.runs import Run
from ucbench.types import Answer, ErrorCode, Question, Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from ucbench.judges.base import Judge
    from ucbench.tracks.base import Track

#: Bytes of a record, and of the answers as they lie and unpacked.
_RECORD, _ANSWERS, _UNPACKED = 4 << 20, 256 << 20, 1 << 30
_MOST_FILES = 64
#: Characters of one answer: far above what 512 new tokens can hold.
_LONGEST = 1 << 16
#: Of a record's lists and texts that say how it was made.
_MOST_NOTES, _LONGEST_NOTE = 64, 1000

_COLUMNS = (
    "sample_id", "question_id", "text", "tokens", "error", "truncated", "thinking_tokens", "seconds",
)  # fmt: skip
_MORE_COLUMNS = ("reason", "guard")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request's run has to be. `trained_on` is what its checkpoint says, None when it is not here."""

    request: Request
    track: Track
    judge: Judge
    limit: int | None = None
    trained_on: tuple[str, ...] | None = None


def receive(left: Path, expected: Expected, store: Path) -> Run:
    """Make a run in `store` of what an evaluation left in `left`.

    Raises `JobError`: `invalid_result` for anything but an honest run of the request, `incomplete` or
    `out_of_memory` when too many questions have no answer.
    """
    folder = _find(left)
    told = _record(folder)
    check_entry(told.entry, expected.request, expected.trained_on)
    asked = _asked(check_track(told, expected), told.entry)
    rows = _rows(folder / runs.ANSWERS, told.entry, asked, expected.track)
    counted = {"n_samples": len({sample.id for sample, _ in asked}), "n_questions": len(asked)}
    reference = told.track.model_copy(update=counted)
    name = run_id(told.entry, reference, engine.ENGINE_VERSION)
    if told.run_id != name or folder.name != name:
        raise _invalid(f"the run calls itself {told.run_id[:40]!r}, and its id is {name}")
    run = Run(store / told.entry.slug / name)
    run.write_answers(rows)
    engine.judge_answers(run, expected.judge, again=True)
    record = engine.score(_plain(told, reference), run, expected.judge, expected.track)
    if record.status == "incomplete":
        raise _incomplete(record)
    run.write_record(record)
    return run


def check_entry(entry: Entry, request: Request, trained_on: tuple[str, ...] | None = None) -> None:
    """Whether an entry is the model of the request, asked as everybody is. Raises `JobError`."""
    whole = request.base is None
    model, revision = (
        (request.model, request.revision) if whole else (str(request.base), request.base_revision)
    )
    adapter = None if whole else f"{request.model}@{request.revision}"
    wanted = {
        "model": model,
        "revision": revision,
        "adapter": adapter,
        "dtype": request.dtype,
        "system_prompt": None,
        "template": known.template(model),
        "attention": None,
        "max_pixels": None,
        "decoding": Decoding(),
        "trained_on": entry.trained_on if trained_on is None else trained_on,
    }
    for name, value in wanted.items():
        if (found := getattr(entry, name)) != value:
            raise _invalid(f"{name} of the run is {str(found)[:100]!r}, and {value!r} was asked for")
    if entry.guard is not None:
        try:
            guards.of_identity(entry.guard)
        except UcbenchError as error:
            raise _invalid(f"its guard {entry.guard[:100]!r} is none that is known") from error


def check_track(record: RunRecord, expected: Expected) -> list[Sample]:
    """The samples of a record, if they are those that the request asked for. Raises `JobError`."""
    track = expected.track
    if track.id != expected.request.track:
        raise _invalid(f"the track at hand is {track.id}, and {expected.request.track} was asked for")
    try:
        split = engine.choose_split(record.entry, track)
    except UcbenchError as error:  # of items that it claims to have been trained on
        raise _invalid(str(error)) from error
    samples, asked = engine.choose_samples(track, split, 0, expected.limit)
    # A guard takes some of the questions only; what is there is counted from the answers.
    counted = {"n_samples": record.track.n_samples, "n_questions": record.track.n_questions}
    if record.track != asked.model_copy(update=counted):
        raise _invalid("the run is not of the questions that were asked for")
    return samples


def _find(left: Path) -> Path:
    """The one run folder in what was left, which holds nothing but plain files of bounded size."""
    found: list[Path] = []
    count = 0
    for place, folders, files in os.walk(left):
        for name in (*folders, *files):
            count += 1
            if count > _MOST_FILES:
                raise _invalid(f"it left more than {_MOST_FILES} files and folders")
            path = Path(place, name)
            mode = path.lstat()
            if name in folders and stat.S_ISDIR(mode.st_mode):
                continue
            if not stat.S_ISREG(mode.st_mode):
                raise _invalid(f"{name[:100]!r} is no plain file but a link or device")
            if mode.st_nlink > 1:
                raise _invalid(f"{name[:100]!r} is a second name of another file")
            if name == runs.RECORD:
                found.append(Path(place))
    if len(found) != 1:
        raise _invalid("it left no finished run" if not found else f"it left {len(found)} runs")
    for name, limit in ((runs.RECORD, _RECORD), (runs.ANSWERS, _ANSWERS)):
        path = found[0] / name
        size = path.stat().st_size if path.exists() else 0
        if not 0 < size <= limit:
            raise _invalid(f"{name} has {size:,} bytes, and 1 to {limit:,} are allowed")
    return found[0]


def _record(folder: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json((folder / runs.RECORD).read_bytes())
    except OSError as error:  # a child may take the right to read it away
        raise _invalid(f"its record cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "top level"
        raise _invalid(
            f"its record does not fit the schema at {where[:100]}: {first['msg'][:200]}"
        ) from error


def _asked(samples: Sequence[Sample], entry: Entry) -> list[tuple[Sample, Question]]:
    """The questions that the entry takes."""
    takes = guards.of_identity(entry.guard).prompts if entry.guard else bool
    return [(sample, question) for sample in samples for question in sample.questions if takes(question)]


def _rows(
    path: Path, entry: Entry, asked: Sequence[tuple[Sample, Question]], track: Track
) -> list[dict[str, Any]]:
    """Rows of `answers.parquet`, made of the track's questions and the answers that were left."""
    answers = _answers(path, len(asked), entry)
    concepts = {concept.id: concept for concept in track.concepts}
    rows: list[dict[str, Any]] = []
    for sample, question in asked:
        told = answers.pop((sample.id, question.id), None)
        if told is None:
            raise _invalid(f"there is no answer to {question.id} on {sample.id}")
        answer, seconds = told
        rows.append(engine.answer_row(question, concepts[question.concept_id], answer, seconds))
    if answers:
        sample_id, question_id = min(answers)
        raise _invalid(f"{question_id[:50]!r} on {sample_id[:50]!r} is no question of the track")
    return rows


def _answers(path: Path, most: int, entry: Entry) -> dict[tuple[str, str], tuple[Answer, float]]:
    found: dict[tuple[str, str], tuple[Answer, float]] = {}
    for row in _table(path, most).to_pylist():
        try:
            answer = _answer(row, entry)
            seconds = float(row["seconds"])
        except (ValueError, TypeError, KeyError) as error:
            raise _invalid(f"a row of its answers is none: {error}") from error
        if not 0 <= seconds < 1e7:
            raise _invalid(f"an answer took {seconds} seconds")
        found[answer.sample_id, answer.question_id] = (answer, seconds)
    return found


def _answer(row: Mapping[str, Any], entry: Entry) -> Answer:
    """The answer of a row. Raises `ValueError`, `TypeError`."""
    error, text, guard = row["error"], row["text"], row.get("guard") or ""
    if not isinstance(text, str):
        raise ValueError("it has no text")
    if error is not None and error not in get_args(ErrorCode):
        raise ValueError(f"there is no error {str(error)[:50]!r}")
    if error is not None and text:
        raise ValueError("it has both an error and a text")
    if guard not in ("", entry.guard):
        raise ValueError(f"the guard {guard[:50]!r} is not the entry's")
    counts = [int(row[name]) for name in ("tokens", "thinking_tokens")]
    if any(not 0 <= count < 1 << 31 for count in counts):
        raise ValueError(f"{counts} are no numbers of tokens")
    text.encode()  # a lone surrogate could not be written
    return Answer(
        str(row["sample_id"]),
        str(row["question_id"]),
        text,
        counts[0],
        error,
        bool(row["truncated"]),
        counts[1],
        reason=(row.get("reason") or "")[:_LONGEST_NOTE],
        guard=guard,
    )


def _table(path: Path, most: int) -> pa.Table:
    """The columns of answers that count, of a file that is no bomb. Raises `JobError`."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            facts, schema = file.metadata, file.schema_arrow
            unpacked = sum(facts.row_group(n).total_byte_size for n in range(facts.num_row_groups))
            if facts.num_rows > most or unpacked > _UNPACKED:
                raise _invalid(
                    f"its answers have {facts.num_rows:,} rows of {unpacked:,} bytes, and {most:,} rows were "
                    "asked for"
                )
            if lacking := [name for name in _COLUMNS if name not in schema.names]:
                raise _invalid(f"its answers lack the column {lacking[0]}")
        columns = [*_COLUMNS, *(name for name in _MORE_COLUMNS if name in schema.names)]
        texts = [name for name in columns if _is_text(schema.field(name).type)]
        if missing := {"sample_id", "question_id", "text"} - set(texts):
            raise _invalid(f"the column {min(missing)} of its answers is no text")
        # Kept as a dictionary: one long text that a million rows point to stays one.
        table = pq.read_table(path, columns=columns, read_dictionary=texts)
        for name in texts:
            for chunk in table.column(name).chunks:
                longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
                if longest > _LONGEST:
                    raise _invalid(f"a {name} of its answers has {longest:,} bytes")
    except (OSError, pa.ArrowException) as error:
        raise _invalid(f"its answers are damaged: {str(error)[:200]}") from error
    return table


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _plain(told: RunRecord, track: TrackRef) -> RunRecord:
    """The record without anything that is computed here; what is left says how the run was made."""
    from ucbench import __version__, provenance

    def cut(texts: Mapping[str, str]) -> dict[str, str]:
        return {name[:100]: text[:_LONGEST_NOTE] for name, text in list(texts.items())[:_MOST_NOTES]}

    if told.seconds is not None and not 0 <= told.seconds < 1e9:
        raise _invalid(f"it took {told.seconds} seconds")
    notes = tuple(note[:_LONGEST_NOTE] for note in told.engine.notes[:_MOST_NOTES])
    engine_facts = told.engine.model_copy(update={"notes": notes, "path": told.engine.path[:100]})
    return RunRecord(
        run_id=told.run_id,
        entry=told.entry,
        track=track,
        judge=None,
        code_version=__version__,
        code_revision=provenance.code_revision(),
        packages=cut(told.packages),
        hardware=cut(told.hardware),
        engine=engine_facts,
        started_at=told.started_at,
        seconds=told.seconds,
        status="complete",
        provenance="self-reported",  # whoever publishes it says otherwise
        counts=Counts(),
        scores=Scores(),
    )


def _incomplete(record: RunRecord) -> JobError:
    errors = record.counts.errors
    most = max(errors, key=errors.__getitem__, default="")
    total = sum(errors.values())
    code = "out_of_memory" if most == "out_of_memory" else "incomplete"
    listed = ", ".join(f"{count:,} {name}" for name, count in sorted(errors.items()))
    return JobError(code, f"{total:,} of {record.counts.questions:,} questions have no answer ({listed})")


def _invalid(detail: str) -> JobError:
    return JobError("invalid_result", detail)
