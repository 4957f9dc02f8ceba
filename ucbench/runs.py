"""A run on disk: `<store>/<entry slug>/<run_id>/` with record, answers and judgements."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ucbench.errors import StoreError, UnknownNameError
from ucbench.files import atomic_path, write_text
from ucbench.judges.base import Item
from ucbench.record import RunRecord
from ucbench.types import Verdict

if TYPE_CHECKING:
    import pandas as pd

RECORD, ANSWERS, JUDGEMENTS = "record.json", "answers.parquet", "judgements"

#: A row of answers.parquet is a question beside its answer, so that it can be judged again by itself.
ANSWER_COLUMNS = (
    "sample_id", "question_id", "kind", "template", "concept_id", "category_id", "unsafe", "expected",
    "options", "prompt", "text", "tokens", "error", "truncated", "thinking_tokens", "seconds",
)  # fmt: skip
JUDGEMENT_COLUMNS = ("sample_id", "question_id", "label", "how", "probs")
#: Written only where a row has them: what few tracks and judges need.
MORE_ANSWER_COLUMNS = ("context", "reason", "input_tokens", "guard")
#: Those of them that a judge is shown.
JUDGED_COLUMNS = ("context", "guard")
MORE_JUDGEMENT_COLUMNS = ("rating_reference", "rating_answer", "judge_error")
KEY = ["sample_id", "question_id"]
#: Where a file of judgements says which answers it read.
ITEMS = b"ucbench.items"


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder. Files are read when asked for."""

    folder: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    def exists(self) -> bool:
        """Whether the run was finished: the record is written last."""
        try:
            return (self.folder / RECORD).is_file()
        except OSError:  # no possible path; writing will say so
            return False

    def record(self) -> RunRecord:
        """The record. Raises `StoreError` when it is missing or does not fit the schema."""
        path = self.folder / RECORD
        try:
            return RunRecord.model_validate_json(path.read_bytes())
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "top level"
            raise StoreError(
                f"{path} does not fit the schema at {where} ({first['msg']}); "
                f"move {self.folder} away and evaluate again"
            ) from error

    def answers(self) -> pd.DataFrame:
        """`answers.parquet`, one row a question. Raises `StoreError`."""
        advice = f"move {self.folder} away and evaluate again"
        frame = _read_parquet(self.folder / ANSWERS, ANSWER_COLUMNS, advice)
        empty = [column for column in ANSWER_COLUMNS if column != "error" and frame[column].isna().any()]
        if empty or frame.empty or frame.duplicated(KEY).any():
            wrong = f"cells of {empty[0]} are empty" if empty else "questions are missing or twice there"
            raise StoreError(f"{self.folder / ANSWERS} is damaged ({wrong}); {advice}")
        return frame

    def judgements(self, judge_id: str) -> pd.DataFrame:
        """`judgements/<judge_id>.parquet`. Raises `StoreError`."""
        advice = f"judge the run again: `ucbench judge run {self.folder}`"
        frame = _read_parquet(self.judgements_path(judge_id), JUDGEMENT_COLUMNS, advice)
        if frame.duplicated(KEY).any():
            raise StoreError(f"{self.judgements_path(judge_id)} is damaged (answers judged twice); {advice}")
        return frame

    def judgements_path(self, judge_id: str) -> Path:
        """Where a judge's verdicts on this run lie."""
        return self.folder / JUDGEMENTS / f"{judge_id}.parquet"

    def judge_ids(self) -> list[str]:
        """Judges that have read this run."""
        return sorted(path.stem for path in (self.folder / JUDGEMENTS).glob("*.parquet"))

    def frame_files(self, judge_id: str) -> list[Path]:
        """The files that `frame` is made from."""
        return [self.folder / ANSWERS, self.judgements_path(judge_id)]

    def frame(self, judge_id: str) -> pd.DataFrame:
        """Answers joined with a judge's verdicts: what `ucbench.metrics` takes."""
        return join(self.answers(), self.judgements(judge_id))

    def write_answers(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write `answers.parquet` atomically."""
        _write_parquet(self.folder / ANSWERS, rows, (*ANSWER_COLUMNS, *_used(MORE_ANSWER_COLUMNS, rows)))

    def judged(self, judge_id: str) -> str | None:
        """`items_digest` of what a judge has read, None when it has not, or did not say."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_schema(self.judgements_path(judge_id)).metadata or {}
        except (OSError, pa.ArrowException):
            return None
        content: bytes | None = metadata.get(ITEMS)
        return content.decode() if content else None

    def write_judgements(
        self, judge_id: str, verdicts: Iterable[Verdict], content: str | None = None
    ) -> None:
        """Write a judge's verdicts atomically; probabilities as JSON text.

        `content` is the `items_digest` of the answers they were read in, so that none is read twice.
        """
        rows: list[dict[str, Any]] = [
            {
                "sample_id": verdict.sample_id,
                "question_id": verdict.question_id,
                "label": verdict.label,
                "how": verdict.how,
                "probs": None if verdict.probs is None else json.dumps(verdict.probs),
                "rating_reference": None if verdict.ratings is None else verdict.ratings[0],
                "rating_answer": None if verdict.ratings is None else verdict.ratings[1],
                "judge_error": verdict.error,
            }
            for verdict in verdicts
        ]
        metadata = {ITEMS: content.encode()} if content else {}
        columns = (*JUDGEMENT_COLUMNS, *_used(MORE_JUDGEMENT_COLUMNS, rows))
        _write_parquet(self.judgements_path(judge_id), rows, columns, metadata)

    def write_record(self, record: RunRecord) -> None:
        """Write `record.json` atomically."""
        write_text(self.folder / RECORD, record.to_json())


def find(store: Path) -> Iterator[Run]:
    """All finished runs of a store, in the order of their paths."""
    for path in sorted(store.glob(f"*/*/{RECORD}")):
        yield Run(path.parent)


def resolve(run: str, store: Path) -> Run:
    """A run by its folder, or by its id (or the beginning of it) within `store`.

    Raises `UnknownNameError` when there is none, or several.
    """
    if Run(Path(run)).exists():
        return Run(Path(run))
    found = [candidate for candidate in find(store) if candidate.run_id.startswith(run)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(candidate.run_id for candidate in find(store)) or "none"
    problem = (
        f"several runs begin with {run!r} in {store}" if found else f"there is no run {run!r} in {store}"
    )
    if Path(run).is_dir():
        inside = ", ".join(str(candidate.folder) for candidate in _below(Path(run)))
        more = f" (it holds the runs {inside})" if inside else ""
        problem = f"{run} is no run folder, since there is no {Path(run) / RECORD}{more}; and {problem}"
    raise UnknownNameError(f"{problem}; give a run folder or one of these ids: {known}")


def _below(folder: Path) -> list[Run]:
    """The runs in a store, or in the folder of an entry."""
    return [Run(path.parent) for path in sorted([*folder.glob(f"*/{RECORD}"), *folder.glob(f"*/*/{RECORD}")])]


def join(answers: pd.DataFrame, judgements: pd.DataFrame) -> pd.DataFrame:
    """Verdicts beside answers; an answer that is a system error has no verdict (label None).

    A judge's own failure is a system error as well: `judge_` and its kind.
    """
    joined = answers.merge(judgements, on=KEY, how="left", validate="one_to_one", sort=False)
    if "judge_error" in joined:
        failed = joined["judge_error"].notna()
        joined["error"] = joined["error"].astype(object).where(~failed, "judge_" + joined["judge_error"])
        joined["label"] = joined["label"].where(~failed)
    missing = joined["label"].isna() & joined["error"].isna()
    if missing.any():
        row = joined[missing].iloc[0]
        raise StoreError(
            f"{int(missing.sum())} answers have no verdict, the first is {row.sample_id} {row.question_id}; "
            "judge the run again with `ucbench judge run`"
        )
    joined["label"] = joined["label"].astype(object).where(joined["label"].notna(), None)
    return joined


def items(answers: pd.DataFrame) -> list[Item]:
    """What a judge is shown: every answer that is not a system error."""
    fields = ["sample_id", "question_id", "kind", "prompt", "text", "expected", "options"]
    fields += [column for column in JUDGED_COLUMNS if column in answers]
    rows: Any = answers.loc[answers["error"].isna(), fields].to_dict("records")
    return [Item(**{**row, "options": tuple(row["options"])}) for row in rows]


def items_digest(asked: Sequence[Item]) -> str:
    """SHA-256 of everything that a judge is shown, in order."""
    content = hashlib.sha256()
    for item in asked:
        shown = astuple(item)
        # Guards came after the first judgements.
        shown = shown if item.guard else shown[:-1]
        content.update(json.dumps(shown, ensure_ascii=True).encode() + b"\n")
    return content.hexdigest()


def _read_parquet(path: Path, columns: Sequence[str], advice: str) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing; {advice}") from error
    except (OSError, pa.ArrowException, ValueError) as error:
        raise StoreError(f"{path} is damaged; {advice}") from error
    lacking = [column for column in columns if column not in frame.columns]
    if lacking:
        raise StoreError(f"{path} lacks the columns {', '.join(lacking)}; {advice}")
    return frame


def _used(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Those columns that any row has something in."""
    return [column for column in columns if any(row.get(column) not in (None, "") for row in rows)]


def _write_parquet(
    path: Path,
    rows: Sequence[dict[str, Any]],
    columns: Sequence[str],
    metadata: Mapping[bytes, bytes] | None = None,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "options": pa.list_(pa.string()),
        "unsafe": pa.bool_(),
        "truncated": pa.bool_(),
        "tokens": pa.int32(),
        "input_tokens": pa.int32(),
        "thinking_tokens": pa.int32(),
        "seconds": pa.float32(),
        "rating_reference": pa.float64(),
        "rating_answer": pa.float64(),
    }
    schema = pa.schema([(column, types.get(column, pa.string())) for column in columns], metadata or None)
    table = pa.Table.from_pylist(list(rows), schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
