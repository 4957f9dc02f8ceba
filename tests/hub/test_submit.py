"""`ucbench submit`: ticks, the queue, pull requests, quota; and what it says when something is in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ucbench import cli
from ucbench.hub import submit as submitting
from ucbench.hub.gates import Check, Facts, Limits, request_of
from ucbench.hub.queue import DuplicateError, Queue, Quota, QuotaError
from ucbench.hub.request import FOLDER, Request
from ucbench.hub.store import open_store

TINY = Path(__file__).parents[2] / "ucbench" / "models" / "embedded" / "tiny-vlm"
MODEL, BOARD = "alice/vlm", "acme/board"
ADDRESS = f"hf://datasets/{BOARD}"


pytestmark = pytest.mark.usefixtures("sha")


@pytest.fixture
def sha(hub: Any) -> str:
    """The commit of a good checkpoint, a store beside it."""
    from safetensors.numpy import save

    files = {path.name: path.read_bytes() for path in TINY.iterdir()}
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    files["model.safetensors"] = save({name: np.zeros(8, dtype=np.float32)})
    hub.create_repo("model", MODEL)
    hub.create_repo("dataset", BOARD)
    return str(hub.commit("model", MODEL, files))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """run("alice/vlm", ...): exit status, standard output, standard error of `ucbench submit`."""
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")

    def ran(*arguments: str, token: str | None = None) -> tuple[int, str, str]:
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setattr(sys, "argv", ["ucbench", "submit", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        else:
            status = 0
        captured = capsys.readouterr()
        assert "hf_alice" not in captured.out + captured.err
        return status, captured.out, captured.err

    return ran


def requests_in(address: str) -> list[Request]:
    return Queue(open_store(address)).all()


def test_a_good_model_gets_a_place_in_a_folder(sha: str, run: Any, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    status, out, err = run(MODEL, "--store", store)
    assert (status, err) == (0, "")
    (request,) = requests_in(store)
    assert (request.model, request.revision, request.dtype) == (MODEL, sha, "float32")
    assert (request.submitter, request.benchmark, request.licence) == ("local", "pictograms/1", "apache-2.0")
    assert (request.parameters, request.architecture) == (8, "LlavaForConditionalGeneration")
    assert (tmp_path / "store" / request.path).is_file()
    assert "Chat template" in out
    assert "number 1 in the queue" in out
    assert f"ucbench queue show {request.id} --store {store}" in " ".join(out.split())
    # A tick for each check, none of them wider than the terminal.
    assert out.count("\N{CHECK MARK}") == 14
    assert max(map(len, out.split("alice/vlm at")[0].splitlines())) <= 80


def test_a_second_submission_names_the_first(sha: str, run: Any, tmp_path: Path) -> None:
    store = str(tmp_path)
    run(MODEL, "--store", store)
    (request,) = requests_in(store)
    status, out, err = run(MODEL, "--store", store, "--revision", sha)
    assert status == 1
    assert "1 check failed" in err
    assert request.id in out
    assert "PENDING, number 1 in the queue" in " ".join(out.split())
    # Another dtype is another request, a failed one may be asked for again.
    assert run(MODEL, "--store", store, "--dtype", "bfloat16")[0] == 0
    Queue(open_store(store)).cancel(request.id, "local")
    assert run(MODEL, "--store", store)[0] == 0
    assert len(requests_in(store)) == 3


def test_a_dry_run_and_a_refused_model_write_nothing(hub: Any, run: Any, tmp_path: Path) -> None:
    store = tmp_path / "store"
    status, out, _ = run(MODEL, "--store", str(store), "--dry-run")
    assert status == 0
    assert "can be submitted; nothing was written" in out
    hub.commit("model", MODEL, {"README.md": None, "chat_template.jinja": b"{{ '[bold]' }}"})
    status, out, err = run(MODEL, "--store", str(store))
    assert status == 1
    assert "2 checks failed" in err
    assert out.count("What to do:") == 2
    assert not store.exists() or not [*store.rglob("*.json")]


def test_for_scripts(run: Any, tmp_path: Path) -> None:
    status, out, err = run(MODEL, "--store", str(tmp_path), "--json")
    told = json.loads(out)
    assert (status, err, told["place"], told["pull_request"]) == (0, "", 1, None)
    assert Request.model_validate(told["request"]) == requests_in(str(tmp_path))[0]
    assert {check["outcome"] for check in told["checks"]} == {"passed"}
    status, out, err = run("alice/nothing", "--store", str(tmp_path), "--json", "--max-params", "0.5")
    told = json.loads(out)
    assert (status, err, told["request"]) == (1, "", None)
    assert [check["id"] for check in told["checks"] if check["outcome"] == "failed"] == ["repository"]
    assert run(MODEL, "--store", str(tmp_path), "--max-params", "nan")[0] == 2


def test_the_submitter_is_whose_token_it_is(hub: Any, run: Any) -> None:
    status, out, _ = run(MODEL, "--store", ADDRESS, token="hf_alice")
    assert status == 0
    assert "number 1 in the queue" in out
    (request,) = requests_in(ADDRESS)
    assert request.submitter == "alice"
    assert hub.commits("dataset", BOARD)[0]["author"] == "alice"
    assert run(MODEL, "--store", ADDRESS, "--submitter", "bob", token="hf_alice")[0] == 2


def test_who_may_not_write_opens_a_pull_request(hub: Any, run: Any) -> None:
    status, out, _ = run(MODEL, "--store", ADDRESS, token="hf_bob")
    assert status == 0
    assert "a maintainer" in out
    assert f"{hub.url}/datasets/{BOARD}/discussions/1" in out
    assert not hub.files("dataset", BOARD)
    ((path, content),) = hub.files("dataset", BOARD, "refs/pr/1").items()
    request = Request.model_validate_json(content)
    assert (request.path, request.submitter, request.model) == (path, "bob", MODEL)
    # Asked for again, the one that is open stands.
    assert f"{hub.url}/datasets/{BOARD}/discussions/1" in run(MODEL, "--store", ADDRESS, token="hf_bob")[1]
    assert len(hub.repo("dataset", BOARD).discussions) == 1
    assert len(hub.files("dataset", BOARD, "refs/pr/1")) == 1
    # What a maintainer merges is in the queue.
    from huggingface_hub import HfApi

    HfApi(endpoint=hub.url, token="hf_alice").merge_pull_request(BOARD, 1, repo_type="dataset")
    assert requests_in(ADDRESS) == [request]


def test_no_store_is_not_the_folder_one_stands_in(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(MODEL, "--store", "")
    assert status == 2
    assert "no store is named" in err
    assert not (tmp_path / FOLDER).exists()


def test_who_may_not_even_do_that_is_sent_to_the_form(hub: Any, run: Any) -> None:
    hub.faults.add("403", method="POST", path="*/commit/*", times=None)
    status, _, err = run(MODEL, "--store", ADDRESS, token="hf_carol")
    assert status == 3
    assert "form of the board's site" in err
    assert err.count("\n") == 1
    assert requests_in(ADDRESS) == []


def test_without_a_token_or_a_hub_one_sentence_says_so(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = run(MODEL, "--store", ADDRESS)
    assert status == 3
    assert "hf auth login" in err
    assert err.count("\n") == 1
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for store in (ADDRESS, str(tmp_path)):
        status, _, err = run(MODEL, "--store", store, token="hf_alice")
        assert status == 3
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_what_others_wrote_is_shown_as_it_is(
    hub: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((TINY / "config.json").read_bytes())
    config["model_type"] = "[bold red]<b>x</b>\x1b[31m\u202e"
    hub.commit("model", MODEL, {"config.json": json.dumps(config).encode()})
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = run(MODEL, "--store", str(tmp_path))
    assert status == 1
    assert "'[bold red]<b>x</b>\ufffd[31m\ufffd'" in out
    assert "\x1b" not in out
    status, out, _ = run("<script>alert(1)</script>", "--store", str(tmp_path))
    assert status == 1
    assert "'<script>alert(1)</script>'" in out


def test_checks_come_as_they_are_made(hub: Any, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    seen: list[tuple[str, int]] = []
    api, queue = HfApi(endpoint=hub.url, token=False), Queue(open_store(str(tmp_path)))
    hub.requests.clear()

    def show(check: Check) -> None:
        seen.append((check.id, len(hub.requests)))

    request = submitting.prepare(MODEL, submitter="local", api=api, queue=queue, show=show)
    assert seen[:3] == [("options", 0), ("name", 0), ("repository", 1)]
    assert seen[-2][0] == "duplicate"
    assert queue.all() == []
    hub.commit("model", MODEL, {"config.json": b"{}"})
    with pytest.raises(submitting.GateError, match=r"alice/vlm.*was not submitted") as error:
        submitting.prepare(MODEL, submitter="local", api=api, queue=queue)
    assert [check.id for check in error.value.checks if check.outcome == "failed"] == ["architecture"]
    # Two that passed the gates together do not both get in.
    submitting.submit(queue, request)
    with pytest.raises(DuplicateError):
        submitting.submit(queue, replaced(request))


def replaced(request: Request, **changes: Any) -> Request:
    from ucbench.hub.request import new_id

    return request.model_copy(update={"id": new_id(request.submitted_at), **changes})


def test_a_hundred_submissions_a_minute_meet_the_quota(hub: Any, sha: str, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    queue, quota = Queue(open_store(str(tmp_path))), Quota(unfinished=5, per_day=20)
    facts = Facts(MODEL, sha, "float32", 8, "X", "mit")
    wanted = [
        request_of(replace(facts, revision=f"{n:040x}"), track="pictograms", submitter=f"{name}")
        for n in range(50)
        for name in ("mallory", "Mallory")
    ]

    def submit(request: Request) -> str:
        try:
            return submitting.submit(queue, request, quota=quota).id
        except (QuotaError, DuplicateError) as error:
            return type(error).__name__

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(submit, wanted))
    assert len(queue.all()) == quota.unfinished
    assert outcomes.count("QuotaError") >= 100 - 2 * quota.unfinished
    assert sum(1 for path in (tmp_path / FOLDER).rglob("*.json") if path.is_file()) == quota.unfinished

    api = HfApi(endpoint=hub.url, token=False)
    with pytest.raises(submitting.GateError) as error:
        submitting.prepare(MODEL, submitter="mallory", api=api, queue=queue, limits=Limits(quota=quota))
    (check,) = [check for check in error.value.checks if check.outcome == "failed"]
    assert check.id == "quota"
    assert "5 is the most" in check.found
    assert "wait for one to end" in check.advice
    # Others are not held up by it.
    assert submitting.prepare(MODEL, submitter="alice", api=api, queue=queue, limits=Limits(quota=quota))


def test_help_fits_a_terminal_of_80_columns() -> None:
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    told = subprocess.run(
        [sys.executable, "-m", "ucbench.cli", "submit", "--help"],
        capture_output=True, text=True, env=environment, check=True,
    ).stdout  # fmt: skip
    assert max(map(len, told.splitlines())) <= 80
    for option in ("--revision", "--dtype", "--track", "--store", "--max-params", "--dry-run", "--json"):
        assert option in told
    assert Limits().max_params == 35e9
    assert "[default: 35.0" in " ".join(told.split())
