"""Streamlit's scripts are sent packed to who takes them so, and are the same files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import streamlit
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ucbench.site.serving import packed

STATIC = Path(streamlit.__file__).parent / "static" / "static"


def streamlits(_: Request) -> PlainTextResponse:
    return PlainTextResponse("Streamlit's")


CLIENT = TestClient(
    Starlette(
        routes=[Route("/{path:path}", streamlits, methods=["GET", "HEAD", "POST"])],
        middleware=[Middleware(packed.Packed)],
    )
)


@pytest.mark.parametrize("kind", ["js", "css"])
def test_a_file_is_sent_packed_and_whole(kind: str) -> None:
    file = max(STATIC.joinpath(kind).iterdir(), key=lambda path: path.stat().st_size)
    assert file.name in packed.names(kind)
    got = CLIENT.get(f"/static/{kind}/{file.name}", headers={"Accept-Encoding": "br, gzip"})
    assert got.headers["content-encoding"] == "gzip"
    assert got.headers["vary"] == "Accept-Encoding"
    assert "immutable" in got.headers["cache-control"]
    assert got.content == file.read_bytes()
    assert int(got.headers["content-length"]) < file.stat().st_size / 2
    assert gzip.decompress(packed.pack(kind, file.name).content) == file.read_bytes()
    path, told = f"/static/{kind}/{file.name}", {"Accept-Encoding": "gzip"}
    head = CLIENT.head(path, headers=told)
    assert {**head.headers} == {**got.headers}
    known = CLIENT.get(path, headers=told | {"If-None-Match": got.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert CLIENT.get(path, headers=told | {"If-None-Match": '"other"'}).status_code == 200
    plain = CLIENT.get(path, headers={"Accept-Encoding": "identity"})
    assert plain.headers["vary"] == "Accept-Encoding", "a cache between must keep the two apart"


@pytest.mark.parametrize(
    ("path", "encodings"),
    [
        ("/static/js/{name}", "identity"),
        ("/static/js/{name}", "gzip;q=0, br"),
        ("/static/js/{name}", "*;q=1, gzip; q=0.0"),
        ("/static/js/no-such-file.js", "gzip"),
        ("/static/js/..%2Findex.html", "gzip"),
        ("/static/media/{name}", "gzip"),
        ("/other/static/js/{name}", "gzip"),
        ("/static/js/sub/{name}", "gzip"),
    ],
)
def test_anything_else_is_left_to_streamlit(path: str, encodings: str) -> None:
    name = min(packed.names("js"))
    got = CLIENT.get(path.format(name=name), headers={"Accept-Encoding": encodings})
    assert got.text == "Streamlit's"


def test_only_what_is_read_is_packed() -> None:
    assert CLIENT.post(f"/static/js/{min(packed.names('js'))}").text == "Streamlit's"
