"""A site that wakes: it shows the committed results at once, whatever became of its store, disk and token."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
#: Results that anybody may read, and some that the account of the token may.
PUBLIC, CLOSED = "acme/results", "acme/closed"
READ_ONLY = "mount --bind / / && mount -o remount,bind,ro / && "
FULL = (
    "mount -t tmpfs -o size=300k tmpfs {home} && "
    "dd if=/dev/zero of={home}/filling bs=1k count=280 2>/dev/null; "
)


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Hub with the committed results in two datasets."""
    files = {path.relative_to(ROOT / "results").as_posix(): path.read_bytes()
             for path in (ROOT / "results").rglob("*") if path.is_file()}  # fmt: skip
    with load(ROOT / "tests" / "hub_server.py").HubServer(tmp_path_factory.mktemp("hub")) as server:
        server.add_account("alice", "hf_alice", ["acme"])
        for name in (PUBLIC, CLOSED):
            server.create_repo("dataset", name, private=name == CLOSED)
            server.commit("dataset", name, files)
        yield server


@contextmanager
def woken(
    home: Path, environment: dict[str, str], before: str = ""
) -> Iterator[tuple[Callable[[], Any], Path]]:
    """The site in a process of its own: what its API says of the board, and its log.

    `before`: shell commands that come first, in a view of the file system of their own.
    """
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home.with_name("log")
    command = shlex.join([sys.executable, "-m", "ucbench.cli", "site", "--port", str(port)])
    settings = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home), "TMPDIR": str(home), "SPACE_ID": "acme/board", **environment,
    }  # fmt: skip
    words = ["/bin/sh", "-c", f"{before.format(home=shlex.quote(str(home)))}exec {command}"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["unshare", "--mount", *words] if before else words, cwd=ROOT, env=settings, stdout=stream,
            stderr=stream,
        )  # fmt: skip

    def told() -> Any:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/board", timeout=30) as answer:
                    return json.load(answer)
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)

    try:
        yield told, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def eventually(holds: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


def settings(hub: Any, home: Path, store: str, token: str | None = None) -> dict[str, str]:
    told: dict[str, str] = sys.modules["hub_server"].client_settings(hub.url, home / "hf", token)
    return {**told, "UCBENCH_RESULTS_STORE": f"hf://datasets/{store}"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "token"), [(PUBLIC, None), (PUBLIC, "hf_alice"), (CLOSED, "hf_alice")], ids=str
)
def test_the_snapshot_comes_first_and_then_the_store(
    hub: Any, tmp_path: Path, store: str, token: str | None
) -> None:
    home = tmp_path / "home"
    head = hub.head("dataset", store)
    with woken(home, settings(hub, home, store, token)) as (told, log):
        assert told()["rows"]
        eventually(lambda: bool(told().get("revision") == head), log)
        assert told()["rows"]
    assert "hf_alice" not in log.read_text()
    assert not list(home.glob("ucbench-site-*")), "the mirror of an ended site is left behind"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "token", "before", "said"),
    [
        (PUBLIC, "hf_wrong_and_kept_quiet", "", "does not take this token"),
        (CLOSED, None, "", f"has no hf://datasets/{CLOSED} that this account can see"),
        ("acme/nothing", "hf_alice", "", "has no hf://datasets/acme/nothing that this account can see"),
        (PUBLIC, None, READ_ONLY, "cannot be copied to this machine|Read-only file system"),
        (PUBLIC, None, FULL, "No space left on device"),
    ],
    ids=["wrong token", "no token", "no store", "read-only disk", "full disk"],
)
def test_the_snapshot_stays_and_the_log_says_why(
    hub: Any, tmp_path: Path, store: str, token: str | None, before: str, said: str
) -> None:
    if before and (
        os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode
    ):
        pytest.skip("another view of the disk needs root and mounts")
    home = tmp_path / "home"
    with woken(home, settings(hub, home, store, token), before) as (told, log):
        eventually(lambda: re.search(said, log.read_text()) is not None, log)
        shown = told()
        assert shown["rows"]
        assert not shown.get("revision")
    assert "Traceback" not in log.read_text()
    assert (token or "hf_") not in log.read_text()


@pytest.mark.slow
def test_a_hub_out_of_reach_is_no_hindrance(tmp_path: Path) -> None:
    away = {"HF_ENDPOINT": "http://127.0.0.1:9", "UCBENCH_RESULTS_STORE": f"hf://datasets/{PUBLIC}"}
    with woken(tmp_path / "home", away) as (told, log):
        assert told()["rows"]
        eventually(lambda: "cannot be reached" in log.read_text(), log)


@pytest.mark.slow
def test_an_address_that_is_none_ends_the_start_with_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ucbench.cli", "site", "--port", "1024"], cwd=ROOT, capture_output=True,
        text=True, env=os.environ | {"PYTHONPATH": str(ROOT), "UCBENCH_RESULTS_STORE": "hf://datasets/x"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: hf://datasets/x is no store; give hf://datasets/OWNER/NAME\n"
