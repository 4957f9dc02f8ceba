"""A Space and what is behind it: made by one command, brought up to date by the same one."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from ucbench.cli import app, main
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


def test_a_private_board_asks_for_a_token_that_reads_it(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    (clone / "results").mkdir()
    (clone / "results" / "board.parquet").write_bytes(b"PAR1")
    git(clone, "add", "results")
    pushed = push(clone, "--private")
    assert f"read hf://datasets/{SPACE}-results, which is private" in " ".join(pushed.stderr.split())
    assert "results/board.parquet" in hub.files("space", SPACE)
    assert not [each for each in recwarn if "data file" in str(each.message)]


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


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of milliseconds."""
    from ucbench.hub import repository
    from ucbench.hub.retry import Patience

    monkeypatch.setattr(
        repository, "Patience", lambda: Patience(attempts=3, first=0.001, longest=0.002, answer=5)
    )


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("fault", "method", "path", "status", "said"),
    [
        ("401", "GET", "/api/whoami-v2", 3, "refuses|does not take|no .* that this account can see"),
        ("403", "POST", "/api/spaces/*/variables", 3, "may not do that to acme/board"),
        ("404", "POST", "/api/repos/create", 2, "refuses what was asked of acme/board"),
        ("429", "POST", "/api/repos/create", 3, "takes no more requests for now"),
        ("503", "POST", "/api/datasets/*/commit/*", 3, "is out of order .status 503"),
        ("cut", "POST", "/api/spaces/*/commit/*", 3, "cannot be reached for acme/board"),
    ],
)  # fmt: skip
def test_whatever_fails_is_one_sentence_and_the_same_command_goes_on(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    fault: str, method: str, path: str, status: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    hub.faults.add(fault, method=method, path=path, times=None)
    monkeypatch.setattr("sys.argv", ["ucbench", "space", "push", "--repo", SPACE, "--root", str(clone)])

    with pytest.raises(SystemExit) as ended:
        main()

    told = capsys.readouterr().err
    assert ended.value.code == status
    assert [line.startswith("error: ") for line in told.splitlines()].count(True) == 1
    assert re.search(said, told), told
    assert "Traceback" not in told
    assert "hf_alice" not in told

    hub.faults.clear()
    assert push(clone).exit_code == 0
    assert "app.py" in hub.files("space", SPACE)
    assert "store.json" in hub.files("dataset", f"{SPACE}-results")
    assert "nothing changed" in push(clone).stderr


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", ["500-after", "cut-after", "429"])
def test_what_fails_now_and_then_is_tried_again(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    for path in ("/api/repos/create", "*/commit/*", "*/variables"):
        hub.faults.add(fault, method="POST", path=path, times=1)

    assert push(clone).exit_code == 0

    commits = [asked for asked in hub.requests if asked.path.startswith(f"/api/spaces/{SPACE}/commit")]
    assert [asked.status for asked in commits].count(200) == 1
    assert "nothing changed" in push(clone).stderr


def test_a_second_push_sends_what_is_different_alone(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    push(clone)
    before = len(hub.requests)
    push(clone)
    asked = [each for each in hub.requests[before:] if each.method not in ("GET", "HEAD")]
    assert [each.path for each in asked if "/paths-info/" not in each.path] == []

    (clone / "app.py").write_text("print(3)\n")
    again = push(clone)
    assert "brought 1 file up to date" in again.stderr
    assert "not as they were committed: Dockerfile, README.md, app.py" in again.stderr
    assert "does not track them (`git add`): app_pages/notes.txt" in again.stderr


def test_a_committed_clone_is_pushed_without_remarks(
    hub: Any, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    (clone / "app_pages" / "notes.txt").unlink()
    who = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    git(clone, *who, "commit", "-q", "-m", "All")
    assert spaces.differences(clone) == []
    # From a folder inside the clone it is the same.
    pushed = push(clone / "app_pages")
    assert pushed.exit_code == 0, pushed.output
    assert "app.py" in hub.files("space", SPACE)


def test_links_of_the_readme_lead_somewhere(clone: Path) -> None:
    told = (
        "[a](docs/a.md), [b](https://x.org/b), [c](ucbench), [d](#d), [e](./app.py#L1), ![f](docs/site.png)"
    )
    body = spaces.card(told, spaces.shipped(clone)).decode().split("---\n")[-1].strip()
    assert body == told.replace("[a](docs/a.md)", "a")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("no folder", "is no clone of the project that git can read"),
        ("no clone", "is no clone of the project that git can read"),
        ("another project", "has no Dockerfile and no ucbench/__init__.py and no README.md"),
        ("no git", "git is not installed here"),
    ],
)
def test_what_is_no_clone_of_the_project_is_refused(
    broken: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "x"
    if broken != "no folder":
        root.mkdir()
    if broken == "another project":
        git(root, "init", "-q")
        (root / "app.py").touch()
    if broken == "no git":
        monkeypatch.setenv("PATH", str(root))
    result = push(root)
    assert isinstance(result.exception, StoreError)
    assert said in str(result.exception)


@pytest.mark.parametrize("name", ["board", "a/b/c", "a/..", "a /b", "/b", "a/", "a/b.git", "a/b--c", ""])
def test_a_name_that_the_hub_would_not_take_is_refused(name: str) -> None:
    for option in ("--repo", "--requests", "--results"):
        names = {"--repo": "a/b", option: name}
        result = CliRunner().invoke(
            app, ["space", "push", *(word for pair in names.items() for word in pair)]
        )
        assert result.exit_code != 0
        assert f"{option} takes OWNER/NAME" in str(result.exception)
