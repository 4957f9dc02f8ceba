"""A child that evaluates: what it cannot see, reach, take or leave behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ucbench.errors import UcbenchError
from ucbench.hub.worker import child, launch, processes
from ucbench.hub.worker.child import Limits, StopError, Workshop

WAYS = {
    launch.NAMESPACE: (),
    launch.FILTER: (launch.NAMESPACE,),
    launch.PYTHON: (launch.NAMESPACE, launch.FILTER),
}
ENOUGH = Limits(seconds=30)


@pytest.fixture(scope="session")
def ways(tmp_path_factory: pytest.TempPathFactory) -> dict[str, child.Isolation]:
    """What is in force where the others are not to be used."""
    return {
        name: child.isolation(Workshop(tmp_path_factory.mktemp(name), without))
        for name, without in WAYS.items()
    }


@pytest.fixture(params=list(WAYS))
def shop(request: pytest.FixtureRequest, tmp_path: Path, ways: dict[str, child.Isolation]) -> Workshop:
    """A workshop for each way of isolation that this kernel permits."""
    if ways[request.param].network != request.param:
        pytest.skip(f"the kernel does not permit isolation by {request.param}")
    return Workshop(tmp_path / "job", WAYS[request.param])


@pytest.fixture
def namespaced(tmp_path: Path, ways: dict[str, child.Isolation]) -> Workshop:
    if ways[launch.NAMESPACE].network != launch.NAMESPACE:
        pytest.skip("the kernel does not permit namespaces")
    return Workshop(tmp_path / "job")


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def alive(mark: str) -> list[str]:
    """Processes of this machine whose command line holds a mark."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if mark in line and str(os.getpid()) != place.name:
            found.append(line)
    return found


def test_it_has_no_token_no_network_and_no_home_of_ours(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "UCBENCH_SECRET", "MY_PASSWORD"):
        monkeypatch.setenv(name, "hf_verysecretindeed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""
import os, socket
print(sorted(os.environ), os.environ["HOME"], os.environ["TMPDIR"])
assert "verysecret" not in str(dict(os.environ))
assert os.environ["HF_HUB_OFFLINE"] == "1"
for connect in (
    lambda: socket.create_connection(("127.0.0.1", {port}), 5),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {port})),
    lambda: socket.socket(socket.AF_INET6).connect(("::1", {port})),
):
    try:
        connect()
    except OSError as error:
        print("refused:", error)
    else:
        raise SystemExit("the network was reached")
left, right = socket.socketpair()
left.send(b"local sockets work")
"""
        outcome = child.run(python(program), shop, ENOUGH)
    log = shop.log.read_text()
    assert (outcome.ending, outcome.code) == ("ended", 0), log
    assert log.count("refused:") == 3
    assert str(shop.work / "home") in log


def test_what_it_leaves_running_is_gone(shop: Workshop) -> None:
    mark = f"47110{os.getpid()}"
    # One in a session of its own, one whose parent is gone already.
    script = f"setsid sleep {mark} & (sleep {mark} & ) ; sleep 0.2; exit 7"
    outcome = child.run(["sh", "-c", script], shop, ENOUGH)
    assert (outcome.ending, outcome.code) == ("ended", 7)
    assert alive(mark) == []


def test_it_is_stopped_with_everything_it_started(shop: Workshop) -> None:
    mark = f"47111{os.getpid()}"

    def watch() -> None:
        if len(alive(f"sleep {mark}")) >= 2:
            raise StopError("enough")

    script = f"trap '' TERM INT HUP; setsid sleep {mark} & sleep {mark} & while :; do sleep 0.05; done"
    with pytest.raises(StopError, match="enough"):
        child.run(["sh", "-c", script], shop, ENOUGH, watch=watch)
    assert alive(mark) == []


def test_time_memory_disk_and_processes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_MOST_PROCESSES", 20)
    cases = {
        "timeout": (python("while True: pass"), Limits(0.5)),
        "memory": (python("x = bytearray(400_000_000); import time; time.sleep(30)"), Limits(30, 200 << 20)),
        "disk": (["sh", "-c", "while :; do head -c 1000000 /dev/zero >> x; done"], Limits(30, disk=30 << 20)),
        "processes": (["sh", "-c", "for i in $(seq 40); do sleep 30 & done; wait"], ENOUGH),
    }  # fmt: skip
    found = {
        name: child.run(command, Workshop(tmp_path / name), limits)
        for name, (command, limits) in cases.items()
    }
    assert {name: outcome.ending for name, outcome in found.items()} == {name: name for name in cases}
    assert found["memory"].peak > 200 << 20


def test_no_file_grows_beyond_the_limit_even_a_sparse_one(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    outcome = child.run(python("open('x', 'wb').truncate(10 << 30)"), shop, Limits(30, disk=1 << 20))
    assert outcome.code == 1
    assert "File too large" in shop.log.read_text()


def test_it_cannot_write_elsewhere_or_read_credentials(
    namespaced: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    token, elsewhere = tmp_path / "token", tmp_path / "elsewhere"
    token.write_text("hf_verysecretindeed")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(token))
    program = f"""
import os
assert open({str(token)!r}).read() == ""
for path in ({str(elsewhere)!r}, {str(namespaced.models / "x")!r}, {str(namespaced.log)!r}):
    try:
        open(path, "w")
    except OSError as error:
        print(error)
    else:
        raise SystemExit("written: " + path)
open("/dev/shm/x", "w").write("x")
assert {os.getpid()} not in map(int, filter(str.isdigit, os.listdir("/proc")))
assert int(open("/proc/self/status").read().split("CapEff:")[1].split()[0], 16) == 0
open({str(namespaced.out / "x")!r}, "w").write("mine")
"""
    outcome = child.run(python(program), namespaced, ENOUGH)
    assert outcome.code == 0, namespaced.log.read_text()
    assert (namespaced.out / "x").read_text() == "mine"
    assert token.read_text() == "hf_verysecretindeed"


def test_a_door_to_a_service_of_the_machine_is_shut(
    namespaced: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may have the network that the child has not: containers are started through such a door."""
    door = tmp_path / "docker.sock"
    monkeypatch.setattr(child, "_DOORS", (str(door),))
    program = f"import socket; socket.socket(socket.AF_UNIX).connect({str(door)!r})"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(door))
        server.listen()
        assert child.run(python(program), namespaced, ENOUGH).code == 1
    assert "refused" in namespaced.log.read_text()


def test_the_child_dies_with_a_worker_that_is_killed(shop: Workshop) -> None:
    mark = f"47112{os.getpid()}"
    program = f"""
from pathlib import Path
from ucbench.hub.worker import child
shop = child.Workshop(Path({str(shop.folder)!r}), {shop.without!r})
child.run(["sh", "-c", "setsid sleep {mark} & sleep {mark}"], shop, child.Limits(60))
"""
    worker = subprocess.Popen(python(program))
    until(lambda: len(alive(f"sleep {mark}")) >= 2 and shop.note.exists())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    until(lambda: not alive(f"sleep {mark}"))
    child.clean_up(shop)
    assert not shop.note.exists()


def test_what_a_killed_worker_left_running_is_cleaned_up(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.prepare()
    process, _ = child.start(["sleep", "600"], shop, ENOUGH)
    note = f'{{"pid": {process.pid}, "started": "%s"}}'
    shop.note.write_text(note % "0")  # the number is another process's by now
    child.clean_up(shop)
    assert process.poll() is None
    shop.note.write_text(note % processes.started(process.pid))
    waiting = threading.Thread(target=process.wait)
    waiting.start()
    child.clean_up(shop)
    waiting.join()
    assert processes.tree(process.pid) == []


def test_a_command_that_is_not_there_is_told_in_the_log(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    assert child.run(["no-such-command"], shop, ENOUGH).code == 127
    assert "cannot start no-such-command" in shop.log.read_text()


def test_a_worker_refuses_to_work_where_nothing_keeps_a_child_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last of the ways is a file of Python; without it nothing is left.
    monkeypatch.setattr(launch, "__file__", str(tmp_path / "launch.py"))
    source = Path(child.__file__).with_name("launch.py").read_text()
    (tmp_path / "launch.py").write_text(source)
    with pytest.raises(UcbenchError, match="can reach the network, whatever is done"):
        child.isolation(Workshop(tmp_path / "job", WAYS[launch.PYTHON]))


def test_links_and_closed_folders_are_removed_without_going_through_them(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    folder = tmp_path / "job"
    (folder / "closed" / "deep").mkdir(parents=True)
    (folder / "closed" / "link").symlink_to(kept)
    (folder / "closed").chmod(0)
    child.remove(folder)
    assert not folder.exists()
    (tmp_path / "link").symlink_to(kept)
    child.remove(tmp_path / "link")
    assert (kept / "file").read_text() == "x"


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
