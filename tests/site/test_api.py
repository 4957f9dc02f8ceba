"""What programs and feed readers get from the served site."""

from __future__ import annotations

import gzip
import io
import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.record import RunRecord
from ucbench.site.data import loading
from ucbench.site.data.board import LoadedBoard
from ucbench.site.serving import api, feeds

#: One server for this file and the browser tests.
pytestmark = pytest.mark.xdist_group("browser")


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and content of an answer, whatever the status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=200) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture
def board(site_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedBoard:
    monkeypatch.setenv("UCBENCH_RESULTS", str(site_store))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    return loading.board()


@pytest.mark.parametrize("path", ["/api/v1/board.json?track=pictograms", "/feed.xml", "/feed.json"])
def test_who_has_it_gets_304(site_url: str, path: str) -> None:
    status, headers, content = ask(site_url + path)
    assert status == 200
    assert content
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cache-Control"] == "public, max-age=60"
    tag = headers["ETag"]
    for told in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        status, headers, nothing = ask(site_url + path, if_none_match=told)
        assert (status, nothing, headers["ETag"]) == (304, b"", tag)
        assert headers["Access-Control-Allow-Origin"] == "*"
    assert ask(site_url + path, if_none_match='W/"other"')[::2] == (200, content)
    status, headers, nothing = ask(site_url + path, "HEAD")
    assert (status, nothing, headers["ETag"]) == (200, b"", tag)
    assert int(headers["Content-Length"]) == len(content)
    status, headers, _ = ask(site_url + path, "OPTIONS", origin="https://example.org")
    assert status == 204
    assert headers["Access-Control-Allow-Headers"] == "If-None-Match"
    assert ask(site_url + path, "POST")[0] == 405
    status, headers, packed = ask(site_url + path, accept_encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == content
    assert headers["ETag"] == tag


def test_the_board_has_the_shape_that_the_schema_says(site_url: str, board: LoadedBoard) -> None:
    schema = json.loads(ask(f"{site_url}/api/v1/schema.json")[2])
    jsonschema.Draft202012Validator.check_schema(schema)
    found = json.loads(ask(f"{site_url}/api/v1/board.json")[2])
    jsonschema.validate(found, schema)
    api.Board.model_validate(found)
    assert [row["run_id"] for row in found["rows"]] == [row["run_id"] for row in board.rows]
    seen = 0
    for told, row in zip(found["rows"], board.rows, strict=True):
        assert (told["rank"] is None) == (row["rank_low"] is None)
        for key in found["scores"]:
            score = told["scores"].get(key, {"value": None, "low": None, "high": None, "coverage": None})
            for part in ("low", "high", "coverage"):
                assert score[part] == row[f"{key}_{part}"]
            assert score["value"] == row[key]
            seen += score["value"] is not None
    assert seen > 100
    assert {"joined", "guard", "adapter"} <= {name for row in found["rows"] for name in row if row[name]}


def test_one_track_and_no_track(site_url: str) -> None:
    whole = json.loads(ask(f"{site_url}/api/v1/board.json")[2])
    for track in whole["tracks"]:
        one = json.loads(ask(f"{site_url}/api/v1/board.json?track={track}")[2])
        assert one["track"] == track
        assert one["digest"] == whole["digest"]
        assert {row["run_id"] for row in one["rows"]} <= {row["run_id"] for row in whole["rows"]}
    status, headers, content = ask(f"{site_url}/api/v1/board.json?track=nothing")
    assert status == 404
    assert "pictograms, unsafeconcepts" in json.loads(content)["error"]
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Cache-Control"] == "no-store"


def test_the_older_routes_stay(site_url: str, board: LoadedBoard) -> None:
    found = json.loads(ask(f"{site_url}/api/board?track=pictograms")[2])
    assert found["rows"] == loading.public_rows(board.of_track("pictograms"))
    assert found["digest"] == board.digest
    assert json.loads(ask(f"{site_url}/api/schema")[2]) == RunRecord.model_json_schema()


def test_feeds_tell_the_newest_rows(site_url: str, board: LoadedBoard) -> None:
    status, headers, content = ask(f"{site_url}/feed.xml")
    assert status == 200
    assert headers["Content-Type"].startswith("application/rss+xml")
    channel = ElementTree.fromstring(content).find("channel")
    assert channel is not None
    items = channel.findall("item")
    dated = sorted((row["measured_at"] for row in board.rows if row["measured_at"]), reverse=True)
    told = [parsedate_to_datetime(item.findtext("pubDate", "")) for item in items]
    assert told == [at.replace(microsecond=0) for at in dated[: feeds.NEWEST]]
    assert channel.findtext("link") == f"{site_url}/"
    by_id = {item.findtext("guid"): item for item in items}
    for row in board.of_track("pictograms"):
        item = by_id[row["run_id"]]
        assert str(row["model"]) in item.findtext("title", "")  # hostile ones as they are
        assert item.findtext("link") == f"{site_url}/model?run={row['run_id']}"
        assert "Image alignment ." in item.findtext("description", "")
    plain = json.loads(ask(f"{site_url}/feed.json")[2])
    assert plain["version"] == "https://jsonfeed.org/version/1.1"
    assert plain["feed_url"] == f"{site_url}/feed.json"
    assert [item["id"] for item in plain["items"]] == [item.findtext("guid") for item in items]
    assert [item["content_text"] for item in plain["items"]] == [
        item.findtext("description") for item in items
    ]
    one = json.loads(ask(f"{site_url}/feed.json?track=smid")[2])
    assert all(item["title"].endswith(" on SMID") for item in one["items"])


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_feed_is_xml_whatever_it_tells(title: str, words: str) -> None:
    item = feeds.Item("id", title, "model?run=a&b", words, datetime(2026, 1, 2, tzinfo=UTC))
    found = ElementTree.fromstring(feeds.rss([item], "https://example.org"))
    assert found.findtext("channel/item/link") == "https://example.org/model?run=a&b"
    told = found.findtext("channel/item/title", "")
    kept = [
        (was, now) for was, now in zip(title.replace("\r\n", "\n"), told, strict=False) if now != "\ufffd"
    ]
    assert all(was == now or (was, now) == ("\r", "\n") for was, now in kept)


def test_no_board_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from ucbench.site.serving import server

    monkeypatch.setenv("UCBENCH_RESULTS", str(tmp_path))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path))
    client = TestClient(Starlette(routes=server.routes()))
    for path in ("/api/v1/board.json", "/api/board", "/feed.xml", "/feed.json"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "There is no board" in answer.json()["error"]


def test_another_board_has_another_tag(
    plain_store: Path, site_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))
    tags = set()
    for store in (plain_store, site_store):
        monkeypatch.setenv("UCBENCH_RESULTS", str(store))
        tags |= {api.whole(loading.board()).etag, api.whole(loading.board(), "pictograms").etag}
    assert len(tags) == 4


def test_a_feed_reads_back_as_it_was(board: LoadedBoard) -> None:
    items = feeds.newest(board)
    found = ElementTree.parse(io.BytesIO(feeds.rss(items, "https://example.org"))).getroot()
    assert [one.text for one in found.iterfind("channel/item/title")] == [item.title for item in items]
