"""The tests' own Hub answers the real client as the real one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

SERVER = Path(__file__).parents[1] / "hub_server.py"


@pytest.fixture
def alice(hub: Any) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_alice")


@pytest.fixture
def bob(hub: Any) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_bob")


def add(path: str, content: bytes | Path) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def test_accounts_and_rights(hub: Any, alice: HfApi, bob: HfApi) -> None:
    assert alice.whoami()["name"] == "alice"
    assert [org["name"] for org in alice.whoami()["orgs"]] == ["acme"]
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=hub.url, token="hf_nobody").whoami()
    url = alice.create_repo("acme/tiny", private=True)
    assert url.repo_id == "acme/tiny"
    with pytest.raises(HfHubHTTPError) as conflict:
        alice.create_repo("acme/tiny")
    assert conflict.value.response.status_code == 409
    alice.create_repo("acme/tiny", exist_ok=True)
    with pytest.raises(RepositoryNotFoundError):
        bob.model_info("acme/tiny")
    with pytest.raises(HfHubHTTPError) as forbidden:
        bob.create_repo("acme/other")
    assert forbidden.value.response.status_code == 403
    hub.create_repo("dataset", "bob/own", owner="alice")
    alice.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="bob/own", repo_type="dataset")
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=hub.url, token="hf_carol").upload_file(
            path_or_fileobj=b"1", path_in_repo="b", repo_id="bob/own", repo_type="dataset"
        )
    alice.delete_repo("acme/tiny")
    assert not alice.repo_exists("acme/tiny")


def test_commits_trees_and_downloads(hub: Any, alice: HfApi, tmp_path: Path) -> None:
    repo = "acme/tiny"
    alice.create_repo(repo)
    start = alice.model_info(repo).sha
    big = os.urandom(300_000)
    (tmp_path / "weights.safetensors").write_bytes(big)
    operations = [
        add("README.md", b"---\nlicense: mit\ntags: [tiny]\n---\nA model."),
        add("config.json", b'{"architectures": ["A"], "model_type": "a", "x": 1}'),
        add("a/b/c.txt", b"deep"),
        add("weights.safetensors", tmp_path / "weights.safetensors"),
    ]
    first = alice.create_commit(repo, operations, commit_message="first", parent_commit=start)
    assert hub.files("model", repo)["weights.safetensors"] == big
    info = alice.model_info(repo, files_metadata=True)
    assert info.sha == first.oid
    assert info.config == {"architectures": ["A"], "model_type": "a"}
    assert info.card_data
    assert info.card_data.license == "mit"
    assert {file.rfilename: file.size for file in info.siblings or ()}["weights.safetensors"] == 300_000
    with pytest.raises(HfHubHTTPError) as stale:
        alice.create_commit(repo, [add("late", b"")], commit_message="late", parent_commit=start)
    assert stale.value.response.status_code == 412
    second = alice.create_commit(
        repo, [add("a/b/c.txt", b"new"), CommitOperationDelete("config.json")], commit_message="second"
    )
    files = alice.list_repo_files(repo)
    assert files == [".gitattributes", "README.md", "a/b/c.txt", "weights.safetensors"]
    assert "config.json" in alice.list_repo_files(repo, revision=first.oid)
    assert [each.path for each in alice.list_repo_tree(repo, "a", recursive=True)] == ["a/b", "a/b/c.txt"]
    assert [each.path for each in alice.get_paths_info(repo, ["a/b", "nothing"])] == ["a/b"]
    history = alice.list_repo_commits(repo)
    assert [commit.title for commit in history] == ["second", "first", "initial commit"]
    assert history[0].commit_id == second.oid
    old = hf_hub_download(repo, "a/b/c.txt", revision=first.oid, token="hf_alice")
    assert Path(old).read_bytes() == b"deep"
    folder = Path(snapshot_download(repo, token="hf_alice"))
    assert (folder / "a/b/c.txt").read_bytes() == b"new"
    assert (folder / "weights.safetensors").read_bytes() == big
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(repo, "nothing")
    with pytest.raises(RevisionNotFoundError):
        alice.model_info(repo, revision="nothing")


def test_pull_requests(hub: Any, alice: HfApi, bob: HfApi) -> None:
    hub.create_repo("model", "acme/tiny")
    pull = bob.create_commit("acme/tiny", [add("x", b"1")], commit_message="x", create_pr=True)
    assert pull.pr_num == 1
    assert "x" not in hub.files("model", "acme/tiny")
    assert hub.files("model", "acme/tiny", "refs/pr/1") == {"x": b"1"}
    bob.create_commit("acme/tiny", [add("y", b"2")], commit_message="y", revision="refs/pr/1")
    with pytest.raises(HfHubHTTPError):
        bob.create_commit("acme/tiny", [add("x", b"1")], commit_message="x")
    other = bob.create_pull_request("acme/tiny", "empty", description="text")
    assert other.num == 2
    assert [each.num for each in alice.get_repo_discussions("acme/tiny")] == [2, 1]
    alice.comment_discussion("acme/tiny", 1, "Thank you")
    alice.merge_pull_request("acme/tiny", 1)
    assert alice.get_discussion_details("acme/tiny", 1).status == "merged"


def test_gated_files_are_for_those_let_in(hub: Any, bob: HfApi) -> None:
    hub.create_repo("model", "acme/gated", gated=True)
    hub.commit("model", "acme/gated", {"config.json": b"{}"})
    assert bob.model_info("acme/gated").gated == "auto"
    for token in ("hf_bob", False):
        with pytest.raises(GatedRepoError):
            hf_hub_download("acme/gated", "config.json", token=token)
    hub.grant("model", "acme/gated", "bob")
    hf_hub_download("acme/gated", "config.json", token="hf_bob")


def test_large_files_come_in_ranges(hub: Any, alice: HfApi) -> None:
    import torch
    from safetensors.torch import save

    hub.create_repo("model", "acme/tiny")
    content = save({"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.float16)})
    hub.commit("model", "acme/tiny", {"model.safetensors": content})
    info = alice.model_info("acme/tiny")
    assert info.safetensors
    assert dict(info.safetensors.parameters) == {"F32": 15, "F16": 7}
    assert alice.get_safetensors_metadata("acme/tiny").parameter_count == {"F32": 15, "F16": 7}


def test_long_lists_come_in_pages(hub: Any, alice: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_page", 7)
    hub.create_repo("dataset", "acme/store")
    for number in range(60):
        hub.commit("dataset", "acme/store", {f"d/{number:02}": b"%d" % number})
    assert len(alice.list_repo_files("acme/store", repo_type="dataset")) == 61
    assert len(alice.list_repo_commits("acme/store", repo_type="dataset")) == 61


@pytest.mark.parametrize("kind", ["412", "429", "500", "500-after", "cut", "cut-after", "slow-after"])
def test_faults_strike_before_or_after_landing(hub: Any, alice: HfApi, kind: str) -> None:
    hub.create_repo("dataset", "acme/store")
    before = hub.head("dataset", "acme/store")
    hub.faults.add(kind, method="POST", path="*/commit/*", seconds=0.01)
    commit = {"repo_id": "acme/store", "repo_type": "dataset", "commit_message": "x"}
    if kind == "slow-after":
        alice.create_commit(operations=[add("a", b"1")], **commit)
    else:
        with pytest.raises(Exception, match=r"(?i)commit|internal|disconnect|reset|429") as error:
            alice.create_commit(operations=[add("a", b"1")], **commit)
        if kind[0] in "45":
            assert isinstance(error.value, HfHubHTTPError)
            assert str(error.value.response.status_code) == kind[:3]
    assert (hub.head("dataset", "acme/store") != before) == kind.endswith("-after")
    alice.create_commit(operations=[add("b", b"1")], **commit)
    assert hub.files("dataset", "acme/store")["b"] == b"1"
    assert [asked.fault for asked in hub.requests if "/commit/" in asked.path] == [kind, None]


def test_a_broken_answer_is_fetched_again_by_the_client(hub: Any) -> None:
    hub.create_repo("dataset", "acme/store")
    content = os.urandom(50_000)
    hub.commit("dataset", "acme/store", {"a.bin": content})
    hub.faults.add("half", method="GET", path="*/resolve/*")
    path = hf_hub_download("acme/store", "a.bin", repo_type="dataset")
    assert Path(path).read_bytes() == content


def _server(state: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--state", str(state), *more], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    url = process.stdout.readline().strip()
    return process, url


@pytest.mark.usefixtures("hub")
def test_a_killed_server_keeps_what_was_committed(tmp_path: Path) -> None:
    import httpx2

    process, url = _server(tmp_path / "state", "--account", "dora:hf_dora:zoo")
    try:
        for _ in range(200):
            try:
                api = HfApi(endpoint=url, token="hf_dora")
                api.create_repo("zoo/store", repo_type="dataset")
                break
            except httpx2.ConnectError:
                time.sleep(0.02)
        api.upload_file(path_or_fileobj=b"kept", path_in_repo="a", repo_id="zoo/store", repo_type="dataset")
        httpx2.post(f"{url}/_faults", json=[{"kind": "500", "path": "*/whoami-v2"}]).raise_for_status()
        with pytest.raises(HfHubHTTPError):
            api.whoami()
        assert api.whoami()["name"] == "dora"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    process, url = _server(tmp_path / "state", "--port", url.rsplit(":", 1)[1])
    try:
        for _ in range(200):
            try:
                assert "a" in HfApi(endpoint=url).list_repo_files("zoo/store", repo_type="dataset")
                break
            except httpx2.ConnectError:
                time.sleep(0.02)
        else:
            pytest.fail("the server did not come back")
    finally:
        process.kill()
        process.wait()
