"""Submitted models: fetched without a token, what was asked for, no more than there is room for."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi

from ucbench.errors import StoreError
from ucbench.hub.worker import weights
from ucbench.hub.worker.failure import JobError
from ucbench.hub.worker.weights import Cache

FILES = {
    "config.json": b'{"model_type": "llava"}',
    "model.safetensors": b"s" * 5000,
    "chat_template.jinja": b"{{ messages }}",
    "README.md": b"# A model",
    "modeling_evil.py": b"import os",
    "pytorch_model.bin": b"pickle",
    "vocab.pkl": b"pickle",
    "nested/config.json": b"{}",
}


@pytest.fixture
def cache(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    hub.create_repo("model", "acme/vlm", owner="alice")
    return Cache(tmp_path / "models", 100_000, HfApi(endpoint=hub.url), pause=lambda _seconds: None)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def reason(cache: Cache, model: str, revision: str) -> JobError:
    with pytest.raises(JobError) as found, cache.held(model, revision):
        pass
    return found.value


def test_only_safe_kinds_of_files_come_and_nobody_sees_a_token(hub: Any, cache: Cache) -> None:
    commit = hub.commit("model", "acme/vlm", FILES)
    hub.commit("model", "acme/vlm", {"config.json": b"{}"})  # main moves on
    hub.requests.clear()
    with cache.held("acme/vlm", commit) as held:
        assert names(held.folder) == ["chat_template.jinja", "config.json", "model.safetensors"]
        assert (held.folder / "config.json").read_bytes() == FILES["config.json"]
    assert hub.requests
    assert {asked.account for asked in hub.requests} == {None}
    hub.requests.clear()
    with cache.held("acme/vlm", commit):  # and now it is here
        assert hub.requests == []


def test_the_child_sees_the_pinned_commits_alone(hub: Any, cache: Cache, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download

    commit = hub.commit("model", "acme/vlm", FILES)
    with cache.held("acme/vlm", commit) as held:
        weights.show([held], tmp_path / "view")
        for revision in (commit, "main"):
            folder = snapshot_download(
                "acme/vlm", revision=revision, cache_dir=tmp_path / "view", local_files_only=True
            )
            assert Path(folder).name == commit
            assert (Path(folder) / "model.safetensors").stat().st_size == 5000


def test_gone_gated_private_changed_or_too_large_is_told(hub: Any, cache: Cache) -> None:
    commit = hub.commit("model", "acme/vlm", FILES)
    assert reason(cache, "acme/vlm", "0" * 40).reason == "repo_gone"
    assert reason(cache, "acme/none", commit).reason == "repo_gone"
    hub.create_repo("model", "acme/private", owner="alice", private=True)
    assert reason(cache, "acme/private", hub.commit("model", "acme/private", FILES)).reason == "repo_gone"
    # Alice, whose token the worker has, could open this one: it is not taken.
    hub.create_repo("model", "acme/gated", owner="alice", gated="auto")
    hub.grant("model", "acme/gated", "alice")
    assert reason(cache, "acme/gated", hub.commit("model", "acme/gated", FILES)).reason == "gated"
    large = hub.commit("model", "acme/vlm", {"model.safetensors": b"s" * 200_000})
    error = reason(cache, "acme/vlm", large)
    assert error.reason == "too_large"
    assert not error.retryable


def test_content_that_is_not_the_commits_is_refused_and_fetched_anew(
    hub: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.commit("model", "acme/vlm", FILES)
    told = HfApi.model_info

    def other(api: HfApi, *arguments: Any, **options: Any) -> Any:
        info = told(api, *arguments, **options)
        for file in info.siblings or []:
            if file.rfilename == path and file.lfs:
                file.lfs.sha256 = "0" * 64
            elif file.rfilename == path:
                file.blob_id = "0" * 40
        return info

    for path in ("model.safetensors", "config.json"):
        with monkeypatch.context() as patch:
            patch.setattr(HfApi, "model_info", other)
            error = reason(cache, "acme/vlm", commit)
        assert error.reason == "repo_changed"
        assert path in str(error)
        with cache.held("acme/vlm", commit) as held:
            assert (held.folder / path).read_bytes() == FILES[path]
        (held.folder / path).resolve().write_bytes(b"damaged on disk")  # so that it is fetched again


def test_another_commit_than_asked_for_is_refused(
    hub: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.commit("model", "acme/vlm", FILES)
    other = hub.commit("model", "acme/vlm", {"config.json": b"{}"})
    told = HfApi.model_info
    monkeypatch.setattr(
        HfApi, "model_info", lambda api, name, **options: told(api, name, **options | {"revision": other})
    )
    assert reason(cache, "acme/vlm", commit).reason == "repo_changed"


def test_a_hub_with_hiccups_costs_no_attempt_and_one_that_is_down_is_told(hub: Any, cache: Cache) -> None:
    commit = hub.commit("model", "acme/vlm", FILES)
    for kind, path in (("500", "*/api/models/*"), ("cut", "*/resolve/*"), ("429", "*/resolve/*")):
        hub.faults.add(kind, method="GET", path=path, times=2)
    with cache.held("acme/vlm", commit) as held:
        assert (held.folder / "model.safetensors").stat().st_size == 5000
    other = hub.commit("model", "acme/vlm", {"config.json": b"{}"})
    hub.faults.add("403", path="*", times=None)
    error = reason(cache, "acme/vlm", other)
    assert (error.reason, error.retryable) == ("download_failed", True)


def fill(hub: Any, cache: Cache, name: str, size: int) -> str:
    hub.create_repo("model", name, owner="alice")
    commit: str = hub.commit("model", name, {"model.safetensors": os.urandom(size)})
    with cache.held(name, commit):
        pass
    return commit


def test_the_model_used_longest_ago_makes_room_and_never_one_in_use(hub: Any, cache: Cache) -> None:
    commits = {name: fill(hub, cache, name, 30_000) for name in ("acme/a", "acme/b", "acme/c")}
    entries = cache.folder / "entries"
    for age, name in enumerate(("b", "a", "c")):  # b was used longest ago
        (entry,) = entries.glob(f"*acme--{name}@*")
        os.utime(entry, (1000 + age, 1000 + age))
    with cache.held("acme/b", commits["acme/b"]):
        os.utime(next(entries.glob("*acme--b@*")), (1, 1))
        fill(hub, cache, "acme/d", 30_000)
        assert sorted(path.name.split("--")[2][0] for path in entries.glob("*")) == ["b", "c", "d"]
        assert not (cache.folder / "hub" / "models--acme--a").exists()
        with (
            cache.held("acme/c", commits["acme/c"]),
            pytest.raises(JobError, match="full of models in use"),
        ):
            fill(hub, cache, "acme/e", 60_000)
    blobs = sum(path.stat().st_size for path in (cache.folder / "hub").rglob("blobs/*"))
    assert blobs <= cache.limit


def test_what_the_disk_has_no_room_for_is_not_fetched(
    hub: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme/a", "acme/b"):
        fill(hub, cache, name, 30_000)
    disk = {"others": 0, "total": 20 * weights._SPARE}

    def usage(_path: Path) -> Any:
        stored = sum(path.stat().st_size for path in (cache.folder / "hub").rglob("blobs/*"))
        free = weights._SPARE + 100_000 - stored - disk["others"]
        return SimpleNamespace(free=free, total=disk["total"])

    monkeypatch.setattr(shutil, "disk_usage", usage)
    fill(hub, cache, "acme/c", 40_000)  # as it is
    assert len(list((cache.folder / "entries").glob("*"))) == 3
    commit = fill(hub, cache, "acme/d", 50_000)  # in the place of others
    assert len(list((cache.folder / "entries").glob("*"))) == 2
    hub.create_repo("model", "acme/e", owner="alice")
    large = hub.commit("model", "acme/e", {"model.safetensors": os.urandom(70_000)})
    with cache.held("acme/d", commit):
        error = reason(cache, "acme/e", large)
        assert (error.reason, error.retryable) == ("download_failed", True)
    disk["others"] = 50_000
    with pytest.raises(StoreError, match="make room in"), cache.held("acme/e", large):
        pass
    disk["total"] = 69_999
    disk["others"] += weights._SPARE
    assert reason(cache, "acme/e", large).reason == "too_large"


def test_a_full_disk_is_no_fault_of_the_model(
    hub: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.commit("model", "acme/vlm", FILES)
    for error in (OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left on device")):

        def full(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("huggingface_hub.snapshot_download", full)
        with pytest.raises(type(error), match="No space left"), cache.held("acme/vlm", commit):
            pass


def hold(folder: Path, url: str, commit: str, ready: Any, end: Any) -> None:
    with Cache(folder, 100_000, HfApi(endpoint=url)).held("acme/vlm", commit):
        ready.set()
        end.wait(30)


def test_another_workers_model_is_not_thrown_out(hub: Any, cache: Cache) -> None:
    commit = hub.commit("model", "acme/vlm", {"model.safetensors": b"s" * 60_000})
    context = multiprocessing.get_context("fork")
    ready, end = context.Event(), context.Event()
    other = context.Process(target=hold, args=(cache.folder, hub.url, commit, ready, end))
    other.start()
    assert ready.wait(30)
    with pytest.raises(JobError, match="full of models in use"):
        fill(hub, cache, "acme/new", 60_000)
    end.set()
    other.join()
    fill(hub, cache, "acme/newer", 60_000)


def test_a_broken_download_leaves_nothing_that_passes_for_whole(hub: Any, cache: Cache) -> None:
    commit = hub.commit("model", "acme/vlm", FILES)
    hub.faults.add("403", path="*/resolve/*/model.safetensors", times=None)
    assert reason(cache, "acme/vlm", commit).reason == "download_failed"
    hub.faults.clear()
    results: list[Path] = []

    def use() -> None:
        with cache.held("acme/vlm", commit) as held:
            results.append(held.folder)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [names(folder) for folder in results] == [
        ["chat_template.jinja", "config.json", "model.safetensors"]
    ] * 3
