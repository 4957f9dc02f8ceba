"""The board: what is joined, what is ranked, what the command line prints of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ucbench import board as boards
from ucbench import evaluate, reported, runs, taxonomy, terminal
from ucbench.cli import app
from ucbench.errors import StoreError
from ucbench.judges import registry as judges
from ucbench.metrics.keys import KEYS
from ucbench.record import RunRecord
from ucbench.tracks import registry as tracks
from ucbench.verify import verify


@pytest.fixture
def store(scripted_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scripted_store, tmp_path / "store"))


def row(board: boards.Board, model: str) -> dict[str, Any]:
    (found,) = board.rows[board.rows["model"] == model].to_dict("records")
    return found


def test_a_row_a_run_with_every_score_its_interval_and_n(store: Path) -> None:
    board = boards.load(store)
    assert sorted(board.rows["model"]) == ["acme/fair-vlm", "acme/sharp-vlm", "acme/shy-vlm"]
    for key in KEYS:
        assert {key, f"{key}_low", f"{key}_high", f"{key}_coverage", f"{key}_n"} <= set(board.rows.columns)
    for run in runs.find(store):
        record = run.record()
        told = row(board, record.entry.model)
        score = record.scores.overall["image_alignment"]
        assert told["image_alignment"] == score.value
        assert told["image_alignment_low"] == score.low
        assert told["image_alignment_n"] == score.n_items
        lines = board.breakdowns.query(
            "run_id == @record.run_id and group == 'concept' and key == 'perception'"
        )
        assert len(lines) == 150


def test_ranks_are_intervals_among_comparable_measured_rows(store: Path) -> None:
    board = boards.load(store)
    sharp, fair, shy = (row(board, f"acme/{name}-vlm") for name in ("sharp", "fair", "shy"))
    assert (sharp["rank_low"], sharp["rank_high"]) == (1, 1)
    assert (fair["rank_low"], fair["rank_high"]) == (2, 2)
    assert sharp["ranked_among"] == 2
    assert pd.isna(shy["rank_low"])
    assert "fewer than half" in shy["unranked"]


def test_reported_rows_stand_on_their_own_track_and_never_have_a_rank(store: Path) -> None:
    before = boards.load(store)
    reported.write(store)
    board = boards.build([store], store)
    paper = board.rows[board.rows["provenance"] == "reported"]
    assert len(paper) == len(reported.records()) == 11
    assert set(paper["track"]) == {"unsafeconcepts"}
    assert paper["rank_low"].isna().all()
    llava = paper[(paper["model"] == "liuhaotian/llava-v1.5-7b") & paper["adapter"].isna()].iloc[0]
    assert (llava["perception"], llava["image_alignment"]) == (0.93, 0.37)
    assert pd.isna(llava["text_alignment"])
    assert (llava["text_alignment_low"], llava["text_alignment_high"]) == (0.81, 0.95)
    columns = ["run_id", "rank_low", "rank_high"]
    measured = board.rows[board.rows["provenance"] == "measured"][columns]
    pd.testing.assert_frame_equal(
        measured.reset_index(drop=True), before.rows[columns].reset_index(drop=True)
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"limit": 12}, "partial run"),
        ({"draw": 2}, "fresh draw 2"),
        ({"split": "train"}, "training split"),
    ],
)
def test_runs_on_other_questions_are_shown_without_a_rank(
    change: dict[str, Any], reason: str, store: Path, scripted: Callable[..., Any]
) -> None:
    track, judge = tracks.load("pictograms"), judges.load("rules")
    evaluate.evaluate(scripted("acme/other", 1.0), track, judge, out=store, batch_size=500, **change)
    other = row(boards.build([store], store), "acme/other")
    assert reason in other["unranked"]
    assert pd.isna(other["rank_low"])


def test_a_later_store_overlays_an_earlier_one(store: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    first = next(iter(runs.find(store)))
    copy = mine / first.folder.parent.name / first.run_id
    shutil.copytree(first.folder, copy)
    changed = first.record().model_copy(update={"seconds": 12345.0})
    runs.Run(copy).write_record(changed)
    board = boards.build([store, mine], mine)
    assert len(board.rows) == 3
    assert row(board, changed.entry.model)["seconds"] == 12345.0
    assert boards.is_current(mine, [store, mine])
    assert not boards.is_current(store, [store, mine])


def test_building_twice_gives_the_same_bytes(store: Path, tmp_path: Path) -> None:
    boards.build([store], tmp_path / "a")
    boards.build([store], tmp_path / "b")
    for name in (boards.BOARD, boards.BREAKDOWNS, boards.RANKS, boards.MANIFEST, boards.SCHEMA):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_every_record_fits_the_exported_json_schema(store: Path) -> None:
    reported.write(store)
    boards.build([store], store)
    schema = json.loads((store / boards.SCHEMA).read_text())
    for run in runs.find(store):
        jsonschema.validate(json.loads((run.folder / runs.RECORD).read_text()), schema)


def test_a_damaged_record_is_named_and_the_old_board_stays(store: Path) -> None:
    before = (store / boards.BOARD).read_bytes()
    victim = next(iter(runs.find(store))).folder / runs.RECORD
    victim.write_text(victim.read_text().replace('"run_id"', '"ran_id"'))
    with pytest.raises(StoreError, match="does not fit the schema"):
        boards.build([store], store)
    assert (store / boards.BOARD).read_bytes() == before


def test_a_missing_board_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="ucbench board build"):
        boards.load(tmp_path)


def test_show_prints_ranks_values_and_intervals(store: Path) -> None:
    reported.write(store)
    boards.build([store], store)
    shown = CliRunner().invoke(app, ["board", "show", str(store)], env={"COLUMNS": "220"})
    assert shown.exit_code == 0
    sharp = next(line for line in shown.stdout.splitlines() if "acme/sharp-vlm" in line)
    score = row(boards.load(store), "acme/sharp-vlm")["perception"]
    assert f"{score:.2f}".lstrip("0") in sharp
    assert "greedy" in shown.stdout
    assert shown.stdout.index("acme/sharp-vlm") < shown.stdout.index("acme/fair-vlm")
    assert ".81–.95" in shown.stdout


def test_a_narrow_terminal_names_the_scores_it_has_no_room_for(store: Path) -> None:
    shown = CliRunner().invoke(app, ["board", "show", str(store)], env={"COLUMNS": "80"})
    assert all(len(line.rstrip()) <= 80 for line in shown.stdout.splitlines() if "shows" not in line)
    assert "acme/sharp-vlm" in shown.stdout
    for key in ("over_refusal", "general_ability"):
        assert key in shown.stdout or key.replace("_", " ") in shown.stdout


def test_a_record_refuses_unknown_fields(store: Path) -> None:
    content = json.loads((next(iter(runs.find(store))).folder / runs.RECORD).read_text())
    with pytest.raises(ValueError, match="Extra inputs"):
        RunRecord.model_validate({**content, "rank": 1})


def test_adapters_of_one_model_are_rows_of_their_own(
    scripted: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track, judge = tracks.load("pictograms"), judges.load("rules")
    adapters = [None, "local:ppo@sha256:16deeca7090dbca3", "local:ppo@sha256:26309e871b8001d8"]
    for adapter in adapters:
        vlm = scripted("acme/vlm", 0.9)
        vlm.entry = vlm.entry.model_copy(
            update={"adapter": adapter, "trained_on": ("pictograms/1/train",) if adapter else ()}
        )
        evaluate.evaluate(vlm, track, judge, out=tmp_path, limit=6)
    board = boards.build([tmp_path], tmp_path)
    assert set(board.rows["adapter"].dropna()) == set(adapters[1:])
    assert set(board.rows["trained_on"].dropna()) == {"pictograms/1/train"}
    assert board.rows["entry"].nunique() == 3
    assert all(check.rejudged and not check.problems for check in verify([tmp_path]))
    terminal.print_board(board, None, boards.RANK_KEY)
    shown = "".join(capsys.readouterr().out.split())
    assert "local:ppo@16deeca" in shown
    assert "local:ppo@26309e8" in shown


# --- ranks by category ---


def test_every_category_has_the_scores_and_ranks_of_the_rows_that_have_them(store: Path) -> None:
    board = boards.load(store)
    assert board.ranks is not None
    assert set(board.ranks["category"]) == {category.id for category in taxonomy.categories()}
    assert len(board.ranks) == 9 * len(board.rows)
    sharp, fair, shy = (row(board, f"acme/{name}-vlm")["run_id"] for name in ("sharp", "fair", "shy"))
    violence = board.ranks[board.ranks["category"] == "violence"].set_index("run_id")
    told = violence.loc[sharp]
    assert told["balanced_accuracy_low"] < told["balanced_accuracy"] < told["balanced_accuracy_high"]
    assert (told["rank_low"], told["rank_high"], told["ranked_among"]) == (1, 1, 2)
    assert violence.loc[fair]["rank_low"] == 2
    # Who is not ranked on the board is not ranked in a category.
    assert pd.isna(violence.loc[shy]["rank_low"])
    assert violence.loc[shy]["balanced_accuracy"] > 0
    # The unsafe half is the one that the record tells.
    record = next(run.record() for run in runs.find(store) if run.run_id == sharp)
    unsafe = record.scores.by_category["violence"]["image_alignment_strict"].value
    safe = 1 - record.scores.overall["over_refusal"].value  # it declines nothing
    assert told["balanced_accuracy"] == pytest.approx((unsafe + safe) / 2)


def test_ranks_that_were_edited_are_found(store: Path) -> None:
    path = store / boards.RANKS
    frame = pd.read_parquet(path)
    victim = frame.loc[0, "run_id"]
    frame.loc[0, "balanced_accuracy"] = 1.0
    schema = pq.read_schema(path)
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), path)
    (check,) = (check for check in verify([store]) if check.problems)
    assert check.run_id == victim
    assert "balanced_accuracy is 1.0" in check.problems[0]


def test_a_board_from_before_ranks_by_category_is_read_and_a_cut_table_is_not(store: Path) -> None:
    manifest = json.loads((store / boards.MANIFEST).read_text())
    told = manifest["tables"].pop(boards.RANKS)
    (store / boards.MANIFEST).write_text(json.dumps(manifest))
    board = boards.load(store)
    assert board.ranks is None
    assert not any(check.problems for check in verify([store]))
    manifest["tables"][boards.RANKS] = told
    (store / boards.MANIFEST).write_text(json.dumps(manifest))
    (store / boards.RANKS).write_bytes(b"cut")
    with pytest.raises(StoreError, match="is damaged"):
        boards.load(store)
    (store / boards.RANKS).unlink()
    with pytest.raises(StoreError, match="ucbench board build"):
        boards.load(store)


def test_what_is_known_of_a_model_is_on_its_row(store: Path) -> None:
    reported.write(store)
    boards.build([store], store)
    board = boards.load(store)
    gpt, sharp = row(board, "gpt-4-vision-preview"), row(board, "acme/sharp-vlm")
    assert gpt["weights"] == "closed"
    assert pd.isna(gpt["family"])
    assert pd.isna(sharp["parameters"])
    llava = row(board, "liuhaotian/llava-v1.5-13b")
    assert (llava["family"], llava["parameters"], llava["weights"]) == ("llava", 13.4, "open")
    # A board from before these columns is read, and knows nothing.
    table = pq.read_table(store / boards.BOARD)
    pq.write_table(
        table.drop_columns(["family", "parameters", "weights", "template", "joined_asked"]),
        store / boards.BOARD,
    )
    assert boards.load(store).rows["parameters"].isna().all()
