"""`board verify` finds every kind of tampering, from the answers up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ucbench import board as boards
from ucbench import reported, runs
from ucbench.board import Board
from ucbench.cli import app
from ucbench.errors import StoreError
from ucbench.runs import Run
from ucbench.verify import table_differences, verify


@pytest.fixture(scope="module")
def built(scripted_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scripted model and the paper's own figures on one board."""
    copy = tmp_path_factory.mktemp("built") / "store"
    own = victim(scripted_store).folder
    shutil.copytree(own, copy / own.relative_to(scripted_store))
    reported.write(copy)
    boards.build([copy], copy)
    return copy


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "store"))


def victim(store: Path) -> Run:
    return next(run for run in runs.find(store) if run.record().entry.model == "acme/fair-vlm")


def problems(store: Path) -> list[str]:
    return [problem for check in verify([store]) for problem in check.problems]


def edit(path: Path, change: Any) -> None:
    table = pq.read_table(path)
    frame = table.to_pandas()
    change(frame)
    pq.write_table(pa.Table.from_pandas(frame, schema=table.schema.remove_metadata()), path)


def test_an_honest_board_is_verified(store: Path) -> None:
    assert problems(store) == []
    done = CliRunner().invoke(app, ["board", "verify", str(store)])
    assert done.exit_code == 0
    assert done.stdout.count("verified") == 1
    assert done.stdout.count("schema only") == 11


def test_an_edited_verdict_is_found_even_when_everything_is_built_anew(store: Path) -> None:
    from ucbench import evaluate
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks

    run = victim(store)
    judge = judges.load("rules")

    def flip(frame: pd.DataFrame) -> None:
        frame.loc[frame["label"] == "Safe", "label"] = "Unsafe"

    edit(run.judgements_path(judge.id), flip)
    run.write_record(evaluate.score(run.record(), run, judge, tracks.load("pictograms")))
    boards.build([store], store)
    (found,) = problems(store)
    assert "verdicts differ" in found
    assert CliRunner().invoke(app, ["board", "verify", str(store)]).exit_code == 1


def test_an_edited_question_is_found(store: Path) -> None:
    run = victim(store)

    def mend(frame: pd.DataFrame) -> None:
        frame.loc[frame["kind"] == "perception", "expected"] = "A"

    edit(run.folder / runs.ANSWERS, mend)
    boards.build([store], store)
    assert any("questions are not the track's" in problem for problem in problems(store))


def test_an_edited_figure_is_found_in_record_and_board(store: Path) -> None:
    run = victim(store)
    record = json.loads((run.folder / runs.RECORD).read_text())
    record["scores"]["overall"]["image_alignment"]["value"] = 0.99
    (run.folder / runs.RECORD).write_text(json.dumps(record))
    found = problems(store)
    assert any("not the file that the board was made from" in problem for problem in found)
    assert any("scores.overall.image_alignment.value" in problem for problem in found)
    assert any("image_alignment is" in problem and "not 0.99" in problem for problem in found)


@pytest.fixture(scope="module")
def made(built: Path) -> Board:
    return boards.assemble([built])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("balanced_accuracy", 1.0), ("model", "acme/best-vlm"), ("provenance", "imported"), ("rank_low", 2),
        ("over_refusal_n", 5), ("temperature", 0.3), ("unranked", "no reason"),
        ("text_alignment_coverage", 0.1),
    ],
)  # fmt: skip
def test_any_cell_edited_in_the_board_alone_is_found(
    column: str, value: Any, store: Path, made: Board
) -> None:
    run_id = victim(store).run_id
    assert table_differences(boards.load(store), made) == {}

    def change(frame: pd.DataFrame) -> None:
        frame.loc[frame["run_id"] == run_id, column] = value

    edit(store / boards.BOARD, change)
    found = table_differences(boards.load(store), made)
    assert found.keys() == {run_id}
    assert f"the board differs in 1 cell: {column} is" in found[run_id][0]


def test_breakdowns_edited_cut_or_emptied_are_found(store: Path) -> None:
    def praise(frame: pd.DataFrame) -> None:
        frame["value"] = 1.0

    whole = (store / boards.BREAKDOWNS).read_bytes()
    edit(store / boards.BREAKDOWNS, praise)
    assert len(problems(store)) == 1
    (store / boards.BREAKDOWNS).write_bytes(whole)
    edit(store / boards.BREAKDOWNS, lambda frame: frame.__init__(frame.iloc[5:]))
    assert any("lacks" in problem for problem in problems(store))


@pytest.mark.parametrize(
    "manifest", ["[]", "{}", "null", '{"runs": []}', '{"runs": {"id": 3}, "tables": {}}', "{"]
)
def test_a_manifest_that_is_none_is_one_sentence(manifest: str, store: Path) -> None:
    (store / boards.MANIFEST).write_text(manifest)
    with pytest.raises(StoreError, match="ucbench board build"):
        verify([store])
    assert not boards.is_current(store, [store])


def test_a_manifest_without_runs_leaves_none_verified(store: Path) -> None:
    (store / boards.MANIFEST).write_text('{"runs": {}, "tables": {}}')
    assert sum("not on the board" in problem for problem in problems(store)) == 12


def test_a_missing_run_and_an_unlisted_one_are_found(store: Path) -> None:
    run = victim(store)
    shutil.move(run.folder, store.parent / "elsewhere")
    assert any("missing" in problem for problem in problems(store))
    shutil.move(store.parent / "elsewhere", run.folder)
    boards.build([store], store)
    copy = run.record().model_copy(update={"run_id": "f" * 16})
    Run(run.folder.parent / ("f" * 16)).write_record(copy)
    assert any("not on the board" in problem for problem in problems(store))


def test_without_the_judges_weights_it_says_so_and_exits_2(store: Path) -> None:
    run = victim(store)
    record = run.record()
    assert record.judge
    away = record.judge.model_copy(update={"name": "classifier:/nowhere/p.pt,/nowhere/a.pt"})
    run.write_record(record.model_copy(update={"judge": away}))
    boards.build([store], store)
    done = CliRunner().invoke(app, ["board", "verify", str(store)])
    assert done.exit_code == 2
    assert "verdicts not re-judged" in done.stdout


def test_the_committed_results_hold() -> None:
    results = Path(__file__).resolve().parents[1] / "results"
    checks = verify([results])
    assert [problem for check in checks for problem in check.problems] == []
    assert sum(check.provenance == "measured" and check.rejudged is True for check in checks) >= 1
    assert sum(check.provenance == "reported" for check in checks) == len(reported.records())
