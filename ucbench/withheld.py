"""Texts that are not to be read by everyone: they are replaced by a marker, scores and verdicts stay.

Questions and answers can quote what is harmful or personal, or what its owner does not want to be spread. A
row whose prompt is the marker has been withheld; the prompt is ours, so no answer can claim to be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ucbench.errors import StoreError
from ucbench.record import Frozen
from ucbench.runs import Run

if TYPE_CHECKING:
    import pandas as pd

MARKER = "[withheld]"
#: Columns of answers.parquet that hold texts of others.
_TEXTS = ("prompt", "text", "context", "reason")
#: Kinds of which `expected` is a text as well, not a label.
_EXPECTED_TEXTS = ("general", "rated")

Row = dict[str, Any]


class Item(Frozen):
    """What is withheld: a picture's questions in all runs; one of them; or those of one run."""

    sample_id: str
    question_id: str | None = None
    run_id: str | None = None
    why: str = ""


class Takedown(Frozen):
    """`takedown.json` of a results store."""

    items: tuple[Item, ...] = ()

    def covers(self, run_id: str, row: Row) -> bool:
        """Whether a row of that run's answers is on the list."""
        return any(
            item.sample_id == row["sample_id"]
            and item.question_id in (None, row["question_id"])
            and item.run_id in (None, run_id)
            for item in self.items
        )


def read(path: Path) -> Takedown:
    """The list in a file; an empty one where there is none. Raises `StoreError`."""
    try:
        return Takedown.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Takedown()
    except (OSError, ValidationError) as error:
        raise StoreError(
            f'{path.name} of the results store is damaged; write {{"items": [{{"sample_id": ...}}]}}, '
            "with question_id and run_id where not all are meant"
        ) from error


def withhold(run: Run, wanted: Callable[[Row], bool]) -> int:
    """Replace the texts of those rows of a run by the marker; returns how many. Raises `StoreError`."""
    rows: list[Row] = run.answers().astype(object).to_dict("records")  # type: ignore[assignment]
    chosen = [row for row in rows if row["prompt"] != MARKER and wanted(row)]
    for row in chosen:
        row |= {column: MARKER for column in _TEXTS if _present(row.get(column))}
        row["options"] = [MARKER] * len(row["options"])
        if row["kind"] in _EXPECTED_TEXTS:
            row["expected"] = MARKER
    if chosen:
        run.write_answers([{name: _plain(cell) for name, cell in row.items()} for row in rows])
    return len(chosen)


def withheld(answers: pd.DataFrame) -> pd.Series[bool]:
    """Which rows have been withheld."""
    return answers["prompt"] == MARKER


def _present(cell: Any) -> bool:
    return isinstance(cell, str) and cell != ""


def _plain(cell: Any) -> Any:
    """As Parquet takes it: no NaN for None, lists for arrays."""
    if hasattr(cell, "tolist"):
        return cell.tolist()
    return None if cell is None or cell != cell else cell
