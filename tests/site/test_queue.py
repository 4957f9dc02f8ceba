"""The Queue page: what it shows of each state, who may do what, what it says when the store is away."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ucbench.errors import StoreError, UcbenchError
from ucbench.hub.queue import NotYoursError, Queue
from ucbench.hub.request import Request, new_id
from ucbench.hub.store import OfflineError, open_store
from ucbench.site.data.latest import Latest
from ucbench.site.queue import view as queue_view
from ucbench.site.queue.view import Listing, Viewer

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]

PAGE = "app_pages/queue.py"
TOKEN = "hf_abcdefghijklmnop"
HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
LEASE = timedelta(hours=1)


def request(model: str = "acme/vlm", submitter: str = "local", **more: Any) -> Request:
    return Request(
        id=new_id(), model=model, revision="0123456789abcdef" * 2 + "01234567", dtype="float32",
        track="pictograms", benchmark="pictograms/1", submitter=submitter,
        **{"submitted_at": datetime.now(UTC), **more},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty queue that the site shows."""
    address = str(tmp_path / "store")
    monkeypatch.setenv("UCBENCH_STORE", address)
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    for name in ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "SPACE_ID", "SPACE_HOST", "UCBENCH_RESULTS_STORE"):
        monkeypatch.delenv(name, raising=False)
    return address


def filled(address: str) -> dict[str, Request]:
    """A request in each state: by `local` what waits and failed, by others the rest."""
    queue = Queue(open_store(address))
    done = queue.add(request("acme/done", "ada"))
    claimed = queue.claim("box", lease=LEASE)
    assert claimed is not None
    done = queue.done(claimed, "ab12cd34ef567890")
    queue.add(request("acme/broken"))
    claimed = queue.claim("box", lease=LEASE)
    assert claimed is not None
    log = f"Traceback\nValueError: weights {HOSTILE} with {TOKEN}"
    broken = queue.fail(claimed, "unsupported", f"no layer {HOSTILE}", log, retryable=False)
    queue.add(request("acme/running", "ben"))
    running = queue.claim("box", lease=LEASE)
    assert running is not None
    return {
        "done": done,
        "failed": broken,
        "running": running,
        "first": queue.add(request("acme/first", "ben")),
        "waiting": queue.add(request("acme/second")),
        "rejected": queue.add(request("acme/refused", state="REJECTED", message="No card.")),
        "cancelled": queue.cancel(queue.add(request("acme/dropped")).id, by="local"),
    }


def rows(html: str) -> dict[str, str]:
    """Model -> the HTML of its request."""
    items = re.findall(r"<li.*?</li>", html, re.DOTALL)
    return {re.search(r'class="model"><a[^>]*>([^<]*)', item)[1]: item for item in items}  # type: ignore[index]


def read(store: str, open_app: App, read_figures: Figures, **query: str) -> dict[str, str]:
    queue_view.latest(store).refresh()
    return rows(read_figures(open_app(PAGE, **query)).get("queue", ""))


# What is shown


def test_each_state_says_what_its_owner_needs(store: str, open_app: App, read_figures: Figures) -> None:
    filled(store)
    shown = read(store, open_app, read_figures)
    assert len(shown) == 7
    assert ">Done<" in shown["acme/done"]
    assert "?q=acme%2Fdone" in shown["acme/done"]
    assert "attempt 1 of 3" in shown["acme/running"]
    assert ">next<" in shown["acme/first"]
    assert ">2nd<" in shown["acme/second"]
    assert "No card." in shown["acme/refused"]
    assert ">Cancelled<" in shown["acme/dropped"]
    failed = shown["acme/broken"]
    assert "no layer" in failed
    assert "End of the log" in failed
    assert "ValueError" in failed
    for item in shown.values():
        assert "/tree/0123456789abcdef0123456789abcdef01234567" in item
        assert 'rel="noopener noreferrer"' in item
        assert "0123456 · float32 · Pictograms" in item


def test_what_came_from_outside_is_text(store: str, open_app: App, read_figures: Figures) -> None:
    filled(store)
    queue_view.latest(store).refresh()
    html = read_figures(open_app(PAGE))["queue"]
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<img" not in html
    assert TOKEN not in html


def test_a_log_that_others_wrote_is_redacted_again() -> None:
    """Whoever may write to the store need not have used the queue."""
    listed = request(state="FAILED", log=f"token {TOKEN} \x1b[31mred", reason="unsupported")
    html = queue_view.html([("Ended", [listed])], Listing((listed,)), Viewer(), "https://hub.example")
    assert TOKEN not in html
    assert "red" in html
    assert "\x1b" not in html


def test_the_address_filters_by_state_and_owner(store: str, open_app: App, read_figures: Figures) -> None:
    filled(store)
    assert [*read(store, open_app, read_figures, state="failed")] == ["acme/broken"]
    mine = {"acme/broken", "acme/second", "acme/refused", "acme/dropped"}
    assert {*read(store, open_app, read_figures, mine="true")} == mine
    app = open_app(PAGE, state="<script>")
    assert "state" not in app.query_params
    app = open_app(PAGE, state="done", mine="true")
    assert "No request fits" in app.info[0].value


def test_counts_stand_in_the_filter(store: str, open_app: App) -> None:
    filled(store)
    queue_view.latest(store).refresh()
    (states,) = [group for group in open_app(PAGE).get("button_group") if "State" in str(group.proto.label)]
    assert [option.content for option in states.proto.options] == [
        "All 7", "Waiting 2", "Running 1", "Done 1", "Failed 1", "Rejected 1", "Cancelled 1",
    ]  # fmt: skip


def test_a_request_in_the_address_is_marked_and_its_log_is_open() -> None:
    many = [request(f"acme/m{n}", state="FAILED", log="why") for n in range(queue_view.MOST_SHOWN + 5)]
    last = many[-1]
    html = queue_view.html(
        [("Ended", many)], Listing(tuple(many)), Viewer(opened=last.id), "https://hub.example"
    )
    shown = rows(html)
    assert len(shown) == queue_view.MOST_SHOWN + 1
    assert 'class="opened"' in shown[last.model]
    assert "<details data-keep" in shown[last.model]
    assert " open>" in shown[last.model]
    assert html.count(" open>") == 1


def test_of_thousands_that_wait_the_first_are_shown_and_the_viewers_own() -> None:
    many = [request(f"acme/m{n}", "ann" if n % 1000 else "ben") for n in range(3000)]
    html = queue_view.html([("Waiting", many)], Listing(tuple(many)), Viewer("Ben"), "https://hub.example")
    assert set(rows(html)) == {r.model for r in many[: queue_view.MOST_SHOWN]} | {"acme/m1000", "acme/m2000"}
    assert f"The first {queue_view.MOST_SHOWN} of 3,000, and yours." in html
    html = queue_view.html([("Waiting", many)], Listing(tuple(many)), Viewer("cid"), "https://hub.example")
    assert f"The first {queue_view.MOST_SHOWN} of 3,000." in html


def test_the_order_is_running_then_the_queue_then_the_newest_end() -> None:
    now = datetime.now(UTC)
    old, new = (request(state="DONE", finished_at=now - timedelta(hours=h), started_at=None) for h in (2, 1))
    waiting, running = request(), request(state="RUNNING", started_at=now)
    groups = dict(queue_view.arranged([old, waiting, new, running]))
    assert [*groups] == ["Running", "Waiting", "Ended"]
    assert groups["Ended"] == [new, old]


def test_an_overdue_worker_is_told_of(store: str) -> None:
    then = datetime.now(UTC) - timedelta(hours=2)
    late = Queue(open_store(store), clock=lambda: then)
    late.add(request(submitted_at=then))
    late.claim("box", lease=LEASE)
    listing = queue_view.read(store)
    html = queue_view.html(queue_view.arranged(listing.requests), listing, Viewer(), "https://hub.example")
    assert "its worker is overdue" in html


# Who may do what


def _no_maintainers(address: str) -> None:
    """In a folder, `local` is one unless the store says otherwise."""
    found = open_store(address)
    found.commit({"store.json": b'{"maintainers": []}'}, expected=found.head(), message="people")


def test_buttons_stand_beside_ones_own_requests(store: str) -> None:
    made = filled(store)
    offered = {name: Viewer("local").may(found) for name, found in made.items()}
    assert {name: what for name, what in offered.items() if what} == {
        "waiting": ("cancel",), "failed": ("retry",), "cancelled": ("retry",),
    }  # fmt: skip
    assert Viewer("LOCAL").may(made["waiting"]) == ("cancel",)
    assert not any(Viewer(None).may(found) for found in made.values())
    assert Viewer("eve", maintainer=True).may(made["running"]) == ("cancel",)
    assert Viewer("eve", maintainer=True).may(made["rejected"]) == ("retry",)


def test_the_owner_cancels_and_retries(store: str) -> None:
    made = filled(store)
    _no_maintainers(store)
    mine = made["waiting"].id
    assert "was cancelled" in queue_view.act(store, f"cancel:{mine}", "local")
    assert queue_view.queue(store).get(mine).state == "CANCELLED"
    assert "waits again" in queue_view.act(store, f"retry:{mine}", "local")
    assert queue_view.queue(store).get(mine).state == "PENDING"


@pytest.mark.parametrize("visitor", ["eve", "local", None])
def test_nobody_changes_the_request_of_another(store: str, visitor: str | None) -> None:
    queue = Queue(open_store(store))
    _no_maintainers(store)
    made = queue.add(request(submitter="ben"))
    before = queue.store.head()
    with pytest.raises(UcbenchError) as caught:
        queue_view.act(store, f"cancel:{made.id}", visitor)
    assert isinstance(caught.value, NotYoursError) == (visitor is not None)
    assert queue.store.head() == before


@pytest.mark.parametrize("command", ["delete:x", "cancel", "", "cancel:../../etc/passwd", "retry:nobody"])
def test_a_made_up_command_changes_nothing(store: str, command: str) -> None:
    filled(store)
    before = open_store(store).head()
    with pytest.raises(UcbenchError):
        queue_view.act(store, command, "local")
    assert open_store(store).head() == before


# Empty, away, out of date


@pytest.mark.usefixtures("store")
def test_an_empty_queue_leads_to_the_form(open_app: App) -> None:
    app = open_app(PAGE)
    assert "Nothing has been submitted yet" in app.info[0].value
    assert not app.error


def test_without_a_store_the_page_says_how_to_get_one(
    store: str, open_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store
    monkeypatch.delenv("UCBENCH_STORE")
    app = open_app(PAGE)
    assert "UCBENCH_STORE" in app.info[0].value


def test_a_store_that_cannot_be_reached_is_said(
    store: str, open_app: App, read_figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store)
    working = queue_view.read

    def away(_store: str, _last: Listing | None = None) -> Listing:
        raise OfflineError("the line is cut")

    monkeypatch.setattr(queue_view, "read", away)
    app = open_app(PAGE)
    assert "cannot be reached" in app.error[0].value
    assert any("line is cut" in caption.value for caption in app.caption)
    # It comes back, and goes away again: what was read stays, and is marked.
    monkeypatch.setattr(queue_view, "read", working)
    queue_view.latest(store).refresh()
    monkeypatch.setattr(queue_view, "read", away)
    queue_view.latest(store).refresh()
    app = open_app(PAGE)
    assert "This is how it was at" in app.warning[0].value
    assert len(rows(read_figures(app)["queue"])) == 7


def test_an_unchanged_queue_costs_one_look_at_the_head(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(store)
    before = queue_view.latest(store).refresh()
    found = queue_view.queue(store).store
    for method in ("read", "read_all", "paths", "versions"):
        monkeypatch.setattr(found, method, lambda *_args, **_named: pytest.fail("read again"))
    after = queue_view.latest(store).refresh()
    assert after.value is before.value
    assert after.problem == ""
    assert after.at > before.at


def test_a_damaged_request_is_left_out_and_counted(store: str, open_app: App) -> None:
    filled(store)
    folder = open_store(store)
    folder.commit({"requests/2026-01/x.json": b"{"}, expected=folder.head(), message="damage")
    queue_view.latest(store).refresh()
    app = open_app(PAGE)
    assert any("1 file of the queue is damaged" in caption.value for caption in app.caption)


# Reading in the background


def test_whoever_asks_gets_the_old_value_while_a_new_one_is_read() -> None:
    read, go = threading.Event(), threading.Event()
    values = iter([1, 2])

    def slow(last: int | None) -> int:
        if last is not None:
            read.set()
            assert go.wait(30)
        return next(values)

    time = [0.0]
    latest = Latest(slow, every=1.0, clock=lambda: time[0])
    assert latest.get(wait=30).value == 1
    time[0] = 1.0
    latest.get()
    assert read.wait(30)
    assert latest.get(wait=30).value == 1
    go.set()
    while latest.get().value != 2:
        pass


def test_a_failed_read_keeps_the_last_value_and_its_time() -> None:
    outcomes: list[Any] = [1, StoreError("damaged"), RuntimeError("a fault"), 2]

    def read(_last: int | None) -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return int(outcome)

    latest = Latest(read, every=1e9)
    good = latest.refresh()
    assert (good.value, good.problem) == (1, "")
    bad = latest.refresh()
    assert bad == replace(good, problem="damaged")
    assert bad.stale
    fault = latest.refresh()
    assert fault.value == 1
    assert "a fault" not in fault.problem
    assert latest.refresh().value == 2


def test_reads_are_no_more_often_than_said() -> None:
    time, reads = [0.0], []
    latest = Latest(lambda _last: reads.append(1) or len(reads), every=5.0, clock=lambda: time[0])
    assert latest.get(wait=30).value == 1
    assert latest.get().value == 1
    time[0] = 5.0
    latest.get()
    while latest.get().value == 1:
        pass
    assert len(reads) == 2
