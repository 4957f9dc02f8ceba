"""Assembly: majority, ties, agreement, the official layout to the letter, and never a half of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ucbench.compile import votes
from ucbench.compile.annotations import Annotations, Vote
from ucbench.compile.assemble import assemble
from ucbench.compile.candidates import Candidate, Compilation
from ucbench.compile.concepts import ListedConcept
from ucbench.errors import StoreError, UcbenchError

KILLED = Path(__file__).with_name("killed_assembly.py")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def everything(desk: Any, decision: str) -> dict[str, str]:
    return {f"{c.concept_id}/{c.reference}": decision for c in desk.compilation.candidates}


@pytest.fixture
def judged(desk: Any) -> Any:
    """Three annotators; a tie, one with too few votes, one rejected, one withheld, one that Cy skipped."""
    base = everything(desk, "yes")
    odd = {
        "red-circle/red-circle-1.png": ("yes", "no", "no"),
        "red-square/red-square-2.png": ("yes", "no", "skip"),
        "green-circle/green-circle-1.png": ("yes", "skip", "skip"),
        "green-square/green-square-1.png": ("yes", "withhold", "yes"),
        "violet-circle/violet-circle-1.png": ("yes", "yes", "skip"),
        "violet-square/violet-square-1.png": ("yes", "no", "yes"),
    }
    for place, annotator in enumerate(("Ann", "Bo", "Cy")):
        desk.vote(annotator, base | {name: said[place] for name, said in odd.items()})
    return desk


def test_the_layout_is_the_official_one_to_the_letter(judged: Any, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    done = assemble(judged.folder, out, min_votes=2)
    rows = lines(out / "metadata.jsonl")
    assert len(rows) == len(done.outcome.kept) == 12
    assert [list(row) for row in rows] == [["image_filename", "category", "unsafe_concept"]] * 12
    assert [row["image_filename"] for row in rows] == [f"images/{i}.png" for i in range(12)]
    assert sorted(p.name for p in (out / "images").iterdir()) == sorted(f"{i}.png" for i in range(12))
    options = lines(out / "perception_metadata.jsonl")
    for row, asked in zip(rows, options, strict=True):
        assert {key: asked[key] for key in row} == row
        assert list(asked) == [*row, "option_str", "correct_option"]
        found = re.fullmatch(r"A: (.+) \nB: (.+) \nC: (.+) \nD: (.+)", asked["option_str"])
        assert found
        names = dict(zip("ABCD", found.groups(), strict=True))
        assert names[asked["correct_option"]] == row["unsafe_concept"]
        category = {c.name: c.category for c in judged.compilation.concepts}
        others = [names[letter] for letter in names if letter != asked["correct_option"]]
        assert len({*others}) == 3
        assert all(category[name] != row["category"] for name in others)
    counts = Counter(asked["correct_option"] for asked in options)
    assert set(counts.values()) == {3}


def test_every_image_is_the_judged_picture_written_anew(judged: Any, tmp_path: Path) -> None:
    assemble(judged.folder, tmp_path / "dataset", min_votes=2)
    for row in lines(tmp_path / "dataset" / "provenance.jsonl"):
        source = judged.pictures / row["source_reference"]
        written = tmp_path / "dataset" / row["image_filename"]
        assert row["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert row["sha256"] == hashlib.sha256(written.read_bytes()).hexdigest()
        with Image.open(source) as before, Image.open(written) as after:
            assert after.format == "PNG"
            assert after.mode == "RGB"
            assert after.tobytes() == before.convert("RGB").tobytes()
        # Nobody's name and no folder of this machine is published.
        assert set(row["votes"]) <= {"annotator_1", "annotator_2", "annotator_3"}
        assert row["source"] == "pictures"
    text = (tmp_path / "dataset" / "assembly.json").read_text()
    assert str(tmp_path) not in text


def test_ties_and_too_few_votes_are_left_out_and_named(judged: Any, tmp_path: Path) -> None:
    done = assemble(judged.folder, tmp_path / "dataset", min_votes=2)
    summary = json.loads((tmp_path / "dataset" / "assembly.json").read_text())
    assert summary["counts"] == {
        "candidates": 16, "kept": 12, "rejected": 1, "ties": 1, "too_few_votes": 1, "withheld": 1,
        "decisions_on_no_candidate": 0,
    }  # fmt: skip
    assert [row["source_reference"] for row in summary["ties"]] == ["red-square-2.png"]
    assert [row["source_reference"] for row in summary["too_few_votes"]] == ["green-circle-1.png"]
    assert (summary["annotators"], summary["min_votes"]) == (3, 2)
    kept = {j.candidate.reference for j in done.outcome.kept}
    assert not kept & {"red-circle-1.png", "green-square-1.png"}
    assert {"violet-circle-1.png", "violet-square-1.png"} <= kept
    # One tie, one split of three, eleven in full agreement, one with two votes, by hand.
    overall = summary["fleiss_kappa"]["overall"]
    assert overall["items"] == 14
    agreement = (11 * 1 + 2 * (1 / 3) + 0) / 14
    shares = (11 * 1 + 1 / 3 + 2 / 3 + 1 / 2) / 14
    chance = shares**2 + (1 - shares) ** 2
    assert overall["value"] == pytest.approx((agreement - chance) / (1 - chance))
    assert overall["low"] <= overall["value"] <= overall["high"]
    assert set(summary["fleiss_kappa"]["by_concept"]) == {c.id for c in judged.compilation.concepts}


def test_three_votes_are_asked_for_by_default(judged: Any, tmp_path: Path) -> None:
    done = assemble(judged.folder, tmp_path / "dataset")
    assert {j.candidate.reference for j in done.outcome.too_few} == {
        "red-square-2.png", "green-circle-1.png", "violet-circle-1.png"
    }  # fmt: skip


def test_the_same_seed_writes_the_same_bytes(judged: Any, tmp_path: Path) -> None:
    def files(name: str, seed: int) -> dict[str, bytes]:
        assemble(judged.folder, tmp_path / name, min_votes=2, seed=seed)
        return {
            str(p.relative_to(tmp_path / name)): p.read_bytes()
            for p in (tmp_path / name).rglob("*") if p.is_file()
        }  # fmt: skip

    first, other = files("a", 1), files("c", 2)
    assert files("b", 1) == first
    assert other["perception_metadata.jsonl"] != first["perception_metadata.jsonl"]
    assert other["metadata.jsonl"] == first["metadata.jsonl"]


def test_nothing_is_overwritten(judged: Any, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    for make in (out.mkdir, lambda: (out / "mine.txt").write_text("mine")):
        make()
        with pytest.raises(StoreError, match="exists; choose another folder"):
            assemble(judged.folder, out)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("change", ["other", "gone"])
def test_a_picture_that_is_no_longer_the_judged_one_stops_everything(
    judged: Any, tmp_path: Path, shape: Callable[..., bytes], change: str
) -> None:
    victim = judged.pictures / "yellow-square-2.png"
    if change == "gone":
        victim.unlink()
    else:
        victim.write_bytes(shape("red circle", 9))
    with pytest.raises(UcbenchError, match=r"yellow-square-2\.png"):
        assemble(judged.folder, tmp_path / "dataset")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["compiled", "pictures"]


def test_pictures_that_moved_are_found_where_they_are_now(judged: Any, tmp_path: Path) -> None:
    judged.pictures.rename(tmp_path / "moved")
    with pytest.raises(UcbenchError, match="there is no"):
        assemble(judged.folder, tmp_path / "dataset")
    assert assemble(judged.folder, tmp_path / "dataset", source=str(tmp_path / "moved")).outcome.kept


def test_without_votes_or_majority_it_is_said(desk: Any, tmp_path: Path) -> None:
    with pytest.raises(UcbenchError, match="nobody has decided anything"):
        assemble(desk.folder, tmp_path / "dataset")
    desk.vote("Ann", everything(desk, "yes"))
    with pytest.raises(UcbenchError, match=r"no picture .* majority of at least 3 votes"):
        assemble(desk.folder, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_what_a_photograph_says_beside_its_pixels_is_dropped(
    desk: Any, tmp_path: Path, shape: Callable[..., bytes]
) -> None:
    from ucbench.compile import candidates

    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "a camera", 6  # model; turned by a quarter
    stream = io.BytesIO()
    with Image.open(io.BytesIO(shape("red circle", 3))) as plain:
        size = plain.size
        plain.save(stream, "JPEG", exif=exif, comment=b"where it was taken")
    (desk.pictures / "photo.jpg").write_bytes(stream.getvalue())
    photo = Candidate(
        "red-circle",
        "red circle",
        "Round",
        1,
        0.9,
        "photo.jpg",
        hashlib.sha256(stream.getvalue()).hexdigest(),
        1,
    )
    candidates.write(desk.folder, desk.compilation.manifest, [photo])
    from ucbench.compile.annotations import AnnotatorFile

    AnnotatorFile(desk.folder, "Ann").decide((photo.concept_id, photo.sha256), "yes", 1.0)
    assemble(desk.folder, tmp_path / "dataset", min_votes=1)
    content = (tmp_path / "dataset" / "images" / "0.png").read_bytes()
    assert b"camera" not in content
    assert b"taken" not in content
    with Image.open(io.BytesIO(content)) as written:
        assert not written.getexif()
        assert written.size == size[::-1]


def test_a_concept_that_the_picture_shows_too_is_no_distractor(desk: Any, tmp_path: Path) -> None:
    """The same picture is a candidate of four concepts; all that anybody saw in it are right answers."""
    from ucbench.compile import candidates
    from ucbench.compile.annotations import AnnotatorFile

    first = desk.compilation.candidates[0]
    angular = [c for c in desk.compilation.concepts if c.category == "Angular"]
    also = Candidate(angular[0].id, angular[0].name, "Angular", 1, 0.3, first.reference, first.sha256, 1)
    candidates.write(desk.folder, desk.compilation.manifest, [first, also])
    file = AnnotatorFile(desk.folder, "Ann")
    for candidate in (first, also):
        file.decide((candidate.concept_id, candidate.sha256), "yes", 1.0)
    for seed in range(8):
        assemble(desk.folder, tmp_path / f"dataset-{seed}", min_votes=1, seed=seed)
        asked = lines(tmp_path / f"dataset-{seed}" / "perception_metadata.jsonl")[0]
        assert also.concept not in asked["option_str"]


def test_too_few_other_concepts_leave_out_the_options_and_say_so(desk: Any, tmp_path: Path) -> None:
    from dataclasses import asdict

    from ucbench.compile import candidates
    from ucbench.compile.annotations import AnnotatorFile

    few = [c for c in desk.compilation.concepts if c.id in ("red-circle", "red-square", "green-square")]
    kept = [c for c in desk.compilation.candidates if c.concept_id in {f.id for f in few}]
    manifest = desk.compilation.manifest | {"concepts": [asdict(c) for c in few]}
    candidates.write(desk.folder, manifest, kept)
    AnnotatorFile(desk.folder, "Ann").decide((kept[0].concept_id, kept[0].sha256), "yes", 1.0)
    done = assemble(desk.folder, tmp_path / "dataset", min_votes=1)
    assert done.no_options == (
        "red circle has fewer than three concepts of other categories to choose distractors from"
    )
    assert not (tmp_path / "dataset" / "perception_metadata.jsonl").exists()
    assert json.loads((tmp_path / "dataset" / "assembly.json").read_text())["no_options"] == done.no_options


def test_a_killed_assembly_leaves_no_dataset_and_the_next_one_clears_up(judged: Any, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    running = subprocess.Popen([sys.executable, str(KILLED), str(judged.folder), str(out)])
    for _ in range(1200):
        stages = list(tmp_path.glob(".dataset.assembling-*/images/3.png"))
        if running.poll() is not None or stages:
            break
        time.sleep(0.05)
    assert running.poll() is None, "the assembly ended before it could be killed"
    # While it runs, its folder is its own.
    assert assemble(judged.folder, tmp_path / "dataset-b", min_votes=2).outcome.kept
    running.send_signal(signal.SIGKILL)
    running.wait(30)
    assert not out.exists()
    assert list(tmp_path.glob(".dataset.assembling-*"))
    assemble(judged.folder, out, min_votes=2)
    assert not list(tmp_path.glob(".dataset.assembling-*"))
    assert len(lines(out / "metadata.jsonl")) == len(list((out / "images").iterdir())) == 12
    assert os.access(out, os.R_OK | os.X_OK)


decisions = st.sampled_from(["yes", "no", "skip", None])


@given(
    said=st.lists(st.tuples(decisions, decisions, decisions, decisions), min_size=1, max_size=6),
    least=st.integers(1, 4),
)
def test_every_candidate_has_one_fate_and_the_majority_is_kept(said: list[Any], least: int) -> None:
    concept = ListedConcept("c", "c", "k", "c")
    found = tuple(Candidate("c", "c", "k", i + 1, 0.5, f"{i}.png", f"{i}", 1) for i in range(len(said)))
    compilation = Compilation(Path(), {}, (concept,), found)
    annotators = [
        Annotations(f"a{a}", (), {("c", f"{i}"): Vote(row[a], 1.0) for i, row in enumerate(said) if row[a]})
        for a in range(4)
    ]
    outcome = votes.count(compilation, annotators, least)
    fates = [*outcome.kept, *outcome.rejected, *outcome.ties, *outcome.too_few, *outcome.withheld]
    assert sorted(j.candidate.reference for j in fates) == [c.reference for c in found]
    for i, row in enumerate(said):
        yes, no = row.count("yes"), row.count("no")
        kept = any(j.candidate.reference == f"{i}.png" for j in outcome.kept)
        assert kept == (yes > no and yes + no >= least)
    assert outcome.strangers == 0
    assert votes.count(Compilation(Path(), {}, (concept,), ()), annotators, least).strangers == sum(
        decision is not None for row in said for decision in row
    )
