"""A dataset of the Hub as source: the real client against a small Hub of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SHA = "1234567890abcdef1234567890abcdef12345678"
FILES = ("data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet")


class Hub(BaseHTTPRequestHandler):
    """Serves `acme/shapes`; `acme/gated` tells about itself and gives no file; nothing else exists."""

    folder: Path
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

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), Content_Type="application/json")

    def _problem(self, status: int, code: str) -> None:
        self._send(status, b"{}", X_Error_Code=code, X_Error_Message=code)

    def _entry(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        oid = hashlib.sha1(path.read_bytes()).hexdigest()
        return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "/paths-info/" not in self.path:
            self._problem(404, "EntryNotFound")
            return
        from urllib.parse import parse_qs

        text = body.decode()
        paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
        self._json([self._entry(path) for path in paths if (self.folder / path).exists()])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        name = next((n for n in ("acme/shapes", "acme/gated") if f"datasets/{n}" in path), None)
        rest = path.partition(name)[2].strip("/") if name else ""
        if name is None:
            self._problem(404, "RepoNotFound")
        elif "no-such-branch" in rest:
            self._problem(404, "RevisionNotFound")
        elif path.startswith("/api/"):
            kind, _, inside = rest.partition("/")
            if kind == "tree":
                inside = inside.partition("/")[2]
                below = sorted(
                    p.relative_to(self.folder).as_posix() for p in (self.folder / inside).rglob("*")
                )
                self._json([self._entry(p) for p in below])
            else:
                siblings = [{"rfilename": file} for file in FILES]
                self._json(
                    {
                        "id": name, "sha": SHA, "private": False, "tags": [], "siblings": siblings,
                        "gated": "manual" if name == "acme/gated" else False, "downloads": 0, "likes": 0,
                    }
                )  # fmt: skip
        elif name == "acme/gated":
            self._problem(403, "GatedRepo")
        else:
            file = self.folder / rest.partition("/")[2].partition("/")[2]
            if not file.is_file():
                self._problem(404, "EntryNotFound")
                return
            content = file.read_bytes()
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send(200, content, ETag=etag, X_Repo_Commit=SHA, Accept_Ranges="none")


@pytest.fixture(scope="module")
def rows(shape: Callable[..., bytes]) -> dict[str, list[bytes]]:
    return {
        "test": [shape("red circle", seed) for seed in range(2)],
        "train": [shape("green square", seed) for seed in range(3)],
    }


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[bytes]]) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hub")
    (folder / "data").mkdir()
    features = {
        "image": {"_type": "Image"}, "label": {"dtype": "int64", "_type": "Value"}
    }  # fmt: skip
    for file, contents in zip(FILES, rows.values(), strict=True):
        cells = [{"bytes": content, "path": None} for content in contents]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(cells, kind), "label": [0] * len(cells)})
        info = json.dumps({"info": {"features": features}})
        pq.write_table(table.replace_schema_metadata({"huggingface": info}), folder / file)
    Hub.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def run(endpoint: str, home: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"} | more
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def found(hub: str, home: Path) -> dict[str, Any]:
    client = Path(__file__).with_name("hub_client.py")
    done = run(hub, home, str(client))
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_rows_are_the_published_bytes_at_a_commit(
    found: dict[str, Any], rows: dict[str, list[bytes]]
) -> None:
    expected = {
        f"{split}/{i}": hashlib.sha256(c).hexdigest() for split in rows for i, c in enumerate(rows[split])
    }
    assert dict(zip(found["all"]["references"], found["all"]["hashes"], strict=True)) == expected
    assert found["all"]["again"] == found["all"]["hashes"]
    assert found["all"]["signatures"] == [SHA]
    assert found["all"]["description"] == {
        "kind": "hub", "name": "acme/shapes", "revision": SHA, "split": None, "image_column": "image",
    }  # fmt: skip
    assert found["test"]["references"] == ["test/0", "test/1"]


@pytest.mark.parametrize(
    ("case", "kind", "status", "text"),
    [
        (
            "gated",
            "AccessError",
            3,
            "acme/gated is gated; ask for access at https://huggingface.co/datasets/acme/",
        ),
        ("unknown", "UnknownNameError", 2, "the Hub has no dataset of that name"),
        ("split", "UcbenchError", 2, "has no split 'dev'; --split takes"),
        ("column", "UcbenchError", 2, "no column 'label' of pictures (it has: image)"),
        ("revision", "UnknownNameError", 2, "has no revision no-such-branch"),
        ("row", "BadImageError", 2, "has no row train/99"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    found: dict[str, Any], case: str, kind: str, status: int, text: str
) -> None:
    assert found[case][:2] == [kind, status]
    assert text in found[case][2]
    assert "\n" not in found[case][2]


def test_a_downloaded_commit_opens_without_the_hub(found: dict[str, Any], home: Path) -> None:
    """Annotators work days after the ranking, perhaps on a train."""
    again = (
        "import sys; from ucbench.compile.sources import reopen;"
        "print(*[i.reference for i in reopen(eval(sys.argv[1])).items()])"
    )
    description = repr(found["all"]["description"])
    done = run("http://127.0.0.1:9", home, "-c", again, description, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == found["all"]["references"]
