"""Models of the Hub: the real client against a small Hub of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from ucbench.models import known

KNOWN = "llava-hf/llava-1.5-7b-hf"
NEWEST, TAGGED = "f" * 40, "1234567890abcdef1234567890abcdef12345678"


class Hub(BaseHTTPRequestHandler):
    """Serves folders by name. Whatever the commit, the files are the same."""

    models: dict[str, Path]
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _problem(self, status: int, code: str) -> None:
        self._send(status, b"{}", X_Error_Code=code, X_Error_Message=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        name = next((n for n in self.models if f"/{n}/" in f"{path}/"), None)
        if name is None:
            self._problem(404, "RepoNotFound")
            return
        folder, rest = self.models[name], path.partition(name)[2].strip("/")
        files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
        if path.startswith("/api/"):
            kind, _, revision = rest.partition("/")
            if kind == "tree":
                entries = [
                    {"type": "file", "path": key, "oid": "0" * 40, "size": file.stat().st_size}
                    for key, file in files.items()
                ]
                self._send(200, json.dumps(entries).encode(), Content_Type="application/json")
                return
            sha = {"": NEWEST, "main": NEWEST, "v1": TAGGED}.get(revision, revision)
            if len(sha) != 40:
                self._problem(404, "RevisionNotFound")
                return
            info = {
                "id": name, "sha": sha, "private": False, "tags": [], "downloads": 0, "likes": 0,
                "siblings": [{"rfilename": key} for key in files],
                "gated": "manual" if name == "acme/gated" else False,
            }  # fmt: skip
            self._send(200, json.dumps(info).encode(), Content_Type="application/json")
            return
        _, sha, file = rest.split("/", 2)
        if name == "acme/gated":
            self._problem(403, "GatedRepo")
        elif file not in files:
            self._problem(404, "EntryNotFound")
        else:
            self.asked.append(f"{name}/{file}")
            content = files[file].read_bytes()
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send(200, content, ETag=etag, X_Repo_Commit=sha, Accept_Ranges="none")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, llava: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    config = json.loads((llava / "config.json").read_text())
    for name, changes in {
        "pickles": {},
        "code": {"model_type": "odd", "auto_map": {"AutoConfig": "odd.C"}},
    }.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({**config, **changes}))
    for file in ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"):
        (folder / "pickles" / file).write_bytes(b"never opened")
    for file in ("odd.py", "model.safetensors"):
        (folder / "code" / file).write_bytes(b"never wanted")
    Hub.models = {
        KNOWN: llava, "acme/tiny": llava, "acme/gated": llava,
        "acme/pickles": folder / "pickles", "acme/code": folder / "code",
    }  # fmt: skip
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


#: HF_ENDPOINT is read at import, so all is asked for in a process of its own; nothing is loaded.
CLIENT = """
import json, sys
from ucbench.errors import UcbenchError
from ucbench.models import registry
found = []
for name, revision in json.loads(sys.argv[1]):
    try:
        found.append([*registry._find(name, revision)[1:]])
    except UcbenchError as error:
        found.append([type(error).__name__, error.exit_code, str(error)])
print(json.dumps(found))
"""
CASES: list[tuple[str, str | None]] = [
    (KNOWN, None), (KNOWN, "main"), (KNOWN, "v1"), ("acme/tiny", None), ("acme/tiny", TAGGED),
    ("acme/tiny", "no-such-branch"), ("acme/gated", None), ("acme/nothing", None), ("acme/pickles", None),
    ("acme/code", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run(endpoint: str, home: Path, *arguments: str, **more: str) -> str:
    """The last line that Python prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **more}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return (done.stdout.splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def found(hub: str, home: Path) -> dict[tuple[str, str | None], list[Any]]:
    return dict(zip(CASES, json.loads(run(hub, home, "-c", CLIENT, json.dumps(CASES))), strict=True))


def test_names_become_commits(found: dict[tuple[str, str | None], list[Any]]) -> None:
    """A known model comes at its own commit, any other as it is now; a name of a revision is resolved."""
    commit = known.commit(KNOWN)
    assert commit not in (None, NEWEST)
    assert found[KNOWN, None] == [KNOWN, commit]
    assert found[KNOWN, "main"] == [KNOWN, NEWEST]
    assert found[KNOWN, "v1"] == [KNOWN, TAGGED]
    assert found["acme/tiny", None] == ["acme/tiny", NEWEST]
    assert found["acme/tiny", TAGGED] == ["acme/tiny", TAGGED]


@pytest.mark.parametrize(
    ("name", "revision", "kind", "status", "words"),
    [
        ("acme/tiny", "no-such-branch", "UnknownNameError", 2, ("no-such-branch", "--revision")),
        ("acme/gated", None, "AccessError", 3, ("https://huggingface.co/acme/gated", "hf auth login")),
        ("acme/nothing", None, "UnknownNameError", 2, ("acme/nothing",)),
        (
            "acme/pickles",
            None,
            "ModelError",
            2,
            ("pickles only", "convert them to safetensors", "--endpoint"),
        ),
        ("acme/code", None, "ModelError", 2, ("auto_map", "port of it to transformers", "--endpoint")),
    ],
)
def test_what_cannot_be_loaded_names_the_way_out(
    found: dict[tuple[str, str | None], list[Any]],
    name: str, revision: str | None, kind: str, status: int, words: tuple[str, ...],
) -> None:  # fmt: skip
    told = found[name, revision]
    assert told[:2] == [kind, status]
    assert "\n" not in told[2]
    for word in words:
        assert word in told[2]


@pytest.mark.usefixtures("found")
def test_neither_pickles_nor_code_nor_what_they_come_with_is_downloaded() -> None:
    assert set(Hub.asked) >= {f"{KNOWN}/model.safetensors", "acme/code/config.json"}
    assert not [file for file in Hub.asked if file.startswith("acme/pickles")]
    assert {file for file in Hub.asked if file.startswith("acme/code")} == {"acme/code/config.json"}


@pytest.mark.usefixtures("found")
def test_what_was_downloaded_works_offline(home: Path) -> None:
    cases: list[tuple[str, str | None]] = [(KNOWN, None), ("acme/tiny", "v2"), ("owner/name", None)]
    told = run("http://127.0.0.1:9", home, "-c", CLIENT, json.dumps(cases), HF_HUB_OFFLINE="1")
    kept, other, nothing = json.loads(told)
    assert kept == [KNOWN, known.commit(KNOWN)]
    assert other[0] == nothing[0] == "AccessError"
    assert "at revision v2" in other[2]
