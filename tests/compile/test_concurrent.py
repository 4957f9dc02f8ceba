"""Two processes that want the same folder: one gets it whole, the other is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ucbench.compile.split import TEST, TRAIN, write_split
from ucbench.errors import StoreError

RACING = Path(__file__).with_name("racing.py")
ROUNDS = 12


def race(what: str, sources: Sequence[Path], out: Path) -> list[list[str]]:
    """What each process told, round by round; both are let go at once."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(RACING), what, str(source), str(out), str(ROUNDS)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for source in sources
        ]  # fmt: skip
        told: list[list[str]] = []
        for number in range(ROUNDS + 1):
            lines = [str(process.stdout.readline()) for process in processes if process.stdout]
            told += [lines] if number else []
            if number < ROUNDS:
                for process in processes:
                    assert process.stdin
                    process.stdin.write("\n")
                    process.stdin.flush()
    assert all(process.returncode == 0 for process in processes)
    return told


def check(told: list[list[str]]) -> list[int]:
    """Which process wrote, by round. One did in each, and the other one said why it did not."""
    for lines in told:
        assert sorted(line.partition(":")[0].strip() for line in lines) == ["refused", "written"], lines
        (refusal,) = [line for line in lines if line.startswith("refused")]
        assert any(why in refusal for why in ("is there already", "another process is", "exists")), refusal
        assert "--out" in refusal
    return [lines.index("written\n") for lines in told]


def test_two_splits_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = [{"image_filename": f"{name}{i}.png", "unsafe_concept": f"{i % 40}"} for i in range(4000)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    writers = check(race("split", [tmp_path / "a", tmp_path / "b"], out))
    for number, writer in enumerate(writers):
        folder = out / str(number)
        assert sorted(path.name for path in folder.iterdir()) == [TEST, TRAIN]
        rows = [json.loads(line) for name in (TRAIN, TEST) for line in (folder / name).open()]
        assert len(rows) == 4000
        assert {row["image_filename"][0] for row in rows} == {"ab"[writer]}


def test_two_assemblies_of_one_dataset_do_not_mix(desk: Any, tmp_path: Path) -> None:
    decisions = {f"{c.concept_id}/{c.reference}": "yes" for c in desk.compilation.candidates}
    for annotator in ("Ann", "Bob"):
        desk.vote(annotator, decisions)
    other = tmp_path / "compiled-with-another-seed"
    shutil.copytree(desk.folder, other)
    out = tmp_path / "out"
    writers = check(race("assemble", [desk.folder, other], out))
    seeds = [len(folder.name) for folder in (desk.folder, other)]
    for number, writer in enumerate(writers):
        summary = json.loads((out / str(number) / "assembly.json").read_text())
        assert summary["options_seed"] == seeds[writer]
        assert summary["counts"]["kept"] == len(list((out / str(number) / "images").iterdir())) == 16
    assert sorted(path.name for path in out.iterdir()) == sorted(str(n) for n in range(ROUNDS))


@pytest.mark.parametrize("left", [TRAIN, TEST])
def test_a_split_that_is_there_stays(left: str, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"unsafe_concept": "x"}\n' * 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / left).write_text("mine")
    with pytest.raises(StoreError, match=f"{left} is there already; remove it, or choose another folder"):
        write_split(tmp_path / "m.jsonl", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [left]
    assert (tmp_path / "out" / left).read_text() == "mine"
    with pytest.raises(StoreError, match="cannot write"):
        write_split(tmp_path / "m.jsonl", tmp_path / "m.jsonl" / "out")
