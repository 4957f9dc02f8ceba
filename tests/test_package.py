"""The package as a whole: importing it is cheap, its parts keep to the rules of the house."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "module",
    ["ucbench", "ucbench.cli", "ucbench.taxonomy", "ucbench.metrics.scores", "ucbench.board",
     "ucbench.judges.registry", "ucbench.tracks.registry", "ucbench.models.registry", "ucbench.evaluate"],
)  # fmt: skip
def test_importing_pulls_in_neither_torch_nor_streamlit(module: str) -> None:
    assert not imported_by(f"import {module}") & {"torch", "transformers", "streamlit"}


def test_the_bare_package_pulls_in_the_standard_library_only() -> None:
    assert not imported_by("import ucbench") & {"pandas", "numpy", "pydantic", "PIL"}


def test_only_the_site_imports_streamlit() -> None:
    users = {
        path.relative_to(ROOT / "ucbench").parts[0]
        for path in (ROOT / "ucbench").rglob("*.py")
        if re.search(r"^\s*(import|from) streamlit", path.read_text(), re.MULTILINE)
    }
    assert users <= {"site"}


def test_no_remote_code_and_no_pickles() -> None:
    for path in (ROOT / "ucbench").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"trust_remote_code\s*=\s*True", text), path
        assert "weights_only=False" not in text, path


def test_torch_comes_first_and_by_its_exact_pin() -> None:
    lines = [x for x in (ROOT / "requirements.txt").read_text().splitlines() if x and not x.startswith("#")]
    assert re.fullmatch(r"torch==[\d.]+", lines[0])
    assert all("==" in line for line in lines)
