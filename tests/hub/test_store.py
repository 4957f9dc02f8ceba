"""One contract, two homes: a local folder and a dataset repository of the tests' own Hub."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ucbench.errors import AccessError, StoreError
from ucbench.hub import folder as folder_module
from ucbench.hub.dataset import DatasetStore
from ucbench.hub.folder import FolderStore
from ucbench.hub.retry import Patience
from ucbench.hub.store import (
    Changes,
    ConflictError,
    ForbiddenError,
    MissingError,
    OfflineError,
    Store,
    change,
    open_store,
)

REPO = "acme/store"
QUICK = Patience(first=0.01, longest=0.05, answer=5)


def at_once(_seconds: float) -> None:
    """Waits for nothing."""


@dataclass
class Home:
    """Where a store lives: `open` makes another client of it, `address` is for other processes."""

    open: Callable[[], Store]
    address: str


@pytest.fixture(params=["folder", "hub"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    if request.param == "folder":
        return Home(lambda: FolderStore(tmp_path / "store"), str(tmp_path / "store"))
    hub = request.getfixturevalue("hub")
    hub.create_repo("dataset", REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")  # for other processes
    return Home(lambda: DatasetStore(REPO, token="hf_alice", patience=QUICK), f"hf://datasets/{REPO}")


@pytest.fixture
def store(home: Home) -> Store:
    return home.open()


def put(store: Store, files: Changes) -> str:
    return store.commit(files, expected=store.head(), message="test")


def start_python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    )


# The contract


def test_open_store_finds_the_home(home: Home) -> None:
    store = open_store(home.address)
    assert store.address == home.address
    assert store.whoami() == ("alice" if home.address.startswith("hf:") else "local")


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.paths() == []
    assert store.paths("requests/") == []
    assert store.read_all("") == {}
    with pytest.raises(MissingError, match="nothing"):
        store.read("nothing")
    assert store.head() == store.head()


def test_a_commit_changes_all_its_files(store: Store, home: Home, tmp_path: Path) -> None:
    binary = bytes(range(256)) * 5
    (tmp_path / "large").write_bytes(os.urandom(300_000))
    files = {
        "board.parquet": tmp_path / "large", "store.json": b"{}", "empty": b"", "a/b/c/d.json": "é".encode(),
        "a/b/binary.bin": binary, "a b/ö ü.json": b"1",
    }  # fmt: skip
    before = store.head()
    head = store.commit(files, expected=before, message="first")
    assert head != before
    assert store.head() == head == home.open().head()
    expected = {**files, "board.parquet": (tmp_path / "large").read_bytes()}
    assert store.paths() == sorted(expected)
    assert store.paths("a/b") == ["a/b/binary.bin", "a/b/c/d.json"]
    assert store.paths("a/b/bin") == ["a/b/binary.bin"]
    assert store.paths("b") == ["board.parquet"]
    assert home.open().read_all("") == expected
    assert home.open().read_all("a/b/") == {"a/b/binary.bin": binary, "a/b/c/d.json": "é".encode()}
    for path, content in expected.items():
        assert home.open().read(path) == content
    put(store, {"a/b/binary.bin": None, "a/b/c/d.json": b"new", "e": b"5"})
    assert store.paths("a/") == ["a/b/c/d.json"]
    assert store.read("a/b/c/d.json") == b"new"
    put(store, dict.fromkeys(store.paths()))
    assert store.paths() == []


def test_versions_tell_what_has_changed(store: Store) -> None:
    put(store, {"a": b"1", "d/b.parquet": b"2", "d/c": b"3"})
    first = store.versions()
    put(store, {"d/b.parquet": b"4", "e": b"5"})
    second = store.versions()
    assert list(second) == store.paths()
    assert {path for path in second if first.get(path) != second[path]} == {"d/b.parquet", "e"}
    assert store.versions("d/") == {path: second[path] for path in ("d/b.parquet", "d/c")}


def test_the_time_is_that_of_the_home(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    told = store.time()
    assert told
    assert before <= told <= datetime.now(UTC) + timedelta(seconds=2)


def test_only_the_expected_head_is_changed(store: Store, home: Home) -> None:
    stale = store.head()
    first = put(home.open(), {"a": b"1"})
    for changes in ({"b": b"2"}, {"a": None}, {"a": b"1"}, {}):
        with pytest.raises(ConflictError):
            store.commit(changes, expected=stale, message="late")
    with pytest.raises(ConflictError):
        store.commit({"b": b"2"}, expected="no head", message="wrong")
    assert store.head() == first
    assert store.read_all("") == {"a": b"1"}


def test_changes_that_change_nothing(store: Store) -> None:
    head = put(store, {"a": b"1"})
    assert store.commit({}, expected=head, message="nothing") == head
    again = store.commit({"a": b"1"}, expected=head, message="same")
    assert again == store.head()
    assert store.read_all("") == {"a": b"1"}


def test_all_or_none(store: Store, tmp_path: Path) -> None:
    head = put(store, {"a": b"1", "d/e": b"2"})
    bad: list[tuple[Changes, type[StoreError]]] = [
        ({"b": b"2", "nothing": None}, MissingError),
        ({"b": b"2", "../c": b"3"}, StoreError),
        ({"b": b"2", "c": tmp_path / "nothing"}, StoreError),
        ({"b": b"2", "a/c": b"3"}, StoreError),
    ]
    for changes, error in bad:
        with pytest.raises(error):
            store.commit(changes, expected=head, message="bad")
    assert store.head() == head
    assert store.read_all("") == {"a": b"1", "d/e": b"2"}


def test_an_earlier_head_can_be_read(store: Store, home: Home) -> None:
    contents: dict[str, dict[str, bytes]] = {store.head(): {}}
    now: dict[str, bytes] = {}
    draw = random.Random(1)
    for number in range(8):
        changes: dict[str, bytes | None] = {f"d/{draw.randrange(4)}": b"%d" % number, "last": b"%d" % number}
        if gone := [path for path in now if path.startswith("d/") and path not in changes][:1]:
            changes[gone[0]] = None
        now = {path: content for path, content in (now | changes).items() if content is not None}
        contents[put(store, changes)] = now
    reader = home.open()
    for head, files in contents.items():
        assert reader.read_all("", head=head) == files
        assert reader.paths("d/", head=head) == sorted(path for path in files if path.startswith("d/"))
        assert reader.versions(head=head).keys() == files.keys()
        for path in ("d/0", "last"):
            if path in files:
                assert reader.read(path, head=head) == files[path]
            else:
                with pytest.raises(MissingError):
                    reader.read(path, head=head)
    with pytest.raises(ConflictError):
        reader.read("last", head="0123456789" * 4)
    with pytest.raises(ConflictError):
        reader.read_all("", head="3-feedbeef")


TRICKS = (
    "", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/", "a\\b",
    "..\\a", "a\0b", "a\nb", ".ucbench/head", "a/.git/config", ".gitattributes", "x" * 300, "a/" * 600 + "a",
    "\ud800",
)  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
def test_path_tricks_are_refused(tmp_path: Path, path: str) -> None:
    # Both refuse before they ask anybody: the Hub of the second is not even there.
    for store in (
        FolderStore(tmp_path / "inside" / "store"),
        DatasetStore(REPO, endpoint="http://127.0.0.1:9"),
    ):
        with pytest.raises(StoreError, match="path"):
            store.commit({"fine": b"", path: b"x"}, expected="0" * 40, message="trick")
        with pytest.raises(StoreError, match="path"):
            store.read(path, head="0" * 40)
    assert list(tmp_path.iterdir()) == []


def test_hidden_and_odd_names_are_no_content(home: Home, store: Store) -> None:
    put(store, {"a": b"1"})
    if isinstance(store, FolderStore):
        root = Path(home.address)
        (root / ".hidden").write_bytes(b"x")
        (root / "link").symlink_to("/etc/passwd")
        (root / "links").symlink_to("/etc")
        with pytest.raises(MissingError):
            store.read("link")
        with pytest.raises(MissingError):
            store.read("links/passwd")
        with pytest.raises(StoreError, match="link"):
            put(store, {"links/passwd": b"x"})
    else:
        from huggingface_hub import HfApi

        HfApi(token="hf_alice").upload_file(
            path_or_fileobj=b"x", path_in_repo=".hidden/a", repo_id=REPO, repo_type="dataset"
        )
    assert store.paths() == ["a"]
    assert store.paths("../") == store.paths(".") == store.paths("/") == []
    assert store.read_all("..") == {}


def test_threads_lose_nothing(home: Home) -> None:
    def count(store: Store) -> None:
        for _ in range(5):
            change(store, lambda head: {"n": b"%d" % (number(store, head) + 1)}, message="count")

    def number(store: Store, head: str) -> int:
        return int(store.read_all("n", head=head).get("n", b"0"))

    shared = home.open()
    threads = [threading.Thread(target=count, args=(store,)) for store in (shared, shared, home.open())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert home.open().read("n") == b"15"


COUNT = """
import sys
from ucbench.hub.store import change, open_store
store = open_store(sys.argv[1])
def add(head):
    files = store.read_all("", head=head)
    number = int(files.get("n", b"0"))
    assert files.get("d/copy", b"0") == b"%d" % number, files
    return {"n": b"%d" % (number + 1), "d/copy": b"%d" % (number + 1)}
for _ in range(int(sys.argv[2])):
    change(store, add, message="count", attempts=100)
"""


def test_processes_lose_nothing(home: Home) -> None:
    processes, times = (3, 4) if home.address.startswith("hf:") else (4, 20)
    running = [start_python(COUNT, home.address, str(times)) for _ in range(processes)]
    assert [process.wait(timeout=240) for process in running] == [0] * processes
    assert home.open().read_all("") == dict.fromkeys(("n", "d/copy"), b"%d" % (processes * times))


# The folder


def test_nobody_sees_half_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    old, new = (dict.fromkeys("abcdefgh", content) for content in (b"1", b"2"))
    put(store, old)

    read, reading = Path.read_bytes, threading.Event()

    def slowly(path: Path) -> bytes:
        reading.set()
        time.sleep(0.02)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", slowly)  # so that a commit can come in between
    seen: list[dict[str, bytes]] = []

    def look() -> None:
        seen.extend(FolderStore(tmp_path).read_all("") for _ in range(3))

    reader = threading.Thread(target=look)
    reader.start()
    assert reading.wait(timeout=60)
    put(store, new)
    reader.join()
    assert seen[0] == old
    assert all(files in (old, new) for files in seen)


def test_a_folder_of_results_is_a_store(tmp_path: Path) -> None:
    root = tmp_path / "results"
    (root / "entry" / "run").mkdir(parents=True)
    (root / "entry" / "run" / "record.json").write_text("{}")
    (root / "board.parquet").write_bytes(b"1")
    store = FolderStore(root)
    assert store.head() == "0"
    assert store.paths() == ["board.parquet", "entry/run/record.json"]
    assert sorted(path.name for path in root.iterdir()) == [
        "board.parquet",
        "entry",
    ]  # reading leaves no trace
    head = put(store, {"board.parquet": b"2"})
    assert store.read("board.parquet", head="0") == b"1"
    assert store.read("board.parquet", head=head) == b"2"
    assert (root / ".ucbench" / ".gitignore").read_text() == "*\n"


READ = """
import sys
from pathlib import Path
from ucbench.hub.folder import FolderStore
print("ready", flush=True)
while True:
    FolderStore(Path(sys.argv[1])).read_all("")
"""


def test_readers_keep_no_writer_out(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, {f"requests/{number}": b"x" for number in range(200)})
    readers = [start_python(READ, str(tmp_path)) for _ in range(3)]
    try:
        for reader in readers:
            assert reader.stdout
            assert reader.stdout.readline() == b"ready\n"
        for number in range(5):
            put(store, {"n": b"%d" % number})
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert store.read("n") == b"4"


def test_the_oldest_heads_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "KEPT", 3)
    store = FolderStore(tmp_path)
    heads = [put(store, {"a": b"%d" % number}) for number in range(6)]
    assert [store.read("a", head=head) for head in heads[2:]] == [b"2", b"3", b"4", b"5"]
    with pytest.raises(ConflictError, match="no longer keeps"):
        store.read("a", head=heads[1])
    assert len(list((tmp_path / ".ucbench" / "commits").iterdir())) == 3


def test_files_and_folders_change_places(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, {"a": b"1"})
    put(store, {"a": None, "a/b/c": b"2"})
    assert store.read_all("") == {"a/b/c": b"2"}
    with pytest.raises(StoreError, match="folder"):
        put(store, {"a": b"3"})
    with pytest.raises(StoreError, match="is a file"):
        put(store, {"x": b"3", "x/y": b"3"})
    put(store, {"a/b/c": None, "a": b"3"})
    assert store.read_all("") == {"a": b"3"}


def test_a_folder_that_may_only_be_read() -> None:
    """Root may do everything: then it is tried as nobody, in a process of its own."""
    root = Path(tempfile.mkdtemp())
    store = FolderStore(root)
    put(store, {"a": b"1"})
    for path in (root / ".ucbench", root):
        path.chmod(0o555)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            assert store.read_all("") == {"a": b"1"}
            with pytest.raises(ForbiddenError, match="may not write"):
                put(store, {"a": b"2"})
            os._exit(0)
        finally:
            os._exit(1)
    try:
        assert os.waitpid(child, 0)[1] == 0
        assert store.read_all("") == {"a": b"1"}
    finally:
        for path in (root, root / ".ucbench"):
            path.chmod(0o700)
        shutil.rmtree(root)


@pytest.mark.parametrize("file", ["head", "commits/2/note.json"])
def test_a_damaged_folder_is_named(tmp_path: Path, file: str) -> None:
    store = FolderStore(tmp_path)
    old = put(store, {"a": b"1"})
    put(store, {"a": b"2"})
    (tmp_path / ".ucbench" / file).write_bytes(b"rubbish")
    with pytest.raises(StoreError, match="is damaged"):
        store.read("a", head=old)


def dying(step: int) -> None:
    """From now on this process kills itself at the `step`-th thing that it does to a disk."""
    left = [step]

    def before(do: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **how: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return do(*arguments, **how)

        return counted

    for name in ("fsync", "rename", "replace", "unlink", "link", "mkdir", "rmdir", "open"):
        setattr(os, name, before(getattr(os, name)))


def commit_and_die(store: FolderStore, changes: Changes, step: int) -> bool:
    """Commit in a process of its own that dies at a step; whether it got to its end before."""
    expected = store.head()
    child = os.fork()
    if child == 0:
        try:
            dying(step)
            store.commit(changes, expected=expected, message="dies")
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes that die while the power stays on: the disks of test machines are slow."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.mark.usefixtures("no_fsync")
def test_a_commit_that_dies_anywhere_has_happened_or_not(tmp_path: Path) -> None:
    before = {"a": b"1", "d/x": b"1", "d/y": b"1", "was/file": b"1"}
    changes: Changes = {"a": b"2", "d/x": None, "d/y": b"2", "new/z": b"2", "was/file": None, "was": b"2"}
    after = {"a": b"2", "d/y": b"2", "new/z": b"2", "was": b"2"}
    outcomes, done, step = [], False, 0
    while not done:
        step += 1
        root = tmp_path / str(step)
        store = FolderStore(root)
        head = put(store, before)
        done = commit_and_die(store, changes, step)
        found = store.read_all("")
        assert found in (before, after), step
        assert (store.head() == head) == (found == before), step
        assert store.read_all("", head=head) == before, step
        outcomes.append(found == after)
        # Whatever was left, one can go on.
        last = put(store, {"more": b"3"})
        assert store.read_all("", head=last) == {**found, "more": b"3"}
    assert step > 30
    assert outcomes == sorted(outcomes)  # one commit point: before it none, after it all
    assert outcomes.count(False) > 5
    assert outcomes.count(True) > 5


KILLED = """
import sys
from pathlib import Path
from ucbench.hub.folder import FolderStore
from ucbench.hub.store import change
store = FolderStore(Path(sys.argv[1]))
print("ready", flush=True)
def turn(head):
    files = store.read_all("", head=head)
    number = int(files.get("n", b"0")) + 1
    changes = {f"f/{each}": b"%d" % number for each in range(8)}
    if f"log/{number - 5}" in files:
        changes[f"log/{number - 5}"] = None
    return {**changes, "n": b"%d" % number, f"log/{number}": b"%d" % number}
while True:
    change(store, turn, message="turn")
"""


def test_processes_killed_at_any_time_leave_a_whole_store(tmp_path: Path) -> None:
    draw, last = random.Random(3), 0
    for _ in range(5):
        running = [start_python(KILLED, str(tmp_path)) for _ in range(2)]
        for process in running:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
        for process in running:
            time.sleep(draw.uniform(0.02, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait()
        files = FolderStore(tmp_path).read_all("")
        number = int(files.get("n", b"0"))
        assert number >= last
        last = number
        logs = {f"log/{each}": b"%d" % each for each in range(max(1, number - 4), number + 1)}
        same = {f"f/{each}": b"%d" % number for each in range(8)}
        assert files == ({"n": b"%d" % number} | logs | same if number else {})
    assert last > 0


class FolderMachine(RuleBasedStateMachine):
    """A folder store against a dictionary of heads, with deaths in the middle of commits."""

    paths = st.sampled_from(["a", "a/b", "a/b/c", "d/e", "d/f", "g"])

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=os.environ["FOLDER_MACHINE"]))
        self.store = FolderStore(self.root)
        self.heads: dict[str, dict[str, bytes]] = {self.store.head(): {}}

    @property
    def now(self) -> dict[str, bytes]:
        return self.heads[self.store.head()]

    def after(self, changes: Mapping[str, bytes | None]) -> dict[str, bytes] | type[StoreError]:
        """What the files become, or why they cannot."""
        if any(path not in self.now for path, content in changes.items() if content is None):
            return MissingError
        files = {path: content for path, content in (self.now | changes).items() if content is not None}
        clash = any(one != two and two.startswith(f"{one}/") for one in files for two in files)
        return StoreError if clash else files

    @rule(changes=st.dictionaries(paths, st.none() | st.binary(max_size=3), min_size=1))
    def commit(self, changes: dict[str, bytes | None]) -> None:
        head, files = self.store.head(), self.after(changes)
        if isinstance(files, type):
            with pytest.raises(StoreError):
                self.store.commit(changes, expected=head, message="bad")
            assert self.store.head() == head
        else:
            self.heads[self.store.commit(changes, expected=head, message="good")] = files

    @rule(
        changes=st.dictionaries(paths, st.none() | st.binary(max_size=3), min_size=1), step=st.integers(1, 70)
    )
    def die(self, changes: dict[str, bytes | None], step: int) -> None:
        files = self.after(changes)
        if not isinstance(files, type):
            head = self.store.head()
            commit_and_die(self.store, changes, step)
            if self.store.head() != head:
                self.heads[self.store.head()] = files

    @rule()
    def reopen(self) -> None:
        self.store = FolderStore(self.root)

    @precondition(lambda self: len(self.heads) > 1)
    @rule(data=st.data(), changes=st.dictionaries(paths, st.binary(max_size=3), min_size=1))
    def stale(self, data: st.DataObject, changes: dict[str, bytes]) -> None:
        old = data.draw(st.sampled_from([head for head in self.heads if head != self.store.head()]))
        with pytest.raises(ConflictError):
            self.store.commit(changes, expected=old, message="stale")

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        head = data.draw(st.sampled_from(list(self.heads)))
        files = self.heads[head]
        assert self.store.read_all("", head=head) == files
        assert self.store.paths("a/", head=head) == sorted(path for path in files if path.startswith("a/"))


@pytest.mark.usefixtures("no_fsync")
def test_a_folder_store_is_a_dictionary_of_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDER_MACHINE", str(tmp_path))
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        FolderMachine,
        settings=settings(max_examples=30, stateful_step_count=20, deadline=None, database=None),
    )


# The Hub


def test_several_large_files_are_not_waited_for_without_end(hub: Any) -> None:
    """The client sends them from threads of its own."""
    hub.create_repo("dataset", REPO)
    store = DatasetStore(REPO, token="hf_alice", patience=Patience(first=0.01, longest=0.01, answer=0.5))
    hub.faults.add("slow", method="PUT", path="*/info/lfs/upload/*", seconds=60)
    files = {f"{name}.parquet": name.encode() * 100 for name in "ab"}
    put(store, files)
    assert {path: hub.files("dataset", REPO)[path] for path in files} == files


@pytest.fixture
def remote(hub: Any) -> Iterator[DatasetStore]:
    hub.create_repo("dataset", REPO)
    hub.commit("dataset", REPO, {"a": b"1"})
    yield DatasetStore(REPO, token="hf_alice", patience=QUICK)
    assert "hf_alice" not in "".join(asked.path for asked in hub.requests)


LANDED = ("500-after", "502-after", "503-after", "504-after", "cut-after", "half")
NOT_LANDED = ("408", "409", "429", "500", "503", "504", "cut")


@pytest.mark.parametrize("kind", [*LANDED, *NOT_LANDED])
def test_a_commit_lands_once_whatever_happens(hub: Any, remote: DatasetStore, kind: str) -> None:
    before = len(hub.commits("dataset", REPO))
    hub.faults.add(kind, method="POST", path="*/commit/*", seconds=0.01)
    head = put(remote, {"a": b"2", "b": b"2"})
    assert head == hub.head("dataset", REPO)
    assert hub.files("dataset", REPO) == {"a": b"2", "b": b"2"}
    assert len(hub.commits("dataset", REPO)) == before + 1
    sent = [asked for asked in hub.requests if "/commit/" in asked.path]
    assert len(sent) == (1 if kind in LANDED else 2)


def test_a_commit_whose_answer_is_late(hub: Any) -> None:
    hub.create_repo("dataset", REPO)
    store = DatasetStore(REPO, token="hf_alice", patience=Patience(first=0.01, longest=0.01, answer=0.3))
    hub.faults.add("slow-after", method="POST", path="*/commit/*", seconds=1)
    head = put(store, {"b": b"2"})
    assert [commit["id"] for commit in hub.commits("dataset", REPO)][:-1] == [head]


def test_a_commit_that_lands_after_the_next_attempt_has_begun(hub: Any) -> None:
    """The first attempt hangs before it lands: the second lands, and the first comes too late."""
    hub.create_repo("dataset", REPO)
    store = DatasetStore(REPO, token="hf_alice", patience=Patience(first=0.01, longest=0.01, answer=0.3))
    hub.faults.add("slow", method="POST", path="*/commit/*", seconds=1)
    put(store, {"b": b"2"})
    time.sleep(1)
    assert len(hub.commits("dataset", REPO)) == 2


def test_a_commit_that_lands_while_the_next_attempt_is_under_way(hub: Any) -> None:
    """The first lands when the second has begun, which then finds all its contents there already."""
    hub.create_repo("dataset", REPO)
    store = DatasetStore(REPO, token="hf_alice", patience=Patience(first=0.01, longest=0.01, answer=0.5))
    hub.faults.add("slow", method="POST", path="*/commit/*", seconds=0.8)
    hub.faults.add("slow", path="*/preupload/*", skip=1, seconds=0.45)
    head = put(store, {"b": b"2"})
    assert [commit["id"] for commit in hub.commits("dataset", REPO)][:-1] == [head]


def test_the_last_attempt_that_lands_counts(hub: Any) -> None:
    hub.create_repo("dataset", REPO)
    store = DatasetStore(REPO, token="hf_alice", patience=Patience(attempts=1))
    hub.faults.add("500-after", method="POST", path="*/commit/*")
    assert put(store, {"b": b"2"}) == hub.head("dataset", REPO)


@pytest.mark.parametrize("kind", ["500-after", "cut-after"])
def test_ours_landed_and_others_went_on(hub: Any, kind: str) -> None:
    hub.create_repo("dataset", REPO)

    def others(_seconds: float) -> None:
        for number in range(60):  # more than a page of history
            hub.commit("dataset", REPO, {"theirs": b"%d" % number})

    store = DatasetStore(REPO, token="hf_alice", patience=Patience(pause=others))
    hub.faults.add(kind, method="POST", path="*/commit/*")
    head = put(store, {"ours": b"1"})
    history = hub.commits("dataset", REPO)
    assert [commit["id"] for commit in history].index(head) == 60
    assert len(history) == 62


def test_ours_did_not_land_and_others_went_on(hub: Any) -> None:
    hub.create_repo("dataset", REPO)

    def others(_seconds: float) -> None:
        hub.commit("dataset", REPO, {"ours": b"1"})  # the very same content

    store = DatasetStore(REPO, token="hf_alice", patience=Patience(pause=others))
    hub.faults.add("500", method="POST", path="*/commit/*")
    with pytest.raises(ConflictError):
        put(store, {"ours": b"1"})
    assert len(hub.commits("dataset", REPO)) == 2


def test_the_outcome_is_not_known_and_said_so(hub: Any, remote: DatasetStore) -> None:
    head = remote.head()
    hub.faults.add("cut-after", method="POST", path="*/commit/*")
    hub.faults.add("500", path="*/commits/*", times=None)
    with pytest.raises(OfflineError, match="whether 'test' has landed is not known"):
        remote.commit({"b": b"2"}, expected=head, message="test")


def test_faults_on_the_way_to_a_commit(hub: Any, remote: DatasetStore) -> None:
    for path in ("*/preupload/*", "*/objects/batch", "*/info/lfs/upload/*"):
        for kind in ("429", "500"):
            hub.faults.add(kind, path=path, seconds=0.01)
    head = put(remote, {"b.parquet": os.urandom(1000), "c": b"3"})
    assert head == hub.head("dataset", REPO)
    assert len(hub.commits("dataset", REPO)) == 3


@pytest.mark.parametrize("kind", ["429", "500", "503", "cut", "half"])
def test_reading_goes_on_through_faults(hub: Any, remote: DatasetStore, kind: str) -> None:
    hub.commit("dataset", REPO, {f"d/{number}": b"%d" % number for number in range(20)})
    for path in ("*/store", "*/tree/*", "*/resolve/*"):
        hub.faults.add(kind, path=path, seconds=0.01)
    assert len(remote.read_all("d/")) == 20
    assert len([asked for asked in hub.requests if asked.fault]) == 3
    hub.faults.add(kind, path="*/whoami-v2", seconds=0.01)
    assert remote.whoami() == "alice"


def test_the_hub_says_how_long_to_wait(hub: Any) -> None:
    hub.create_repo("dataset", REPO)
    waited: list[float] = []
    store = DatasetStore(REPO, token="hf_alice", patience=Patience(pause=waited.append, total=100))
    hub.faults.add("429", method="POST", path="*/commit/*", seconds=40)
    put(store, {"a": b"1"})
    assert len(waited) == 1
    assert 40 < waited[0] < 41
    hub.faults.add("429", path="*", seconds=3600, times=None)
    with pytest.raises(OfflineError, match=r"takes no more requests.*in 3600 seconds"):
        store.head()
    assert len(waited) == 1


def test_nothing_is_asked_of_the_hub_for_ever(hub: Any) -> None:
    hub.create_repo("dataset", REPO)
    store = DatasetStore(REPO, token="hf_alice", patience=Patience(pause=at_once))
    hub.faults.add("500", path="*", times=None)
    for call in (store.head, store.whoami, lambda: store.commit({"a": b""}, expected="0" * 40, message="x")):
        hub.requests.clear()
        with pytest.raises(OfflineError, match="out of order"):
            call()  # type: ignore[operator]
        assert len(hub.requests) == 7
    assert "a" not in hub.files("dataset", REPO)


def test_reading_all_fetches_only_what_changed(hub: Any, remote: DatasetStore) -> None:
    def fetched() -> int:
        count = len([asked for asked in hub.requests if "/resolve/" in asked.path])
        hub.requests.clear()
        return count

    files = {f"requests/{number}": b"%d" % number for number in range(30)}
    hub.commit("dataset", REPO, {**files, "other": b"x"})
    assert remote.read_all("requests/") == files
    assert fetched() == 30
    assert remote.read_all("requests/") == files
    assert fetched() == 0
    hub.commit("dataset", REPO, {"requests/7": b"new", "requests/8": None})
    files |= {"requests/7": b"new"}
    del files["requests/8"]
    another = DatasetStore(REPO, token="hf_alice", patience=QUICK)  # as in another process
    assert another.read_all("requests/") == files
    assert fetched() == 1
    assert another.read("requests/9", head=another.head()) == b"9"
    assert fetched() == 0


def test_a_damaged_cache_is_fetched_again(hub: Any, remote: DatasetStore, tmp_path: Path) -> None:
    hub.commit("dataset", REPO, {"b.parquet": b"x" * 1000})
    whole = remote.read_all("")
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(b"y" * 1000)
    assert DatasetStore(REPO, patience=QUICK).read_all("") == whole


def test_without_a_place_for_a_cache_all_works(hub: Any, tmp_path: Path) -> None:
    hub.create_repo("dataset", REPO)
    hub.commit("dataset", REPO, {"a": b"1"})
    (tmp_path / "file").write_bytes(b"")
    store = DatasetStore(REPO, cache=tmp_path / "file", patience=QUICK)
    assert store.read_all("") == {"a": b"1"}


def test_long_lists(hub: Any, remote: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_page", 7)
    hub.commit("dataset", REPO, {f"d/{number}": b"1" for number in range(30)})
    assert len(remote.paths("d/")) == 30
    assert len([asked for asked in hub.requests if "/tree/" in asked.path]) == 5


def test_rights_are_told_in_words(hub: Any, remote: DatasetStore) -> None:
    for token in ("hf_bob", "hf_carol", None):
        reader = DatasetStore(REPO, token=token, patience=QUICK)
        assert reader.read("a") == b"1"
        with pytest.raises(
            ForbiddenError, match=r"may not do that to hf://|nobody is logged in who may write"
        ):
            put(reader, {"b": b"2"})
    with pytest.raises(AccessError, match="nobody is logged in"):
        DatasetStore(REPO, patience=QUICK).whoami()
    with pytest.raises(AccessError, match="does not take this token") as wrong:
        DatasetStore(REPO, token="hf_wrong", patience=QUICK).head()
    assert "hf_wrong" not in str(wrong.value)
    hub.create_repo("dataset", "acme/private", private=True)
    for name in ("acme/private", "acme/nothing"):
        for token in ("hf_bob", None):
            with pytest.raises(AccessError, match="that this account can see"):
                DatasetStore(name, token=token, patience=QUICK).head()
    assert remote.whoami() == "alice"


def test_a_gated_store(hub: Any) -> None:
    hub.create_repo("dataset", REPO, gated=True)
    hub.commit("dataset", REPO, {"a": b"1"})
    bob = DatasetStore(REPO, token="hf_bob", patience=QUICK)
    with pytest.raises(AccessError, match="is gated; ask for access"):
        bob.read_all("")
    hub.grant("dataset", REPO, "bob")
    assert bob.read_all("") == {"a": b"1"}


def test_a_card_that_the_hub_refuses(remote: DatasetStore) -> None:
    with pytest.raises(StoreError, match=r"README\.md"):
        put(remote, {"README.md": b"---\na: [\n---\n", "b": b"1"})
    assert remote.paths() == ["a"]


def test_nobody_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    store = DatasetStore(REPO, endpoint="http://127.0.0.1:9", patience=Patience(pause=at_once))
    calls: list[Callable[[], object]] = [
        store.head, store.paths, lambda: store.read("a"), lambda: store.read_all(""),
        lambda: put(store, {"a": b""}),
    ]  # fmt: skip
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for call in calls:
        with pytest.raises(OfflineError, match=r"127\.0\.0\.1:9 cannot be reached .* local folder"):
            call()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for call in calls:
        with pytest.raises(OfflineError, match=r"HF_HUB_OFFLINE is set.* local folder"):
            call()
    local = open_store(str(tmp_path))
    put(local, {"a": b"1"})
    assert local.read("a") == b"1"


@pytest.mark.parametrize("name", ["", "acme", "acme/a/b", "../a", "acme/..", "acme/a?b", "acme/ä"])
def test_bad_addresses(name: str) -> None:
    with pytest.raises(StoreError, match="is no store"):
        open_store(f"hf://datasets/{name}")
    with pytest.raises(StoreError, match="is no store"):
        open_store("https://example.org/store")


def test_no_token_is_written_anywhere(hub: Any, remote: DatasetStore, tmp_path: Path) -> None:
    put(remote, {"b.parquet": b"x" * 100, "c": b"1"})
    remote.read_all("")
    remote.whoami()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"hf_alice" not in path.read_bytes(), path
    assert "hf_alice" not in json.dumps(hub.commits("dataset", REPO))
