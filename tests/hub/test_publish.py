"""Publishing runs: what lands, what it counts as, what never leaves, whatever goes wrong on the way."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from ucbench import board as boards
from ucbench import evaluate, runs
from ucbench.cli import app
from ucbench.errors import StoreError, UcbenchError
from ucbench.hub import results
from ucbench.hub.dataset import DatasetStore
from ucbench.hub.folder import FolderStore
from ucbench.hub.mirror import mirror_of
from ucbench.hub.retry import Patience
from ucbench.hub.store import Store, change, open_store
from ucbench.judges import registry as judges
from ucbench.runs import Run
from ucbench.tracks import registry as tracks
from ucbench.withheld import MARKER

STORE = "acme/results"
ADDRESS = f"hf://datasets/{STORE}"


@pytest.fixture(scope="session")
def few(scripted: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a few samples, by entry."""
    out = tmp_path_factory.mktemp("few")
    for name in ("a", "b", "c"):
        evaluate.evaluate(
            scripted(f"bob/{name}", 0.8, 0.1),
            tracks.load("pictograms"),
            judges.load("rules"),
            out=out,
            limit=4,
        )
    return out


@pytest.fixture
def run(few: Path, tmp_path: Path) -> Run:
    """One of them, to be changed at will."""
    return next(runs.find(Path(shutil.copytree(few, tmp_path / "runs"))))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UCBENCH_STORE", raising=False)
    monkeypatch.delenv("UCBENCH_RESULTS_STORE", raising=False)


@pytest.fixture
def there(hub: Any) -> Any:
    """A hub with a store whose worker is alice; anybody who is logged in can read it."""
    hub.create_repo("dataset", STORE)
    hub.commit("dataset", STORE, {"store.json": b'{"workers": ["alice"]}'})
    return hub


def publish(account: str, *arguments: str | Path) -> Result:
    told = {"HF_TOKEN": f"hf_{account}", "COLUMNS": "200"}
    return CliRunner().invoke(app, ["publish", *map(str, arguments)], env=told)


def published(hub: Any, run: Run, revision: str = "main") -> dict[str, Any] | None:
    place = f"{run.record().entry.slug}/{run.run_id}/{runs.RECORD}"
    content = hub.files("dataset", STORE, revision).get(place)
    return json.loads(content) if content else None


def rows(hub: Any) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(hub.files("dataset", STORE)[boards.BOARD]))


def add(store: Store, run: Run, **changes: Any) -> None:
    change(store, results.publish_run(store, run, **{"provenance": "measured", **changes}), message="Run")


def quick(account: str) -> DatasetStore:
    return DatasetStore(STORE, token=f"hf_{account}", patience=Patience(first=0.01, longest=0.05))


def test_a_worker_publishes_run_and_board_in_one_commit(there: Any, run: Run) -> None:
    before = len(there.commits("dataset", STORE))
    shown = publish("alice", run.folder, "--results", ADDRESS)
    assert shown.exit_code == 0, shown.stderr
    assert len(there.commits("dataset", STORE)) == before + 1
    files = there.files("dataset", STORE)
    place = f"bob-a/{run.run_id}"
    assert set(files) == {
        boards.BOARD, boards.BREAKDOWNS, boards.RANKS, boards.MANIFEST, boards.SCHEMA, "README.md",
        "store.json",
        f"{place}/record.json", f"{place}/answers.parquet", f"{place}/judgements/rules-1.parquet",
    }  # fmt: skip
    assert published(there, run)["provenance"] == "measured"
    assert rows(there)["run_id"].tolist() == [run.run_id]
    assert "texts of questions and answers" in shown.stderr

    again = publish("alice", run.folder, "--results", ADDRESS)
    assert again.exit_code == 0
    assert "nothing changed" in again.stderr
    assert len(there.commits("dataset", STORE)) == before + 1


def test_a_forged_measured_record_becomes_self_reported(there: Any, run: Run) -> None:
    there.repo("dataset", STORE).writers.append("bob")
    assert run.record().provenance == "measured"
    shown = publish("bob", run.folder, "--results", ADDRESS)
    assert shown.exit_code == 0, shown.stderr
    assert "self-reported, since bob is none of the workers" in shown.stderr
    told = published(there, run)
    assert (told["provenance"], told["source"]) == ("self-reported", "published by bob")
    (row,) = rows(there).to_dict("records")
    assert row["provenance"] == "self-reported"
    assert "not measured here" in row["unranked"]
    # The worker's own measurement of the same entry takes its place, and is not replaced in turn.
    assert publish("alice", run.folder, "--results", ADDRESS).exit_code == 0
    assert published(there, run)["provenance"] == "measured"
    assert "nothing changed" in publish("bob", run.folder, "--results", ADDRESS).stderr
    assert published(there, run)["provenance"] == "measured"


def test_without_write_access_it_becomes_one_pull_request(there: Any, run: Run, few: Path) -> None:
    first = publish("bob", run.folder, "--results", ADDRESS)
    assert first.exit_code == 0, first.stderr
    assert "3 files wait in a pull request; nothing is published until a maintainer merges it" in first.stderr
    assert f"{there.url}/datasets/{STORE}/discussions/1" in first.stderr
    assert "it is in a pull request already" in publish("bob", run.folder, "--results", ADDRESS).stderr
    assert len(there.repo("dataset", STORE).discussions) == 1
    changed = set(there.files("dataset", STORE, "refs/pr/1")) - set(there.files("dataset", STORE))
    assert changed == {
        f"bob-a/{run.run_id}/{name}"
        for name in ("record.json", "answers.parquet", "judgements/rules-1.parquet")
    }
    # Somebody edits the pull request, and somebody else merges it unseen: it is no measurement for all that.
    told = published(there, run, "refs/pr/1")
    forged = json.dumps({**told, "provenance": "measured"}).encode()
    there.commit("dataset", STORE, {f"bob-a/{run.run_id}/record.json": forged}, revision="refs/pr/1")
    merged = there.files("dataset", STORE, "refs/pr/1")
    there.commit("dataset", STORE, {path: merged[path] for path in changed})
    shown = CliRunner().invoke(app, ["board", "build", ADDRESS], env={"HF_TOKEN": "hf_alice"})
    assert shown.exit_code == 0, shown.stderr
    assert published(there, run)["provenance"] == "self-reported"
    # So it is with the next run that comes, and what a worker published stays as it was.
    other = list(runs.find(few))[1]
    assert publish("alice", other.folder, "--results", ADDRESS).exit_code == 0
    third = list(runs.find(few))[2]
    place = f"bob-c/{third.run_id}/"
    there.commit(
        "dataset", STORE,
        {place + p.relative_to(third.folder).as_posix(): p.read_bytes() for p in third.folder.rglob("*.*")},
    )  # fmt: skip
    assert published(there, third)["provenance"] == "measured"
    CliRunner().invoke(app, ["board", "build", ADDRESS], env={"HF_TOKEN": "hf_alice"})
    assert published(there, third)["provenance"] == "self-reported"
    assert published(there, other)["provenance"] == "measured"


def built(account: str) -> Result:
    return CliRunner().invoke(app, ["board", "build", ADDRESS], env={"HF_TOKEN": f"hf_{account}"})


def verified() -> dict[str, list[str]]:
    """What `board verify` finds wrong, by run."""
    shown = CliRunner().invoke(app, ["board", "verify", ADDRESS, "--json"], env={"HF_TOKEN": "hf_carol"})
    return {check["run_id"]: check["problems"] for check in json.loads(shown.stdout)}


def test_a_merged_pull_request_that_vouches_for_itself_is_believed_by_nobody(
    there: Any, few: Path, tmp_path: Path
) -> None:
    """Its author brings a record, a board made of it and a manifest that names both."""
    from huggingface_hub import CommitOperationAdd, HfApi

    own, forged, third = runs.find(few)
    assert publish("alice", own.folder, "--results", ADDRESS).exit_code == 0
    before = there.files("dataset", STORE)
    forgery = tmp_path / "forgery"
    for path, content in before.items():
        (forgery / path).parent.mkdir(parents=True, exist_ok=True)
        (forgery / path).write_bytes(content)
    shutil.copytree(forged.folder, forgery / "bob-b" / forged.run_id)
    boards.build([forgery], forgery)
    api = HfApi(endpoint=there.url, token="hf_bob")
    files = {p.relative_to(forgery).as_posix(): p.read_bytes() for p in forgery.rglob("*") if p.is_file()}
    changed = [CommitOperationAdd(p, content) for p, content in files.items() if before.get(p) != content]
    api.create_commit(STORE, changed, commit_message="Mine", repo_type="dataset", create_pr=True)
    HfApi(endpoint=there.url, token="hf_alice").merge_pull_request(STORE, 1, repo_type="dataset")
    assert published(there, forged)["provenance"] == "measured"
    told = verified()
    assert "no worker of the store published it so" in " ".join(told[forged.run_id])
    assert told[own.run_id] == []
    # Whoever publishes next puts it right, and the worker's own run stays what it is.
    assert publish("alice", third.folder, "--results", ADDRESS).exit_code == 0
    assert [published(there, run)["provenance"] for run in (own, forged, third)] == [
        "measured", "self-reported", "measured",
    ]  # fmt: skip
    assert not any(verified().values())
    # Nor do those who remove the manifest take a worker's word away.
    there.commit("dataset", STORE, {boards.MANIFEST: None}, author="bob", message="Tidy (#2)")
    assert built("alice").exit_code == 0
    assert published(there, own)["provenance"] == "measured"


def test_broken_and_forged_runs_of_strangers_are_left_out_and_named(there: Any, few: Path) -> None:
    """Merged unseen, one of them must neither keep others from the board nor stand on it."""
    own, second, third = runs.find(few)

    def files(run: Run, folder: str, **changes: bytes) -> dict[str, bytes]:
        paths = {p.relative_to(run.folder).as_posix(): p for p in run.folder.rglob("*") if p.is_file()}
        return {f"{folder}/{path}": changes.get(p.stem, p.read_bytes()) for path, p in paths.items()}

    told = json.loads((second.folder / runs.RECORD).read_bytes())
    better = json.dumps({**told, "scores": {**told["scores"], "overall": {}}}).encode()
    reported = json.dumps({**told, "provenance": "reported", "run_id": "0" * 16}).encode()
    broken = {
        "bob-b/" + "0" * 16: {f"bob-b/{'0' * 16}/record.json": reported},
        f"bob-b/{second.run_id}": files(second, f"bob-b/{second.run_id}", record=better),
        f"bob-c/{third.run_id}": files(third, f"bob-c/{third.run_id}", answers=b"PAR1"),
        "evil/0123456789abcdef": {"evil/0123456789abcdef/record.json": b"{"},
        f"other/{own.run_id}": files(own, f"other/{own.run_id}"),
    }
    merged = {path: content for each in broken.values() for path, content in each.items()}
    there.commit("dataset", STORE, merged, author="bob", message="Runs (#1)")
    assert publish("alice", own.folder, "--results", ADDRESS).exit_code == 0
    assert rows(there)["run_id"].tolist() == [own.run_id]
    # They are there as they were, for whoever wants to mend them.
    assert merged.items() <= there.files("dataset", STORE).items()
    shown = built("alice")
    assert "nothing has changed" in shown.stderr
    assert re.findall(r"note: (\S+) is not on the board: \w", shown.stderr) == sorted(broken)
    assert "cache" not in shown.stderr


def test_a_forgery_in_the_place_of_a_run_does_not_keep_the_worker_out(there: Any, few: Path) -> None:
    own = next(runs.find(few))
    place = f"bob-a/{own.run_id}"
    for forged in (
        b"{",
        json.dumps({**json.loads((own.folder / runs.RECORD).read_text()), "seed": 7}).encode(),
    ):
        there.commit("dataset", STORE, {f"{place}/record.json": forged}, author="bob", message="Mine (#1)")
        shown = publish("alice", own.folder, "--results", ADDRESS)
        assert shown.exit_code == 0, shown.stderr
        assert published(there, own)["provenance"] == "measured"
        assert rows(there)["run_id"].tolist() == [own.run_id]
    assert not any(verified().values())


def test_figures_without_answers_are_added_by_the_stores_people_alone(there: Any, run: Run) -> None:
    there.repo("dataset", STORE).writers.append("bob")
    record = run.record().model_copy(update={"provenance": "reported"})
    run.write_record(record)
    refused = publish("bob", run.folder, "--results", ADDRESS)
    assert refused.exit_code == 1
    assert "only those named in store.json" in str(refused.exception)
    assert published(there, run) is None


def test_those_who_may_write_but_are_nobody_here_change_no_run_but_their_own(there: Any, few: Path) -> None:
    there.repo("dataset", STORE).writers.append("bob")
    own, second, third = runs.find(few)
    assert publish("alice", own.folder, "--results", ADDRESS).exit_code == 0
    sample = own.answers()["sample_id"].iloc[0]
    listed = json.dumps({"items": [{"sample_id": sample}]}).encode()
    there.commit("dataset", STORE, {"takedown.json": listed}, author="alice")
    assert publish("bob", second.folder, "--results", ADDRESS).exit_code == 0

    def texts(run: Run) -> set[str]:
        place = f"{run.record().entry.slug}/{run.run_id}/{runs.ANSWERS}"
        told = pd.read_parquet(io.BytesIO(there.files("dataset", STORE)[place]))
        return set(told[told["sample_id"] == sample]["text"])

    assert texts(second) == {MARKER}
    assert MARKER not in texts(own)
    refused = built("bob")
    assert "bob is neither a worker nor a maintainer in store.json" in str(refused.exception)
    # One of the store's people takes the texts down, and it stays a measurement.
    assert built("alice").exit_code == 0
    assert texts(own) == {MARKER}
    assert publish("alice", third.folder, "--results", ADDRESS).exit_code == 0
    assert [published(there, run)["provenance"] for run in (own, second, third)] == [
        "measured", "self-reported", "measured",
    ]  # fmt: skip


def test_a_record_that_its_answers_do_not_bear_out_is_not_published(there: Any, run: Run) -> None:
    told = json.loads((run.folder / runs.RECORD).read_text())
    told["scores"]["overall"]["perception"]["value"] = 0.123
    (run.folder / runs.RECORD).write_text(json.dumps(told))
    shown = publish("alice", run.folder, "--results", ADDRESS)
    assert isinstance(shown.exception, UcbenchError)
    assert "1 figure differs" in str(shown.exception)
    assert published(there, run) is None


def test_two_publishers_at_once_both_land(there: Any, few: Path) -> None:
    there.repo("dataset", STORE).writers.append("bob")
    first, second, third = runs.find(few)
    there.faults.add("412", method="POST", path="*/commit/*", times=1)
    there.faults.add("500-after", method="POST", path="*/commit/*", times=1, skip=1)
    failed: list[BaseException] = []

    def work(account: str, run: Run) -> None:
        try:
            add(quick(account), run)
        except BaseException as error:
            failed.append(error)

    work("alice", third)
    threads = [
        threading.Thread(target=work, args=each) for each in (("alice", first), ("bob", second))
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert set(rows(there)["run_id"]) == {first.run_id, second.run_id, third.run_id}
    with mirror_of(quick("alice")).at(there.head("dataset", STORE)) as view:
        boards.build([view], view)
        assert (view / boards.BOARD).read_bytes() == there.files("dataset", STORE)[boards.BOARD]


@pytest.mark.parametrize("fault", ["412", "429", "500", "500-after", "cut", "cut-after"])
def test_faults_on_the_way_neither_lose_nor_double(there: Any, run: Run, fault: str) -> None:
    before = len(there.commits("dataset", STORE))
    there.faults.add(fault, method="POST", path="*/commit/*", times=1, seconds=0.01)
    add(quick("alice"), run)
    assert len(there.commits("dataset", STORE)) == before + 1
    assert published(there, run)["run_id"] == run.run_id


def test_only_what_is_new_is_read(there: Any, few: Path) -> None:
    first, second, _ = runs.find(few)
    add(quick("alice"), first)
    add(quick("alice"), second)
    there.requests.clear()
    with mirror_of(quick("alice")).at(there.head("dataset", STORE)):
        pass
    fetched = [asked.path.rpartition("/")[2] for asked in there.requests if "/resolve/" in asked.path]
    assert fetched
    assert not {"record.json", "answers.parquet", "rules-1.parquet"} & set(fetched[len(set(fetched)) :])
    there.requests.clear()
    with mirror_of(quick("alice")).at(there.head("dataset", STORE)):
        pass
    assert not [asked.path for asked in there.requests if "/resolve/" in asked.path]


def test_what_a_killed_process_left_half_done_is_fetched_again(few: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    add(store, next(runs.find(few)))
    mirror = mirror_of(store)
    with mirror.at(store.head()) as view:
        good = {path.relative_to(view): path.read_bytes() for path in view.rglob("*") if path.is_file()}
        (view / "README.md").unlink()  # what is done to a view is done to nothing else
    kept = mirror._kept
    for path in kept.rglob("*.json"):
        path.unlink()
    (kept / "bob-x").mkdir()
    (kept / "bob-x" / "record.json").write_text("{}")
    with mirror.at(store.head()) as view:
        assert {p.relative_to(view): p.read_bytes() for p in view.rglob("*") if p.is_file()} == good


def test_another_run_of_the_same_id_is_refused(run: Run, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    add(store, run)
    head = store.head()
    record = run.record()
    run.write_record(record.model_copy(update={"seconds": 99.0}))
    add(store, run)  # the same answers on another machine
    assert store.head() == head
    entry = record.entry.model_copy(update={"dtype": "float16"})
    run.write_record(record.model_copy(update={"entry": entry}))
    with pytest.raises(results.AlreadyThereError, match="its entry differs"):
        add(store, run)
    assert store.head() == head
    found = results.published(store, run.run_id)
    assert found is not None
    assert found.entry.dtype == "float32"
    assert results.published(store, "0" * 16) is None


def test_one_run_in_two_folders_is_refused(run: Run, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    add(store, run)
    record = run.record()
    other = record.entry.model_copy(update={"model": "zoe/other"})
    run.write_record(record.model_copy(update={"entry": other}))
    with pytest.raises(StoreError, match="twice, below bob-a and zoe-other"):
        add(store, run)


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def test_a_table_that_swells_is_not_read(run: Run, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.nulls(1_000_001, pa.string())}), run.folder / runs.ANSWERS)
    assert (run.folder / runs.ANSWERS).stat().st_size < 1_000_000
    with pytest.raises(StoreError, match="1,000,001 rows"):
        add(FolderStore(tmp_path / "store"), run)


def test_pictures_and_foreign_columns_never_leave(there: Any, run: Run) -> None:
    answers, whole = run.folder / runs.ANSWERS, (run.folder / runs.ANSWERS).read_bytes()
    n = len(run.answers())
    cases: list[tuple[Callable[[pa.Table], pa.Table], str]] = [
        (lambda t: t.append_column("image", pa.array([b"\x89PNG"] * n)), "a column 'image'"),
        (lambda t: t.append_column("note", pa.array(["x"] * n)), "a column 'note'"),
        (lambda t: t.replace_schema_metadata({"picture": "iVBOR"}), "data beside its columns"),
        (lambda t: t.set_column(10, "text", pa.array(["data:image/png;base64,iVBO"] * n)), "like a picture"),
        (lambda t: t.set_column(9, "prompt", pa.array(["A" * 3000] * n)), "like a picture"),
    ]
    for case, problem in cases:
        answers.write_bytes(whole)
        rewritten(answers, case)
        shown = publish("alice", run.folder, "--results", ADDRESS)
        assert isinstance(shown.exception, StoreError)
        assert problem in str(shown.exception)
    assert published(there, run) is None
    # Nor does anything that lies beside the run.
    answers.write_bytes(whole)
    (run.folder / "notes.txt").write_text("private")
    (run.folder / "picture.png").write_bytes(b"\x89PNG")
    assert publish("alice", run.folder, "--results", ADDRESS).exit_code == 0
    assert not [path for path in there.files("dataset", STORE) if path.endswith((".txt", ".png"))]


@pytest.mark.parametrize(
    "judge", ["../../../../evil", "a/b", ".hidden", "\x1b[31m", "x" * 300 + "/y"]
)  # fmt: skip
def test_names_that_are_no_paths_are_refused(run: Run, tmp_path: Path, judge: str) -> None:
    record = run.record()
    assert record.judge is not None
    run.write_record(record.model_copy(update={"judge": record.judge.model_copy(update={"id": judge})}))
    store = FolderStore(tmp_path / "store")
    with pytest.raises(StoreError):
        add(store, run)
    assert store.paths() == []


def test_taken_down_texts_are_gone_and_the_board_still_verifies(run: Run, few: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    second = list(runs.find(few))[1]
    add(store, run)
    told = run.answers()
    sample = told[told["kind"] == "image_alignment"].iloc[0]
    items = [
        {"sample_id": sample["sample_id"], "question_id": "image_alignment_0", "why": "quotes a name"},
        {"sample_id": told["sample_id"].iloc[-1], "run_id": second.run_id},
    ]
    content = json.dumps({"items": items}).encode()
    store.commit({"takedown.json": content}, expected=store.head(), message="Take down")
    change(store, results.rebuild(store), message="Board")
    there = Run(tmp_path / "store" / "bob-a" / run.run_id)
    gone = there.answers().query("prompt == @MARKER", local_dict={"MARKER": MARKER})
    assert len(gone) == 1
    assert gone.iloc[0]["text"] == MARKER
    assert gone.iloc[0]["question_id"] == "image_alignment_0"
    kept = told.drop(gone.index)
    pd.testing.assert_frame_equal(there.answers().drop(gone.index), kept)
    assert there.record().scores == run.record().scores
    # A run that comes later is gone through as well; one that is there already is not written again.
    add(store, second)
    head = store.head()
    add(store, run)
    change(store, results.rebuild(store), message="Board")
    assert store.head() == head
    shown = CliRunner().invoke(app, ["board", "verify", str(tmp_path / "store"), "--json"])
    checks = {check["run_id"]: check for check in json.loads(shown.stdout)}
    assert shown.exit_code == 0, shown.stdout
    assert checks[run.run_id]["withheld"] == 1
    assert checks[second.run_id]["withheld"] >= 1
    # A verdict that somebody turned is found all the same.
    path = there.judgements_path("rules-1")
    rewritten(path, lambda t: t.set_column(2, "label", pa.array(["Safe"] * len(t))))
    shown = CliRunner().invoke(app, ["board", "verify", str(tmp_path / "store"), "--json"])
    assert shown.exit_code == 1


def test_a_damaged_list_is_named(run: Run, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.commit({"takedown.json": b'{"item": []}'}, expected=store.head(), message="Take down")
    with pytest.raises(StoreError, match=r"takedown\.json .* damaged"):
        add(store, run)
    store.commit({"takedown.json": None, "store.json": b"[]"}, expected=store.head(), message="Settings")
    with pytest.raises(StoreError, match=r"store\.json .* damaged"):
        add(store, run)


def test_ids_only_leaves_every_text_out(there: Any, run: Run) -> None:
    shown = publish("alice", run.folder, "--results", ADDRESS, "--ids-only")
    assert shown.exit_code == 0, shown.stderr
    assert "no texts" in shown.stderr
    content = there.files("dataset", STORE)[f"bob-a/{run.run_id}/{runs.ANSWERS}"]
    answers = pd.read_parquet(io.BytesIO(content))
    assert set(answers["prompt"]) == set(answers["text"]) == {MARKER}
    words = {text for text in run.answers()["text"] if len(text) > 12}
    assert not [word for word in words if word.encode() in content]
    assert published(there, run)["scores"] == json.loads(run.record().to_json())["scores"]
    checked = CliRunner().invoke(app, ["board", "verify", ADDRESS])
    assert checked.exit_code == 2
    assert "verdicts not re-judged" in checked.stdout


def test_dry_run_lists_files_and_sends_nothing(there: Any, run: Run) -> None:
    shown = publish("alice", run.folder, "--results", ADDRESS, "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    size = (run.folder / runs.ANSWERS).stat().st_size
    assert f"{size:,}  bob-a/{run.run_id}/answers.parquet" in shown.stdout
    assert "nothing was sent" in shown.stdout
    assert not [asked for asked in there.requests if asked.method == "POST" and "/commit/" in asked.path]
    assert not [asked for asked in there.requests if "/preupload/" in asked.path]


def test_show_and_verify_read_a_store_on_the_hub(there: Any, run: Run) -> None:
    empty = CliRunner().invoke(app, ["board", "show", ADDRESS])
    assert "publish a run to it first" in str(empty.exception)
    assert publish("alice", run.folder, "--results", ADDRESS).exit_code == 0
    shown = CliRunner().invoke(app, ["board", "show", ADDRESS], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "bob/a" in shown.stdout
    assert CliRunner().invoke(app, ["board", "verify", ADDRESS]).exit_code == 0
    record = {**published(there, run), "seconds": 1.0}
    there.commit("dataset", STORE, {f"bob-a/{run.run_id}/record.json": json.dumps(record).encode()})
    checked = CliRunner().invoke(app, ["board", "verify", ADDRESS])
    assert checked.exit_code == 1
    assert "not the file that the board was made from" in checked.stdout


def test_a_local_folder_works_offline_and_the_hub_says_so_in_a_sentence(
    hub: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ucbench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ucbench.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    away = ucbench("publish", run.folder, "--results", ADDRESS)
    assert away.returncode == 3
    (said,) = [line for line in away.stderr.splitlines() if line.startswith("error:")]
    assert "HF_HUB_OFFLINE" in said
    assert "Traceback" not in away.stderr
    here = ucbench("publish", run.folder, "--results", tmp_path / "board")
    assert here.returncode == 0, here.stderr
    assert boards.load(tmp_path / "board").rows["provenance"].tolist() == ["measured"]
    assert not hub.requests


@pytest.mark.usefixtures("there")
def test_a_dataset_that_is_not_there_and_a_bad_token_are_told_apart(run: Run) -> None:
    told = str(publish("alice", run.folder, "--results", "hf://datasets/alice/new").exception)
    assert "hf repos create alice/new --repo-type dataset" in told
    told = str(publish("nobody", run.folder, "--results", ADDRESS).exception)
    assert "does not take this token; log in with `hf auth login`" in told


def test_who_is_nobody_is_told_to_log_in(there: Any, run: Run) -> None:
    shown = CliRunner().invoke(app, ["publish", str(run.folder), "--results", ADDRESS])
    assert "hf auth login" in str(shown.exception)
    assert not published(there, run)


def test_options_that_do_not_belong_together(run: Run, tmp_path: Path) -> None:
    for arguments, problem in (
        ((run.folder,), "no store is named"),
        ((run.folder, "--results", tmp_path / "s", "--to", "a/b"), "--to is for models"),
        ((run.folder, "--results", tmp_path / "s", "--pr"), "--pr is for stores on the Hub"),
        ((tmp_path / "nothing", "--results", tmp_path / "s"), "there is no run"),
    ):
        shown = publish("alice", *arguments)
        assert isinstance(shown.exception, UcbenchError)
        assert problem in str(shown.exception)


def test_the_dataset_loads_as_its_card_says(there: Any, run: Run) -> None:
    assert publish("alice", run.folder, "--results", ADDRESS, "--beta").exit_code == 0
    card = there.files("dataset", STORE)["README.md"].decode()
    code = [part.partition("```")[0] for part in card.split("```python\n")[1:]]
    assert len(code) == 2
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=False, timeout=200
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bob/a" in done.stdout
    assert "perception" in done.stdout
    tasks = there.files("dataset", STORE)["eval.yaml"].decode()
    assert "id: pictograms" in tasks
    assert isinstance(open_store(ADDRESS), DatasetStore)
