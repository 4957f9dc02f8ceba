"""A Space and what is behind it: made by one command, brought up to date by the same one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from ucbench.cli import app
from ucbench.errors import AccessError, StoreError
from ucbench.hub import space as spaces

SPACE = "acme/board"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small clone: what a Space needs, a file that it does not, one that git does not know."""
    root = tmp_path / "clone"
    for name, text in {
        "Dockerfile": "FROM python:3.11-slim\n", "app.py": "print()\n", "app_pages/about.py": "print(1)\n",
        "README.md": "# ucbench\n", "tests/test_x.py": "", "ucbench/__init__.py": "",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q")
    git(root, "add", "-A")
    (root / "app_pages" / "notes.txt").write_text("mine")
    return root


def git(root: Path, *command: str) -> None:
    subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)


def push(root: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["space", "push", "--repo", SPACE, "--root", str(root), *more])


def test_a_push_makes_everything_and_a_second_one_nothing(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")

    first = push(clone)

    assert first.exit_code == 0, first.output
    files = hub.files("space", SPACE)
    sent = set(files) - {".gitattributes"}
    assert sent == {"Dockerfile", "README.md", "app.py", "app_pages/about.py", "ucbench/__init__.py"}
    head, body = files["README.md"].decode().removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(head) == spaces.FRONT_MATTER
    assert body.strip() == "# ucbench"
    settings = json.loads(hub.files("dataset", f"{SPACE}-results")["store.json"])
    assert settings == {"workers": ["alice"], "maintainers": ["alice"]}
    assert b"# Requests to evaluate a model" in hub.files("dataset", f"{SPACE}-requests")["README.md"]
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url, token="hf_alice")
    assert {key: found.value for key, found in api.get_space_variables(SPACE).items()} == {
        "UCBENCH_STORE": f"hf://datasets/{SPACE}-requests",
        "UCBENCH_RESULTS_STORE": f"hf://datasets/{SPACE}-results",
    }
    assert "the secret HF_TOKEN" in first.stderr
    assert "hf_alice" not in first.output

    api.add_space_secret(SPACE, "HF_TOKEN", "hf_site")
    before = {name: hub.files(*name) for name in (("space", SPACE), ("dataset", f"{SPACE}-results"))}
    second = push(clone)

    assert second.exit_code == 0, second.output
    assert "nothing changed" in second.stderr
    assert "the secret HF_TOKEN" not in second.stderr
    assert {name: hub.files(*name) for name in before} == before


def test_a_push_brings_changes_and_removals_and_leaves_what_is_not_ours(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    push(clone)
    hub.commit("space", SPACE, {"notes/ours.md": b"of the owner"})
    hub.commit("dataset", f"{SPACE}-results", {"store.json": b'{"workers": ["carol"]}'})
    git(clone, "rm", "-q", "-f", "app_pages/about.py")
    (clone / "app.py").write_text("print(2)\n")

    assert push(clone).exit_code == 0

    files = hub.files("space", SPACE)
    assert files["app.py"] == b"print(2)\n"
    assert "app_pages/about.py" not in files
    assert files["notes/ours.md"] == b"of the owner"
    assert hub.files("dataset", f"{SPACE}-results")["store.json"] == b'{"workers": ["carol"]}'


def test_a_plan_that_does_not_allow_it_is_said_so(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    for repo in ("board-requests", "board-results"):
        hub.create_repo("dataset", f"acme/{repo}")
    hub.faults.add("402", method="POST", path="/api/repos/create", times=None)

    with pytest.raises(AccessError, match="the plan of this account"):
        spaces.push(spaces.plan(SPACE, None, None), clone)


@pytest.mark.usefixtures("hub")
def test_who_may_not_is_told(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bob")
    with pytest.raises(AccessError, match="may not"):
        spaces.push(spaces.plan(SPACE, None, None), clone)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AccessError, match="nobody is logged in"):
        spaces.push(spaces.plan(SPACE, None, None), clone)


@pytest.mark.parametrize("broken", ["no clone", "no Dockerfile"])
def test_what_is_no_clone_of_the_project_is_refused(clone: Path, broken: str, tmp_path: Path) -> None:
    if broken == "no clone":
        (tmp_path / "empty").mkdir()
        with pytest.raises(StoreError, match=r"is no clone|no Dockerfile"):
            spaces.shipped(tmp_path / "empty")
        return
    git(clone, "rm", "-q", "-f", "Dockerfile")
    with pytest.raises(StoreError, match="no Dockerfile"):
        spaces.shipped(clone)


def test_a_name_that_the_hub_would_not_take_is_refused() -> None:
    result = CliRunner().invoke(app, ["space", "push", "--repo", "board"])
    assert result.exit_code != 0
    assert "--repo takes OWNER/NAME" in str(result.exception)
