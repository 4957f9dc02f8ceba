"""A board made anew with what is known of its runs equals one made from nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ucbench import board as boards
from ucbench import runs
from ucbench.board_cache import BoardCache
from ucbench.metrics import compare, scores
from ucbench.record import Entry
from ucbench.runs import Run

TABLES = (boards.BOARD, boards.BREAKDOWNS, boards.RANKS, boards.MANIFEST, boards.SCHEMA)


def tables(store: Path, out: Path, cache: BoardCache | None = None) -> dict[str, bytes]:
    boards.build([store], out, cache)
    return {name: (out / name).read_bytes() for name in TABLES}


@pytest.fixture
def store(scripted_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scripted_store, tmp_path / "store"))


def trained(run: Run, store: Path) -> None:
    """A run of the test split by an aligned model, so that whole runs are cut down beside it."""
    record = run.record()
    entry = Entry(model="acme/tuned", trained_on=("pictograms/1/train",))
    own = record.model_copy(update={"run_id": "f" * 16, "entry": entry})
    folder = Path(shutil.copytree(run.folder, store / entry.slug / own.run_id))
    Run(folder).write_record(own)


def whole(run: Run) -> None:
    """The same run, as one over a whole set."""
    record = run.record()
    run.write_record(record.model_copy(update={"track": record.track.model_copy(update={"split": "all"})}))


def test_one_run_more_one_less_one_changed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fair, sharp, shy = runs.find(store)
    trained(fair, store)
    whole(shy)
    away = tmp_path / "away"
    sharp.folder.rename(away)
    out, kept = tmp_path / "out", tmp_path / "kept"
    asked: list[str] = []
    resampled, scored = compare.profile, scores.score_run
    monkeypatch.setattr(compare, "profile", lambda *a: asked.append("profile") or resampled(*a))
    monkeypatch.setattr(scores, "score_run", lambda *a, **k: asked.append("score") or scored(*a, **k))

    assert tables(store, out, BoardCache(kept)) == tables(store, out)
    assert "score" in asked
    asked.clear()
    away.rename(sharp.folder)
    more = tables(store, out, BoardCache(kept))
    assert asked == ["profile"]  # of the run that came, and nothing else
    assert more == tables(store, out)

    same = BoardCache(kept)
    asked.clear()
    assert tables(store, out, same) == more
    assert tables(store, out, same) == more
    assert asked == []

    rows = sharp.answers().astype(object).to_dict("records")
    sharp.write_answers([{**row, "error": None, "seconds": 1.0} for row in rows])
    assert tables(store, out, BoardCache(kept)) == tables(store, out) != more
    shutil.rmtree(sharp.folder)
    assert tables(store, out, BoardCache(kept)) == tables(store, out)


def test_what_is_damaged_or_of_another_version_is_computed_anew(store: Path, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept", tmp_path / "out"
    (kept / "older").mkdir(parents=True)
    made = tables(store, out, BoardCache(kept))
    assert not (kept / "older").exists()
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".npz"}
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert tables(store, out, BoardCache(kept)) == made
