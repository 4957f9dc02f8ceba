"""The board from a results store: at a pinned revision, whole or not at all, the snapshot when it is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ucbench import board as boards
from ucbench.hub.store import OfflineError, Store, open_store
from ucbench.site.data import loading, published
from ucbench.site.data import run as run_data

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]


def files(folder: Path) -> dict[str, bytes]:
    """What a folder of results holds, but for reports."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "align-report.json"}


def commit(store: Store, changes: Mapping[str, bytes | None]) -> str:
    return store.commit(changes, expected=store.head(), message="change")


@pytest.fixture
def results(
    site_store: Path, own_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, Path]:
    """A results store that the site is pointed at, and the committed results: one run that it has not."""
    store = open_store(str(tmp_path / "store"))
    commit(store, files(site_store))
    monkeypatch.setenv("UCBENCH_RESULTS", str(own_runs))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UCBENCH_STORE", raising=False)
    monkeypatch.setenv("UCBENCH_RESULTS_STORE", store.address)
    return store, own_runs


def look(store: Store) -> Any:
    """Read the store now, as the background does."""
    return published.mirror(store.address, loading._load_whole).latest.refresh()


def models() -> set[str]:
    return {row["model"] for row in loading.board().rows if row["provenance"] != "reported"}


def test_the_first_visitor_sees_the_snapshot_and_then_the_store(
    results: tuple[Store, Path], open_app: App, read_figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = results
    go, head = threading.Event(), type(store).head

    def slow(self: Any) -> str:
        assert go.wait(60)
        return str(head(self))

    monkeypatch.setattr(type(store), "head", slow)
    app = open_app()
    assert "are being fetched" in app.info[0].value
    assert "acme/mine" in read_figures(app)["board"]
    go.set()
    look(store)
    shown = loading.source()
    assert shown is not None
    assert not shown.snapshot
    assert shown.revision == store.head()
    app = open_app()
    assert "acme/sharp-vlm" in read_figures(app)["board"]
    assert any(f"revision {store.head()[:7]}" in caption.value for caption in app.caption)


def test_pages_of_models_and_comparisons_read_the_mirror(
    results: tuple[Store, Path], open_app: App, read_figures: Figures
) -> None:
    store, _ = results
    look(store)
    found = {row["model"]: row["run_id"] for row in loading.board().rows if row["track"] == "pictograms"}
    runs = [found[f"acme/{name}-vlm"] for name in ("fair", "sharp")]
    assert {"outcomes", "facts"} <= read_figures(open_app("app_pages/model.py", run=runs[0])).keys()
    shown = read_figures(open_app("app_pages/compare.py", runs=",".join(runs)))
    assert "questions that both were asked" in shown["finding"]


def test_without_a_store_nothing_is_said_of_one(
    stores: Path, open_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stores
    monkeypatch.delenv("UCBENCH_STORE", raising=False)
    monkeypatch.delenv("UCBENCH_RESULTS_STORE", raising=False)
    assert loading.board().source is None
    assert not any("Data as of" in caption.value for caption in open_app().caption)


def test_a_new_revision_replaces_the_old_one_when_it_is_whole(results: tuple[Store, Path]) -> None:
    store, other = results
    first = look(store).value
    before = models()
    assert "acme/mine" not in before
    # Half of a commit: the manifest of another board, without its tables.
    manifest = (other / boards.MANIFEST).read_bytes()
    head = store.head()
    broken = dict.fromkeys((boards.BOARD, boards.BREAKDOWNS), b"damaged")
    commit(store, {boards.MANIFEST: manifest, **broken})
    assert look(store).problem
    shown = loading.source()
    assert shown is not None
    assert (shown.revision, shown.state) == (head, "unreachable")
    assert models() == before
    commit(store, files(other))
    assert look(store).problem == ""
    assert "acme/mine" in models()
    assert first.folder != look(store).value.folder


def test_a_newer_revision_is_offered_and_not_forced_on_a_reader(results: tuple[Store, Path]) -> None:
    from streamlit.testing.v1 import AppTest

    def page() -> None:
        from ucbench.site import shared

        shared.board_or_note()

    store, other = results
    look(store)
    app = AppTest.from_function(page).run()
    assert not app.button
    board = loading.board()
    commit(store, files(other))
    look(store)

    def reading(shown: object) -> None:
        from ucbench.site import shared

        shared.where_from(shown)  # type: ignore[arg-type]

    app = AppTest.from_function(reading, args=(board.source,)).run()
    assert [button.label for button in app.button] == ["Show newer results"]
    assert board.source is not None
    assert app.caption[0].value == board.source.as_of()


def test_the_queue_moving_on_changes_the_revision_alone(results: tuple[Store, Path]) -> None:
    store, _ = results
    first = look(store).value
    board = loading.board()
    commit(store, {"requests/2026-11/x.json": b"{}"})
    second = look(store).value
    assert second.revision == store.head() != first.revision
    assert second.folder == first.folder
    assert loading.board().rows is board.rows


def test_the_snapshot_stands_in_while_the_store_is_away_or_empty(
    results: tuple[Store, Path],
    open_app: App,
    read_figures: Figures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, _ = results
    empty = tmp_path / "empty"
    monkeypatch.setenv("UCBENCH_RESULTS_STORE", str(empty))
    look(open_store(str(empty)))
    app = open_app()
    assert "Nothing has been published yet" in app.info[0].value
    assert "acme/mine" in read_figures(app)["board"]

    monkeypatch.setenv("UCBENCH_RESULTS_STORE", store.address)

    def away(_self: Any) -> str:
        raise OfflineError("the line is cut")

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "head", away)
        look(store)
        app = open_app()
        assert "cannot be reached at the moment" in app.info[0].value
        assert "the snapshot that came with this site" in app.info[0].value
        assert "acme/mine" in read_figures(app)["board"]
    look(store)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "head", away)
        look(store)
        app = open_app()
        assert "acme/sharp-vlm" in read_figures(app)["board"]
        assert any("The store cannot be reached" in caption.value for caption in app.caption)
    assert loading.align_report().note == ""


def test_own_runs_lie_on_top_of_the_store(
    results: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, own = results
    monkeypatch.setenv("UCBENCH_RUNS", str(own))
    look(store)
    assert {"acme/mine", "acme/sharp-vlm"} <= models()


def test_a_run_of_the_store_opens_with_its_record(results: tuple[Store, Path]) -> None:
    store, _ = results
    look(store)
    row = next(row for row in loading.board().rows if row["model"] == "acme/sharp-vlm")
    run = loading.stores().run(row["entry"], row["run_id"])
    assert run is not None
    assert run.record().entry.model == "acme/sharp-vlm"
    assert not run_data.frame(run, row["judge"]).empty


def test_few_revisions_are_kept(results: tuple[Store, Path]) -> None:
    store, _ = results
    manifest = json.loads(store.read(boards.MANIFEST))
    folders = []
    for n in range(published._KEPT + 2):
        commit(store, {boards.MANIFEST: json.dumps(manifest | {"note": n}).encode()})
        folders.append(look(store).value.folder)
    assert [folder.is_dir() for folder in folders] == [False, False, *[True] * published._KEPT]


def test_what_a_killed_site_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = published._own_folder()
    code = "import os; from ucbench.site.data.published import _own_folder; print(_own_folder()); "
    code += "os.kill(os.getpid(), 9)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == -9
    left = [path for path in tmp_path.glob("ucbench-site-*") if path != living]
    assert len(left) == 1
    other = published._own_folder()
    assert {*tmp_path.glob("ucbench-site-*")} == {living, other}


def test_the_api_tells_the_revision(results: tuple[Store, Path]) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from ucbench.site.serving import server

    store, _ = results
    look(store)
    told = TestClient(Starlette(routes=server.routes())).get("/api/board").json()
    assert told["revision"] == store.head()
    assert told["rows"]
