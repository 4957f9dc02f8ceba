"""README and docs: commands and options exist, what can run runs, links lead somewhere, the site builds."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
#: A fence of a shell, and the comment before it that says what it needs beyond a clone.
BLOCK = re.compile(r"(?:<!-- needs: ([^>]*?) -->\s*\n)?^([ ]*)```sh\n(.*?)^[ ]*```", re.M | re.S)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    needs: str | None
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            whole = re.sub(r"\\\n\s*", "", found.group(3))  # a command may go on in the next line
            lines = [line.strip() for line in whole.splitlines()]
            commands = tuple(line for line in lines if line and not line.startswith("#"))
            yield Block(page, text[: found.start(2)].count("\n") + 1, found.group(1), commands)


BLOCKS = list(blocks())


def calls(command: str) -> Iterator[list[str]]:
    """The calls of ucbench in a line of shell, as lists of arguments."""
    for part in re.split(r"&&|\|", command):
        words = shlex.split(part, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if "ucbench.cli" in words:
            yield words[words.index("ucbench.cli") + 1 :]
        elif words and Path(words[0]).name == "ucbench":
            yield words[1:]


def problem(arguments: list[str]) -> str:
    """What is wrong with commands and options, empty when nothing is; values are not looked at."""
    from ucbench.cli import app

    done = CliRunner().invoke(app, [*arguments, "--help"])
    return "" if done.exit_code == 0 else done.output


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_command_is_one_that_there_is(block: Block) -> None:
    for command in block.commands:
        for arguments in calls(command):
            assert not problem(arguments), command


@pytest.mark.parametrize(
    "wrong", ["ucbench evaluat x", "accelerate launch -m ucbench.cli evaluate x --trak y", "ucbench queue x"]
)
def test_a_command_that_there_is_not_would_be_found(wrong: str) -> None:
    (arguments,) = calls(wrong)
    assert problem(arguments)


#: What a line may need that is not here: a reader's own names in capitals or as owner/name, a service, a GPU,
#: a person, what serves until it is stopped. Every other line runs.
ELSEWHERE = re.compile(
    r"\b[A-Z]{3,}(?:_[A-Z]+)*\b(?!=)|owner/name|path/to|https?://|hf://|answers\.csv|metadata\.jsonl|/[a-z]+-[0-9.]*b|"
    r"^(make|accelerate|docker|git|vllm|pre-commit|python -m (pip|venv)|export|cd|\.) |"
    r"^ucbench (site|worker)|"
    r"--track (safe|smid|nsfw|mme)|--provider|google/|dataset (annotate|assemble)|hf auth"
)


def runs_here(command: str) -> bool:
    return not ELSEWHERE.search(command.partition("  #")[0])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_what_can_run_offline_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of a page in order, in a clone, as a reader would do them."""
    commands = [
        (block, command)
        for block in BLOCKS
        if block.page == page and block.needs is None
        for command in block.commands
        if runs_here(command)
    ]
    if page.name in ("README.md", "index.md", "evaluate.md", "align.md"):
        assert len(commands) >= 1
    if not commands:
        return
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path),
        "PYTHONPATH": str(clone), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    for block, command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=clone, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}: {command}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_example_in_python_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "coverage=" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for groups in LINK.findall(text):
        target = next(filter(None, groups))
        assert "OWNER" not in target
        if not re.match(r"[a-z]+:", target) and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_the_site_of_documents_builds_without_a_warning(tmp_path: Path) -> None:
    mkdocs = shutil.which("mkdocs", path=str(Path(sys.executable).parent))
    assert mkdocs, "mkdocs is in requirements-dev.txt"
    done = subprocess.run(
        [mkdocs, "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "docs")], cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert not [line for line in done.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]
    site = tmp_path / "docs"
    pages = {page: page.read_text() for page in site.rglob("*.html")}
    assert "ucbench queue retry" in pages[site / "reference" / "cli" / "index.html"]
    assert "recognised_called_safe" in pages[site / "reference" / "scores" / "index.html"]
    for page, text in pages.items():
        asked = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://([^/"]+)', text)
        assert not asked, f"{page} asks another host for something"
        for target in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if not re.match(r"[a-z]+:|//", target) and page.name != "404.html":
                there = (page.parent / target).resolve()
                assert (there / "index.html" if there.is_dir() else there).is_file(), f"{page}: {target}"


def test_links_to_the_code_need_to_be_told_where_it_is() -> None:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec
    assert spec.loader
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    text = "[`a.py`](../ucbench/a.py), [Method](method.md)"
    assert hooks.linked(text, "data.md", None) == "`a.py`, [Method](method.md)"
    told = hooks.linked(text, "data.md", "https://code.example/me/mine/")
    assert told == "[`a.py`](https://code.example/me/mine/blob/main/ucbench/a.py), [Method](method.md)"
    assert hooks.linked("[Method](../method.md)", "reference/scores.md", None) == "[Method](../method.md)"
    assert hooks.linked("[`a`](../../a.py)", "reference/scores.md", None) == "`a`"
