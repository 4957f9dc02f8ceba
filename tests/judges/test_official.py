"""The authors' classifiers as they come from a Hub: commits, gates, gaps, and no network."""

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

import pytest

from ucbench import evaluate, runs
from ucbench.errors import UnknownNameError
from ucbench.judges import registry
from ucbench.judges.base import Item, reference
from ucbench.judges.classifier import ALIGNMENT_LABELS, OFFICIAL, PERCEPTION_LABELS, TOKENIZER, tiny_folder
from ucbench.record import JudgeRef
from ucbench.tracks import registry as tracks
from ucbench.types import Verdict

torch = pytest.importorskip("torch")

#: Commits: of each repository's main branch, and one that came before.
MAIN = {repo: digit * 40 for repo, digit in zip((*OFFICIAL.values(), TOKENIZER), "abc", strict=True)}
BEFORE = "d" * 40


class Hub(ThreadingHTTPServer):
    """A hub that serves (repository, commit) -> {file: content}.

    GET /gate, /hide, /open and /switch-off say in which `state` it is from then on.
    """

    def __init__(self, contents: dict[tuple[str, str], dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents = contents
        self.state = "open"
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _serve(self, *, body: bool) -> None:
        hub, parts = self.server, self.path.strip("/").split("/")
        if len(parts) == 1:
            hub.state = parts[0]
            return self._answer(200, b"", body=body)
        if hub.state == "switch-off":
            return self._answer(503, b"", body=body)
        repo = "/".join(parts[:2])
        if hub.state in ("gate", "hide"):
            code = "GatedRepo" if hub.state == "gate" else "RepoNotFound"
            return self._answer(403 if hub.state == "gate" else 404, b"", {"X-Error-Code": code}, body=body)
        commit = MAIN[repo] if parts[3] == "main" else parts[3]
        files = hub.contents.get((repo, commit))
        if files is None:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"}, body=body)
        if parts[4] not in files:
            return self._answer(
                404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, body=body
            )
        content = files[parts[4]]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        return self._answer(200, content, {"X-Repo-Commit": commit, "ETag": etag}, body=body)

    def _answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *, body: bool
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(official: Callable[..., dict[str, Any]], tmp_path: Path) -> Iterator[Hub]:
    contents: dict[tuple[str, str], dict[str, bytes]] = {}
    perception, alignment, tokenizer = MAIN
    for seed, (repo, commit, labels) in enumerate(
        ((perception, MAIN[perception], PERCEPTION_LABELS), (alignment, MAIN[alignment], ALIGNMENT_LABELS),
         (perception, BEFORE, PERCEPTION_LABELS), (alignment, BEFORE, ALIGNMENT_LABELS))
    ):  # fmt: skip
        path = tmp_path / f"{seed}.pt"
        torch.save(official(seed, len(labels)), path)
        contents[repo, commit] = {"epoch_10.pt": path.read_bytes()}
    contents[tokenizer, MAIN[tokenizer]] = {"tokenizer.json": (tiny_folder() / "tokenizer.json").read_bytes()}
    contents[alignment, "e" * 40] = {}
    server = Hub(contents)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


SCRIPT = """
import json, sys, urllib.request
from ucbench.errors import UcbenchError
from ucbench.judges import registry
from ucbench.judges.base import reference
from ucbench.record import JudgeRef

def load(name, ref=None):
    try:
        judge = registry.load_recorded(ref) if ref else registry.load(name)
    except UcbenchError as error:
        print(json.dumps([str(error), error.exit_code]))
    else:
        print(reference(judge).model_dump_json())
        return reference(judge)

p, a, before, none = "a" * 40, "b" * 40, "d" * 40, "e" * 40
urllib.request.urlopen(sys.argv[1] + "/gate")
load("classifier:official")
urllib.request.urlopen(sys.argv[1] + "/hide")
load("classifier:official")
urllib.request.urlopen(sys.argv[1] + "/open")
load("classifier:official")
old = load(f"classifier:official@{before},{before}")
load(f"classifier:official@{p},{'f' * 40}")
load(f"classifier:official@{p},{none}")
urllib.request.urlopen(sys.argv[1] + "/switch-off")
load("classifier:official")
load("", old)
"""


def test_commits_gates_gaps_and_no_network(hub: Hub, tmp_path: Path) -> None:
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "",
        "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, hub.url], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    gated, hidden, newest, old, no_commit, no_file, offline, old_offline = map(
        json.loads, done.stdout.splitlines()
    )
    assert newest["name"] == old["name"] == "classifier:official"
    assert newest["revision"] == ",".join(MAIN.values())
    assert old["revision"] == f"{BEFORE},{BEFORE},{MAIN[TOKENIZER]}"
    assert newest["id"] == f"classifier-{newest['digest'][:12]}" != old["id"]
    assert "has no commit ffff" in no_commit[0]
    assert "holds no epoch_10.pt" in no_file[0]
    assert "alignment_classifier" in no_file[0]
    assert "is gated; ask for access on https://huggingface.co/yiting/perception_classifier" in gated[0]
    assert "--judge classifier:PERCEPTION,ALIGNMENT" in gated[0]
    assert offline == newest, "what was downloaded before is still good"
    assert old_offline == old, "a record's own commits come back"
    assert "perception_classifier is not on the Hub or is private; set HF_TOKEN, or give" in hidden[0]
    assert {error[1] for error in (no_commit, no_file, gated, hidden)} == {3}


@pytest.mark.parametrize("revision", ["main", "a" * 40, f"{'a' * 40},main", f"{'a' * 40},{'b' * 39}"])
def test_a_revision_that_is_no_commit_is_refused(revision: str) -> None:
    with pytest.raises(UnknownNameError, match="two commits of 40 hexadecimal digits"):
        registry.load(f"classifier:official@{revision}")


def test_a_record_never_makes_this_machine_ask_a_server() -> None:
    for name in ("llm:any@http://127.0.0.1:9/v1", "rating:any@http://127.0.0.1:9/v1", "llm:any"):
        with pytest.raises(UnknownNameError, match="does not read on this machine"):
            registry.load_recorded(JudgeRef(id="x", name=name))
    assert registry.load_recorded(JudgeRef(id="rules-1", name="rules")).name == "rules"


def test_tokenizer_files_of_both_kinds_read_alike(
    official: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from ucbench.judges.roberta import Reader

    content = json.loads((tiny_folder() / "tokenizer.json").read_text())["model"]
    torch.save(official(0, 3), tmp_path / "a.pt")
    (tmp_path / "vocab.json").write_text(json.dumps(content["vocab"]))
    (tmp_path / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(m) for m in content["merges"])
    )
    texts = ["No, it is not.", "Yes </s> <s> no", "caf\u00e9 \u4e2d"]
    two = Reader(tmp_path / "a.pt", ALIGNMENT_LABELS, device="cpu")
    one = Reader(
        tmp_path / "a.pt", ALIGNMENT_LABELS, tokenizer=tiny_folder() / "tokenizer.json", device="cpu"
    )
    assert two.probabilities(texts) == one.probabilities(texts)
    assert two.digest == one.digest
    assert two.companions != one.companions


class Counting:
    """A judge with weights that counts what it reads."""

    id, name, digest, revision = "counting-1", "counting", "0" * 64, "f" * 40

    def __init__(self) -> None:
        self.read = 0

    def judge(self, items: list[Item]) -> list[Verdict]:
        self.read += len(items)
        return [Verdict(item.sample_id, item.question_id, "N/A", "counted", self.id) for item in items]


def test_verdicts_on_disk_are_not_read_again(scripted: Callable[..., Any], tmp_path: Path) -> None:
    track, judge = tracks.load("pictograms"), Counting()
    record = evaluate.evaluate(scripted("acme/vlm", 0.8), track, judge, out=tmp_path, limit=4)
    assert record.judge == reference(judge)
    assert record.judge.revision == "f" * 40
    run = next(runs.find(tmp_path))
    n = len(run.answers())
    assert judge.read == n
    evaluate.judge_answers(run, judge)
    assert judge.read == n
    evaluate.judge_answers(run, judge, again=True)
    assert judge.read == 2 * n

    answers = run.answers()
    answers.loc[0, "text"] = "Another answer."
    answers.to_parquet(run.folder / runs.ANSWERS)
    evaluate.judge_answers(run, judge)
    assert judge.read == 3 * n, "other answers are read"

    path = run.judgements_path(judge.id)
    path.write_bytes(path.read_bytes()[:-100])
    evaluate.judge_answers(run, judge)
    assert judge.read == 4 * n, "a damaged file is made anew"
    run.frame(judge.id)
