"""What the machine has, and what each lack means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ucbench import doctor
from ucbench.cli import app

GATED = "yiting/UnsafeConcepts"


def checks(**how: Any) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine(**how)}


def test_this_machine_can_run_it() -> None:
    found = checks(offline=True)
    assert {
        name: found[name].outcome for name in ("python", "packages", "embedded", "memory")
    } == dict.fromkeys(("python", "packages", "embedded", "memory"), "ok")
    assert all(check.means for check in found.values() if check.outcome != "ok")
    assert "hub" not in found


def test_the_hub_is_asked_who_may_what(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.create_repo("dataset", GATED, gated="manual")
    hub.create_repo("dataset", "acme/queue")
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    monkeypatch.setenv("UCBENCH_STORE", "hf://datasets/acme/queue")
    monkeypatch.setenv("UCBENCH_RESULTS_STORE", "hf://datasets/acme/nothing")

    found = checks()

    assert found["hub"].outcome == "ok"
    assert found["token"] == doctor.Check("token", "ok", "alice (acme), role write")
    assert (found["unsafeconcepts"].outcome, "gated" in found["unsafeconcepts"].found) == ("lack", True)
    assert "--data" in found["unsafeconcepts"].means
    assert found["store"] == doctor.Check("store", "ok", "hf://datasets/acme/queue, as alice")
    assert found["results_store"].outcome == "lack"
    assert "acme/nothing" in found["results_store"].found


def test_stores_that_are_not_there_or_of_others_are_lacks(
    hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.create_repo("dataset", "acme/queue")
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    monkeypatch.setenv("UCBENCH_STORE", "hf://datasets/acme/queue")
    monkeypatch.setenv("UCBENCH_RESULTS_STORE", str(tmp_path / "misspelt"))
    found = checks()
    assert (found["store"].outcome, "bob, who is not of acme" in found["store"].found) == ("lack", True)
    assert "pull request" in found["store"].means
    assert found["results_store"].outcome == "lack"
    assert "there is no folder" in found["results_store"].found
    (tmp_path / "misspelt").write_text("")
    assert "is a file" in checks()["results_store"].found


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("token", "said"),
    [
        (None, "nobody is logged in"),
        ("hf_carol", "role read"),
        ("hf_x", "does not take"),
        ("hf_ä", "characters that no token has"),
    ],
)
def test_a_token_that_will_not_do(token: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    found = checks()["token"]
    assert found.outcome == "lack"
    assert said in found.found
    assert found.means
    assert "hf_x" not in found.found


def test_a_hub_out_of_reach_is_a_lack_and_no_failure(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = {check["name"]: check for check in json.loads(result.stdout)}
    assert found["hub"]["outcome"] == "lack"
    assert "cannot be reached" in found["hub"]["found"]
    assert "token" not in found
    assert not hub.requests
    monkeypatch.setattr(constants, "ENDPOINT", "nonsense")
    assert "no address" in checks()["hub"].found


def test_a_package_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    there = doctor.metadata.version

    def version(name: str) -> str:
        return "1.0" if name == "pandas" else there(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    found = checks(offline=True)["packages"]
    assert found.outcome == "lack"
    assert "pandas 1.0 (tested:" in found.found


def test_a_folder_that_cannot_be_written_ends_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_LEAST", 10**18)
    result = CliRunner().invoke(app, ["doctor", "--offline"])
    assert result.exit_code == 1
    assert "make room" in result.output


@pytest.mark.parametrize("of", ["here", "weights"])
def test_a_disk_that_does_not_answer_is_told(
    of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    gone = tmp_path / "gone"
    gone.mkdir()
    if of == "here":
        monkeypatch.chdir(gone)
        gone.rmdir()
    else:
        (gone / "file").touch()
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(gone / ("x" * 300)))
    found = checks(offline=True)["disk"]
    assert found.outcome == "broken"
    assert "HF_HOME" in found.means


def test_the_memory_of_a_container_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text(f"{2 * 2**30}\n")
    assert checks(offline=True)["memory"].found.startswith("2 GiB")
    (tmp_path / "memory.max").write_text("max\n")
    assert not checks(offline=True)["memory"].found.startswith("2 GiB")


def test_a_secret_in_a_wrong_place_is_not_repeated(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    monkeypatch.setenv("UCBENCH_STORE", "hf://datasets/hf_alice")
    monkeypatch.setenv("UCBENCH_RESULTS_STORE", "https://alice:secretword@example.org/x")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    assert hub.requests
    assert "hf_alice" not in result.output
    assert "secretword" not in result.output
