"""Options of the command line that change answers, down to the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ucbench.cli import app
from ucbench.models.checkpoint import digest
from ucbench.record import RunRecord
from ucbench.runs import Run


def evaluate(folder: Path, out: Path, *options: str) -> RunRecord:
    done = CliRunner().invoke(
        app, ["evaluate", str(folder), "--limit", "1", "--max-new-tokens", "2", "--out", str(out), *options]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    (path,) = out.glob("*/*/record.json")
    return Run(path.parent).record()


@pytest.mark.parametrize(
    ("family", "options", "entry"),
    [
        (
            "qwen2_vl",
            ("--dtype", "bfloat16", "--max-pixels", "400"),
            {"dtype": "bfloat16", "max_pixels": 400},
        ),
        (
            "qwen3_vl",
            ("--dtype", "float16", "--attention", "eager"),
            {"dtype": "float16", "attention": "eager"},
        ),
        ("llava", ("--device", "auto", "--template", "llava_v1"), {"template": "llava_v1"}),
        ("mllama", ("--system-prompt", "Be brief."), {"system_prompt": "Be brief."}),
    ],
)
def test_options_stand_in_the_record(
    family: str,
    options: tuple[str, ...],
    entry: dict[str, Any],
    checkpoint: Callable[..., Path],
    tmp_path: Path,
) -> None:
    import torch

    folder = checkpoint(family)
    record = evaluate(folder, tmp_path, *options)
    expected = {
        "dtype": None if torch.cuda.is_available() else "float32", "attention": None, "max_pixels": None,
        "template": None, "system_prompt": None, "revision": digest(folder), **entry,
    }  # fmt: skip
    assert {key: getattr(record.entry, key) for key, value in expected.items() if value is not None} == {
        key: value for key, value in expected.items() if value is not None
    }
    assert record.hardware["device"] == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert record.engine.path in ("shared_prefix", "batched")
    assert record.counts.errors == {}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--dtype", "int3"), "int3"),
        (("--device", "abacus"), "abacus"),
        (("--attention", "guess"), "guess"),
        (("--template", "vicuna"), "vicuna"),
        (("--revision", "main"), "has no revision main"),  # a folder; of the Hub, see test_hub.py
        (("--guard", "nobody"), "nobody"),
    ],
)
def test_options_that_cannot_be_had(
    options: tuple[str, ...], word: str, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(checkpoint("llava")), "--out", str(tmp_path), *options])
    assert done.exit_code != 0
    assert word in str(done.exception)
    assert not list(tmp_path.iterdir())
