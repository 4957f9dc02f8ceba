"""The three commands from a source to a dataset, as a user types them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ucbench.cli import app
from ucbench.compile import warning
from ucbench.compile.annotations import AnnotatorFile
from ucbench.errors import StoreError, UcbenchError

RUNNER = CliRunner()


def ucbench(*arguments: object) -> Any:
    """The outcome of a command, with its error as `main` would meet it."""
    done = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit | typer.Exit):
        raise done.exception
    return done


@pytest.fixture
def pictures(tmp_path: Path, shape: Callable[..., bytes]) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("red circle", "green circle", "red square", "green square", "violet square"):
        for seed in range(2):
            (folder / f"{name.replace(' ', '-')}-{seed}.png").write_bytes(shape(name, seed))
    (folder / "broken.png").write_bytes(b"broken")
    return folder


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "concepts.csv"
    names = ("red circle", "green circle", "red square", "green square", "violet square")
    rows = [f"{name},{'Round' if 'circle' in name else 'Angular'}" for name in names]
    path.write_text("\n".join(["name,category", *rows]) + "\n")
    return path


def test_from_a_folder_to_a_dataset(pictures: Path, listed: Path, clip_folder: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "compiled", tmp_path / "dataset"
    done = ucbench(
        "dataset", "candidates", pictures, "--concepts", listed, "--model", clip_folder, "--top", 2,
        "--out", folder, "--device", "cpu", "--i-understand",
    )  # fmt: skip
    assert done.exit_code == 0
    assert warning.REPORTING in done.stderr
    assert "11 pictures: 10 distinct, 0 exact duplicates collapsed, 1 unreadable" in done.stderr
    assert "10 candidates for 5 concepts" in done.stderr
    from ucbench.compile import candidates

    for name in ("Ann", "Bo", "Cy"):
        file = AnnotatorFile(folder, name)
        for candidate in candidates.read(folder).candidates:
            right = candidate.reference.startswith(candidate.concept_id)
            file.decide((candidate.concept_id, candidate.sha256), "yes" if right else "no", 1.0)
    done = ucbench("dataset", "assemble", folder, "--out", out)
    assert done.exit_code == 0
    assert "Agreement of annotators" in done.stdout
    assert "judged by 3 annotators" in done.stderr
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) >= 8
    assert all((out / row["image_filename"]).is_file() for row in rows)
    # Five concepts have only two others elsewhere for the angular ones.
    assert "perception_metadata.jsonl was not written: " in done.stderr
    with pytest.raises(StoreError, match="exists"):
        ucbench("dataset", "assemble", folder, "--out", out)


def test_nothing_is_ranked_before_somebody_understood(
    pictures: Path, clip_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UcbenchError, match="nobody is there to confirm"):
        ucbench("dataset", "candidates", pictures, "--model", clip_folder, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("typed", "goes_on"), [("I understand", True), ("i UNDERSTAND", True), ("yes", False)]
)
def test_the_phrase_is_typed_in_a_terminal(pictures: Path, tmp_path: Path, typed: str, goes_on: bool) -> None:
    """Whoever goes on meets the next check: a model that is none."""
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "ucbench.cli", "dataset", "candidates", str(pictures)]
    command += ["--model", str(tmp_path), "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        os.close(terminal)
        os.write(main, f"{typed}\n".encode())
        _, said = run.communicate(timeout=240)
        os.close(main)
    assert run.returncode == 2
    assert warning.REPORTING in said
    assert ("has no config.json" in said) == goes_on
    assert ("was not confirmed; nothing was read" in said) == (not goes_on)


def test_the_warning_says_what_matters() -> None:
    text = " ".join(warning.before_ranking("pictures").split())
    for words in ("none is copied", "child sexual abuse material", "hotline", "police", "differs by country"):
        assert words in text


def test_annotating_needs_candidates_and_a_name(desk: Any, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no candidates; make them with"):
        ucbench("dataset", "annotate", tmp_path, "--annotator", "Ann")
    with pytest.raises(UcbenchError, match="--annotator takes a name"):
        ucbench("dataset", "annotate", desk.folder, "--annotator", "  ")
    desk.pictures.rename(tmp_path / "moved")
    with pytest.raises(UcbenchError, match="there is no"):
        ucbench("dataset", "annotate", desk.folder, "--annotator", "Ann")


def test_a_taken_port_is_said(desk: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UcbenchError, match="is taken; choose another with --port"):
            ucbench(
                "dataset", "annotate", desk.folder, "--annotator", "Ann", "--port", taken.getsockname()[1]
            )


def test_a_file_is_no_folder_of_candidates(tmp_path: Path) -> None:
    (tmp_path / "candidates.json").write_text("{}")
    with pytest.raises(StoreError) as caught:
        ucbench("dataset", "assemble", tmp_path / "candidates.json", "--out", tmp_path / "dataset")
    assert str(caught.value) == (
        f"{tmp_path / 'candidates.json'} is a file; give the folder that `ucbench dataset candidates` wrote, "
        "the one with candidates.json in it"
    )
    assert not (tmp_path / "dataset").exists()
