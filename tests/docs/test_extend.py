"""The recipes of docs/extend.md, done as they stand there to a copy of the repository."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "extend.md"
STEP = re.compile(r'^```\w+ title="(create|append|replace|try)(?:: ([^"]+))?"\n(.*?)^```', re.M | re.S)


@dataclass
class Recipe:
    """A section: what it says of itself, its changes, and the commands that show them."""

    name: str
    text: str
    steps: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def files(self) -> list[str]:
        """The files that it writes or changes, in their order."""
        return list(dict.fromkeys(path for what, path, _ in self.steps if what != "try"))


def recipes() -> Iterator[Recipe]:
    for section in re.split(r"^## … ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        found = [match.groups(default="") for match in STEP.finditer(section)]
        yield Recipe(section.split("\n", 1)[0], section, [(what, path, text) for what, path, text in found])


RECIPES = list(recipes())


def test_there_is_one_for_each_thing_that_can_be_added() -> None:
    assert [recipe.name for recipe in RECIPES] == ["model", "track", "judge", "reward", "page"]
    assert all(any(what == "try" for what, _, _ in recipe.steps) for recipe in RECIPES)


def apply(root: Path, what: str, path: str, text: str) -> None:
    target = root / path
    if what == "create":
        assert not target.exists(), f"{path} is there already"
        target.write_text(text)
    elif what == "append":
        target.write_text(target.read_text() + text)
    else:
        old, _, new = text.partition("---\n")
        # The last words of a block may be the beginning of a line.
        whole = target.read_text()
        old, new = (part if part in whole or part is new else part.rstrip("\n") for part in (old, new))
        assert whole.count(old) == 1, f"{path} has {whole.count(old)} times:\n{old}"
        target.write_text(whole.replace(old, new if old.endswith("\n") else new.rstrip("\n")))


def written(before: str, after: str) -> int:
    """Lines that somebody who turns one text into the other writes; blank ones do not count."""
    changes = difflib.ndiff(before.splitlines(), after.splitlines())
    return sum(line.startswith("+ ") and bool(line[2:].strip()) for line in changes)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_fits_the_code_and_says_what_it_takes(recipe: Recipe, tmp_path: Path) -> None:
    for path in recipe.files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).exists():
            shutil.copy(ROOT / path, tmp_path / path)
    for what, path, text in recipe.steps:
        if what != "try":
            apply(tmp_path, what, path, text)
    lines = {
        path: written(
            (ROOT / path).read_text() if (ROOT / path).exists() else "", (tmp_path / path).read_text()
        )
        for path in recipe.files
    }
    told = re.findall(r"^\*\*`([^`]+)`\*\*: (\d+) lines?\b", recipe.text, flags=re.M)
    assert {path: int(n) for path, n in told} == lines
    total = re.search(r"^\*(\d+) files, (\d+) lines\b", recipe.text, flags=re.M)
    assert total
    assert [int(n) for n in total.groups()] == [len(lines), sum(lines.values())]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_works_to_the_letter(recipe: Recipe, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    tools = tmp_path / "bin"
    tools.mkdir()
    # The commands of this environment, with the code of the copy.
    for name, module in {"ucbench": "-m ucbench.cli", "python": ""}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path), "PYTHONPATH": str(clone),
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    shown = []
    for what, path, text in recipe.steps:
        if what != "try":
            apply(clone, what, path, text)
            continue
        for command in text.strip().splitlines():
            done = subprocess.run(
                ["bash", "-c", command], cwd=clone, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
            shown.append(done.stdout)
    expected = {
        "model": "acme/small-vlm", "track": "tiny-vlm", "judge": "", "reward": "", "page": "",
    }  # fmt: skip
    assert expected[recipe.name] in "".join(shown)
    if recipe.name == "judge":
        judged = [path.stem for path in clone.glob("runs/*/*/judgements/*.parquet")]
        assert sorted(judged) == ["first-word-1", "rules-1"]
    if recipe.name == "reward":
        assert "asks_back" in (clone / "aligned" / "try" / "train.jsonl").read_text()
    # As a reviewer would look at it.
    for check in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        tool = shutil.which(check[0], path=str(Path(sys.executable).parent))
        assert tool
        done = subprocess.run([tool, *check[1:]], cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:]
