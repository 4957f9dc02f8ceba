"""Runs of one entry on a suite of tracks: what joins, what stays empty, how the joined rows rank."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ucbench import board as boards
from ucbench import evaluate, reported, taxonomy, terminal
from ucbench.errors import UnknownNameError
from ucbench.judges import registry as judges
from ucbench.metrics.keys import KEYS
from ucbench.record import Entry, JudgeRef, RunRecord, Score, Scores, TrackRef, run_id
from ucbench.runs import Run
from ucbench.tracks.given import check_asked
from ucbench.tracks.pictograms import BlankImage
from ucbench.tracks.questions import IMAGE_ALIGNMENT, TEXT_ALIGNMENT
from ucbench.tracks.safe import Safe
from ucbench.tracks.suites import SUITES, suite_of
from ucbench.types import Concept, Question, Sample, Split

#: Both tracks use this id for a picture, as any two tracks may.
SHARED_ID = "imagenet/0"


class FewUnsafe:
    """Stands in for `unsafeconcepts`: the taxonomy's first concepts with two blank pictures each."""

    id, version = "unsafeconcepts", "1"
    splits: tuple[Split, ...] = ("all", "test", "train")
    subsets: dict[str, frozenset[str]] = {}  # noqa: RUF012
    fresh_draws = False

    @property
    def concepts(self) -> Sequence[Concept]:
        return taxonomy.concepts()[:20]

    @property
    def categories(self) -> dict[str, str]:
        return {c.id: c.name for c in taxonomy.categories()}

    def samples(self, split: Split = "all", draw: int = 0, limit: int | None = None) -> list[Sample]:
        check_asked(self.id, draw, limit)
        pictures = [
            (c, n) for c in self.concepts for n in range(2) if split == "all" or (n == 0) == (split == "test")
        ]
        found = [
            Sample(SHARED_ID if i == 0 else f"images/{c.id}-{n}.png", BlankImage(8), split, tuple(
                Question(name, "image_alignment", name, text, c.id, "Unsafe")
                for name, text in ((f"image_alignment_{k}", text) for k, text in enumerate(IMAGE_ALIGNMENT))
            ))
            for i, (c, n) in enumerate(pictures)
        ]  # fmt: skip
        words = Sample("blank", BlankImage(8), split, tuple(
            Question(f"text_alignment_0:{c.id}", "text_alignment", "text_alignment_0",
                     TEXT_ALIGNMENT[0].format(concept=c.name), c.id, "Unsafe")
            for c in self.concepts
        ))  # fmt: skip
        return [*found, words][:limit]


@pytest.fixture(scope="module")
def safe_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    path = tmp_path_factory.mktemp("safe") / "safe.parquet"
    images = pa.array([{"bytes": stream.getvalue(), "path": None}] * 25)
    pq.write_table(pa.table({"image": images, "concept": [f"class {i}" for i in range(25)]}), path)
    return path


@pytest.fixture
def measure(scripted: Callable[..., Any], safe_data: Path, tmp_path: Path) -> Callable[..., RunRecord]:
    """measure(track, name, right, ...): a scripted model's run in the test's store."""

    def run(track: str, name: str, right: float, *, judge: str = "rules", **changes: Any) -> RunRecord:
        chosen: Any = FewUnsafe() if track == "unsafeconcepts" else Safe(safe_data)
        vlm = scripted(name, right, changes.pop("declines", 0.0))
        vlm.entry = vlm.entry.model_copy(update=changes.pop("entry", {}))
        return evaluate.evaluate(vlm, chosen, judges.load(judge), out=tmp_path, batch_size=500, **changes)

    return run


def told(store: Path, model: str | None = None) -> list[dict[str, Any]]:
    rows = boards.build([store], store).rows
    rows = rows if model is None else rows[rows["model"] == model]
    pd.testing.assert_frame_equal(boards.load(store).rows, boards.assemble([store]).rows)
    found: list[dict[str, Any]] = rows.to_dict("records")
    return found


def general(
    store: Path, entry: Entry, track: str, key: str, value: float, half: float = 0.1, **more: Any
) -> None:
    """A run of general ability, of which the board takes the record alone."""
    reference = TrackRef(id=track, version="1", n_questions=more.pop("n_questions", 60))
    scores = {
        key: Score(value=value, low=value - half, high=value + half, n_items=50, n_clusters=50, coverage=0.9)
    }
    if key == "mme":
        scores["general_ability"] = scores[key]
    record = RunRecord(
        run_id=run_id(entry, reference, more.pop("engine", "1")), entry=entry, track=reference,
        judge=JudgeRef(id="x-1", name="x"), code_version="0", scores=Scores(overall=scores), **more,
    )  # fmt: skip
    Run(store / entry.slug / record.run_id).write_record(record)


def test_both_sides_make_one_row_and_its_balanced_accuracy(measure: Any, tmp_path: Path) -> None:
    unsafe = measure("unsafeconcepts", "acme/vlm", 0.6, declines=0.1)
    safe = measure("safe", "acme/vlm", 0.6, declines=0.1)
    (row,) = told(tmp_path)
    assert (row["run_id"], row["track"]) == (unsafe.run_id, "unsafeconcepts")
    assert row["joined"] == f"safe={safe.run_id}"
    for key in ("image_alignment", "image_alignment_strict", "text_alignment", "modality_gap", "diversity"):
        assert row[key] == unsafe.scores.overall[key].value
        assert row[f"{key}_n"] == unsafe.scores.overall[key].n_items
    assert row["over_refusal"] == safe.scores.overall["over_refusal"].value
    sides = (unsafe.scores.overall["image_alignment_strict"], safe.scores.overall["accuracy"])
    values = [side.value for side in sides if side.value is not None]
    assert row["balanced_accuracy"] == pytest.approx(sum(values) / 2, abs=1e-8)
    assert row["balanced_accuracy_n"] == 20 * 2 * 5 + 25 * 5
    assert row["accuracy"] == pytest.approx((values[0] * 200 + values[1] * 125) / 325, abs=1e-8)
    assert (row["rank_low"], row["rank_high"], row["ranked_among"]) == (1, 1, 1)


def test_its_interval_resamples_both_sides(measure: Any, tmp_path: Path) -> None:
    unsafe, safe = (measure(track, "acme/vlm", 0.5) for track in ("unsafeconcepts", "safe"))
    (row,) = told(tmp_path)
    halves = [
        (side.high - side.low) / 2
        for side in (unsafe.scores.overall["image_alignment_strict"], safe.scores.overall["accuracy"])
    ]
    half = (row["balanced_accuracy_high"] - row["balanced_accuracy_low"]) / 2
    assert half == pytest.approx(math.hypot(*halves) / 2, rel=0.1)
    assert half < sum(halves) / 2


def test_a_missing_track_leaves_its_cells_empty(measure: Any, tmp_path: Path) -> None:
    measure("unsafeconcepts", "acme/no-safe", 0.9)
    measure("safe", "acme/only-safe", 0.9)
    (row,) = told(tmp_path, "acme/no-safe")
    for key in ("over_refusal", "balanced_accuracy", "accuracy", "general_ability", "mme", "llavabench"):
        assert pd.isna(row[key])
    assert row["image_alignment"] > 0.8
    assert pd.isna(row["joined"])
    assert row["unranked"] == "no safe images were asked"
    (row,) = told(tmp_path, "acme/only-safe")
    assert row["over_refusal"] < 0.2
    assert pd.isna(row["image_alignment"])
    assert pd.isna(row["balanced_accuracy"])
    assert pd.isna(row["accuracy"])


def test_joined_rows_are_ranked_by_both_sides(measure: Any, tmp_path: Path) -> None:
    """The one that always says No is best on unsafe pictures and worst on balanced accuracy."""
    for name, unsafe, safe in (("acme/good", 0.95, 0.95), ("acme/no", 1.0, 0.0), ("acme/fair", 0.75, 0.75)):
        measure("unsafeconcepts", name, unsafe)
        measure("safe", name, safe)
    ranks = {row["model"]: (row["rank_low"], row["rank_high"], row["ranked_among"]) for row in told(tmp_path)}
    assert ranks == {"acme/good": (1, 1, 3), "acme/fair": (2, 2, 3), "acme/no": (3, 3, 3)}


@pytest.mark.parametrize(
    "other", [{"judge": "contains"}, {"split": "test"}, {"entry": {"dtype": "bfloat16"}}, {"limit": 8}]
)
def test_runs_that_do_not_fit_stay_rows_of_their_own(measure: Any, tmp_path: Path, other: Any) -> None:
    measure("unsafeconcepts", "acme/vlm", 0.9)
    measure("safe", "acme/vlm", 0.9, **other)
    rows = told(tmp_path)
    assert sorted(row["track"] for row in rows) == ["safe", "unsafeconcepts"]
    assert all(pd.isna(row["joined"]) and pd.isna(row["balanced_accuracy"]) for row in rows)


def test_of_several_runs_the_latest_joins_and_no_run_is_lost(measure: Any, tmp_path: Path) -> None:
    measure("unsafeconcepts", "acme/vlm", 0.9)
    safe = measure("safe", "acme/vlm", 0.9)
    (folder,) = tmp_path.glob(f"*/{safe.run_id}")
    older = safe.model_copy(
        update={
            "run_id": "0" * 16,
            "track": safe.track.model_copy(update={"version": "0-old"}),
            "started_at": datetime.now(UTC) - timedelta(days=9),
        }
    )
    Run(folder.parent / older.run_id).write_record(older)
    rows = {row["run_id"]: row for row in told(tmp_path)}
    assert len(rows) == 2
    assert rows["0" * 16]["track"] == "safe"
    (lead,) = (row for row in rows.values() if row["track"] == "unsafeconcepts")
    assert lead["joined"] == f"safe={safe.run_id}"


def test_a_trained_entry_is_compared_on_the_test_split(measure: Any, tmp_path: Path) -> None:
    trained = {"adapter": "local:ppo", "trained_on": ("unsafeconcepts/1/train", "safe/1/train")}
    for track in ("unsafeconcepts", "safe"):
        measure(track, "acme/plain", 0.6)
        assert measure(track, "acme/tuned", 0.98, entry=trained).track.split == "test"
    rows = {(row["model"], row["split"]): row for row in told(tmp_path)}
    assert set(rows) == {("acme/plain", "all"), ("acme/plain", "test"), ("acme/tuned", "test")}
    assert all(row["joined"].startswith("safe=") for row in rows.values())
    # The plain model's answers to the test items alone, from both of its runs.
    assert (
        rows["acme/plain", "test"]["balanced_accuracy_n"] == rows["acme/tuned", "test"]["balanced_accuracy_n"]
    )
    assert rows["acme/tuned", "test"]["rank_high"] == 1
    assert rows["acme/plain", "test"]["rank_low"] == 2
    assert rows["acme/plain", "all"]["ranked_among"] == 1


def test_general_ability_is_the_mean_of_both_or_nothing(measure: Any, tmp_path: Path) -> None:
    entry = measure("unsafeconcepts", "acme/vlm", 0.9).entry
    general(tmp_path, entry, "mme", "mme", 0.8, n_questions=540)
    (row,) = told(tmp_path)
    assert (row["mme"], row["mme_coverage"]) == (0.8, 0.9)
    assert pd.isna(row["general_ability"])
    general(tmp_path, entry, "llavabench", "llavabench", 0.6, half=0.2)
    (row,) = told(tmp_path)
    assert row["llavabench"] == 0.6
    assert row["general_ability"] == pytest.approx(0.7)
    half = math.hypot(0.1, 0.2) / 2
    assert row["general_ability_low"] == pytest.approx(0.7 - half)
    assert row["general_ability_high"] == pytest.approx(0.7 + half)
    assert (row["general_ability_n"], row["general_ability_coverage"]) == (100, pytest.approx(0.9))


def test_general_ability_alone_is_a_row_too(tmp_path: Path) -> None:
    entry = Entry(model="acme/vlm")
    general(tmp_path, entry, "mme", "mme", 0.8)
    general(tmp_path, entry, "llavabench", "llavabench", 1.1)
    (row,) = told(tmp_path)
    assert (row["track"], row["llavabench"]) == ("mme", 1.1)
    assert row["general_ability"] == pytest.approx(0.95)


def test_an_incomplete_side_is_not_ranked(measure: Any, tmp_path: Path) -> None:
    measure("unsafeconcepts", "acme/vlm", 0.9)
    safe = measure("safe", "acme/vlm", 0.9)
    (folder,) = tmp_path.glob(f"*/{safe.run_id}")
    Run(folder).write_record(safe.model_copy(update={"status": "incomplete"}))
    (row,) = told(tmp_path)
    assert row["balanced_accuracy"] > 0.8
    assert "1% of the answers failed" in row["unranked"]


def test_what_was_measured_does_not_join_what_was_imported(measure: Any, tmp_path: Path) -> None:
    measure("unsafeconcepts", "acme/vlm", 0.9)
    safe = measure("safe", "acme/vlm", 0.9)
    (folder,) = tmp_path.glob(f"*/{safe.run_id}")
    Run(folder).write_record(safe.model_copy(update={"provenance": "imported"}))
    assert len(told(tmp_path)) == 2


def test_reported_rows_keep_their_figures(tmp_path: Path) -> None:
    reported.write(tmp_path)
    rows = told(tmp_path)
    assert len(rows) == len(reported.records())
    assert 0.708 in [row["general_ability"] for row in rows]


def test_a_board_built_before_a_score_existed_is_read_with_it_empty(measure: Any, tmp_path: Path) -> None:
    for track in ("unsafeconcepts", "safe"):
        measure(track, "acme/vlm", 0.9)
    told(tmp_path)
    path = tmp_path / boards.BOARD
    table = pq.read_table(path)
    later = [
        name for name in table.column_names if name == "joined" or name.startswith(("llavabench", "mme"))
    ]
    pq.write_table(table.drop_columns(later), path)
    rows = boards.load(tmp_path).rows
    assert list(rows.columns) == table.column_names
    assert rows["llavabench"].isna().all()
    assert (rows["llavabench_n"] == 0).all()
    assert rows["balanced_accuracy"].notna().all()
    pq.write_table(table.drop_columns(["balanced_accuracy_low"]), path)
    with pytest.raises(boards.StoreError, match="is damaged"):
        boards.load(tmp_path)


def test_a_track_is_in_one_suite_and_every_key_is_a_column() -> None:
    tracks = [track for suite in SUITES for track in suite.tracks]
    assert len(tracks) == len(set(tracks))
    assert suite_of("smid").tracks == ("smid",)
    assert suite_of("safe") is suite_of("unsafeconcepts")
    assert suite_of("pictograms").tracks == ("pictograms",)
    assert {"mme", "llavabench", "accuracy"} <= set(KEYS)


def test_the_terminal_shows_tracks_that_joined_and_each_run_once(
    measure: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    entry = measure("safe", "acme/vlm", 0.8).entry
    general(tmp_path, entry, "mme", "mme", 0.7)
    other = Entry(model="acme/other")
    for engine in ("1", "2"):
        general(tmp_path, other, "mme", "mme", 0.5, engine=engine)
    general(tmp_path, other, "llavabench", "llavabench", 0.9)
    board = boards.build([tmp_path], tmp_path)
    (safe,) = board.rows[board.rows["track"] == "safe"].to_dict("records")
    # It is of one side: its accuracy is that of safe images, and no balanced one.
    assert safe["accuracy_safe"] == pytest.approx(1 - safe["over_refusal"])
    assert pd.isna(safe["accuracy"])
    terminal.print_board(board, "mme", boards.RANK_KEY)
    shown = capsys.readouterr().out
    assert "Track mme, by mme" in shown
    assert shown.count("acme/vlm") == 1
    assert shown.count("acme/other") == 2
    terminal.print_board(board, "llavabench", boards.RANK_KEY)
    assert capsys.readouterr().out.count("acme/other") == 1
    with pytest.raises(UnknownNameError, match="it has llavabench, mme, safe"):
        terminal.print_board(board, "nix", boards.RANK_KEY)


def test_what_joined_runs_were_asked_is_told(measure: Any, tmp_path: Path) -> None:
    unsafe = measure("unsafeconcepts", "acme/vlm", 0.6)
    safe = measure("safe", "acme/vlm", 0.8)
    (row,) = told(tmp_path, unsafe.entry.model)
    assert json.loads(row["joined_asked"]) == {"safe": [safe.track.version, "all", 0, "rules-1"]}
