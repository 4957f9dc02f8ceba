"""The dataset in the official layout, from the candidates that most annotators said yes to.

    OUT/
      images/0.png, ...            re-encoded: RGB, upright, without metadata
      metadata.jsonl               image_filename, category, unsafe_concept
      perception_metadata.jsonl    the same with option_str and correct_option
      provenance.jsonl             source, hashes and votes of each image
      assembly.json                agreement, counts, ties, what had too few votes

Written in a folder beside OUT that takes its name at the very end.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ucbench
from ucbench.compile import votes
from ucbench.compile.annotations import read_all
from ucbench.compile.candidates import Candidate, Compilation, read
from ucbench.compile.concepts import ListedConcept, elsewhere
from ucbench.compile.kappa import Kappa
from ucbench.compile.sources import Source, reopen
from ucbench.compile.votes import MIN_VOTES, Judged, Outcome
from ucbench.errors import BadImageError, StoreError, UcbenchError
from ucbench.files import sync_folder
from ucbench.images import read_image
from ucbench.tracks.questions import option_block
from ucbench.tracks.stream import IntStream
from ucbench.types import OPTION_LETTERS

if TYPE_CHECKING:
    from PIL import Image

SEED = 2024


@dataclass(frozen=True, slots=True)
class Assembly:
    """What was assembled; `no_options` says why there are no perception options, when there are none."""

    folder: Path
    outcome: Outcome
    overall: Kappa
    by_concept: dict[str, Kappa]
    annotators: int
    no_options: str | None


def assemble(
    folder: Path,
    out: Path,
    *,
    source: str | None = None,
    min_votes: int = MIN_VOTES,
    seed: int = SEED,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Assembly:
    """Count the votes in `folder` and write the dataset to `out`, which must not exist.

    `source` is where the pictures are now, when they moved. Raises `StoreError` when `out` exists or cannot
    be written, `UcbenchError` when there are no votes, nothing to keep, or a picture is no longer the one
    that was judged.
    """
    _check_free(out)
    compilation, annotations = read(folder), read_all(folder)
    if not any(a.votes for a in annotations):
        raise UcbenchError(
            f"nobody has decided anything in {folder}; `ucbench dataset annotate {folder} --annotator NAME`"
        )
    outcome = votes.count(compilation, annotations, min_votes)
    overall, by_concept = votes.agreement(outcome, compilation)
    if not outcome.kept:
        raise UcbenchError(
            f"no picture of {folder} has a majority of at least {min_votes} votes "
            f"({len(outcome.too_few):,} have fewer votes, {len(outcome.ties):,} tie); annotate more or "
            "set --min-votes"
        )
    no_options = _no_options(compilation.concepts, outcome)
    assembly = Assembly(out, outcome, overall, by_concept, len(annotations), no_options)
    pictures = reopen(compilation.source, source)
    with _new_folder(out) as stage:
        (stage / "images").mkdir()
        hashes = []
        for number, judged in enumerate(outcome.kept):
            hashes.append(_write_image(stage / _image(number), pictures, judged.candidate))
            progress(number + 1, len(outcome.kept))
        metadata = [
            {
                "image_filename": _image(number),
                "category": judged.candidate.category,
                "unsafe_concept": judged.candidate.concept,
            }
            for number, judged in enumerate(outcome.kept)
        ]
        _write_lines(stage / "metadata.jsonl", metadata)
        if no_options is None:
            options = _options(compilation, outcome, seed)
            rows = [{**row, **drawn} for row, drawn in zip(metadata, options, strict=True)]
            _write_lines(stage / "perception_metadata.jsonl", rows)
        _write_lines(
            stage / "provenance.jsonl",
            [
                _provenance(number, judged, compilation, digest)
                for number, (judged, digest) in enumerate(zip(outcome.kept, hashes, strict=True))
            ],
        )
        _write(
            stage / "assembly.json",
            json.dumps(_summary(assembly, compilation, min_votes, seed), indent=1) + "\n",
        )
    return assembly


def _image(number: int) -> str:
    return f"images/{number}.png"


def _write_image(target: Path, pictures: Source, candidate: Candidate) -> str:
    """Write one picture anew and return the hash of the new file. Raises `UcbenchError`."""
    try:
        image = judged_image(pictures, candidate)
    except BadImageError as error:
        raise UcbenchError(f"{error}; put the picture back, or name its place with --source") from error
    image.save(target, "PNG")
    with target.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def judged_image(pictures: Source, candidate: Candidate) -> Image.Image:
    """The picture in RGB, with no metadata. Raises `BadImageError`, also when it is another one by now."""
    content = pictures.read(candidate.reference)
    if hashlib.sha256(content).hexdigest() != candidate.sha256:
        raise BadImageError(f"{candidate.reference} is no longer the picture that was ranked")
    image = read_image(content)
    image.info.clear()
    return image


def _no_options(concepts: Sequence[ListedConcept], outcome: Outcome) -> str | None:
    """Why perception options cannot be made, if so: a concept without three others elsewhere."""
    shown = _shown(outcome)
    by_id = {concept.id: concept for concept in concepts}
    for judged in outcome.kept:
        concept = by_id[judged.candidate.concept_id]
        if len(_distractors(concept, concepts, shown[judged.candidate.sha256])) < 3:
            return (
                f"{concept.name} has fewer than three concepts of other categories to choose distractors from"
            )
    return None


def _shown(outcome: Outcome) -> dict[str, set[str]]:
    """By picture, the ids of all concepts that anybody saw in it."""
    shown: dict[str, set[str]] = {}
    for judged in outcome.voted:
        if judged.yes:
            shown.setdefault(judged.candidate.sha256, set()).add(judged.candidate.concept_id)
    return shown


def _distractors(
    concept: ListedConcept, concepts: Sequence[ListedConcept], shown: set[str]
) -> list[ListedConcept]:
    """Concepts of other categories that nobody saw in the picture: each is a wrong answer."""
    return [other for other in elsewhere(concept, concepts) if other.id not in shown]


def _options(compilation: Compilation, outcome: Outcome, seed: int) -> list[dict[str, str]]:
    """The official options' form for each kept picture; A to D are right equally often."""
    shown = _shown(outcome)
    by_id = {concept.id: concept for concept in compilation.concepts}
    count = len(outcome.kept)
    letters = IntStream(f"assemble/{seed}/letters").shuffled([i % len(OPTION_LETTERS) for i in range(count)])
    drawn = []
    for judged, letter in zip(outcome.kept, letters, strict=True):
        candidate = judged.candidate
        others = _distractors(by_id[candidate.concept_id], compilation.concepts, shown[candidate.sha256])
        stream = IntStream(f"assemble/{seed}/{candidate.concept_id}/{candidate.sha256}")
        names = _spread(others, stream)
        names.insert(letter, candidate.concept)
        drawn.append({"option_str": option_block(names), "correct_option": OPTION_LETTERS[letter]})
    return drawn


def _spread(others: Sequence[ListedConcept], stream: IntStream) -> list[str]:
    """Three names, of three categories as far as there are so many."""
    by_category: dict[str, list[str]] = {}
    for other in stream.shuffled(others):
        by_category.setdefault(other.category, []).append(other.name)
    names: list[str] = []
    # One of each category in turn; the shuffle decides which category comes first.
    while len(names) < 3:
        for members in by_category.values():
            if members and len(names) < 3:
                names.append(members.pop())
    return names


def _provenance(number: int, judged: Judged, compilation: Compilation, digest: str) -> dict[str, Any]:
    # Annotators stay nameless: a number each, the same throughout.
    said = {f"annotator_{n}": d for n, d in enumerate(judged.decisions, start=1) if d is not None}
    return {
        "image_filename": _image(number),
        "sha256": digest,
        "concept_id": judged.candidate.concept_id,
        "source": _public(compilation.source)["name"],
        "source_revision": compilation.source.get("revision"),
        "source_reference": judged.candidate.reference,
        "source_sha256": judged.candidate.sha256,
        "similarity": judged.candidate.similarity,
        "rank": judged.candidate.rank,
        "votes": said,
    }


def _summary(assembly: Assembly, compilation: Compilation, min_votes: int, seed: int) -> dict[str, Any]:
    outcome = assembly.outcome

    def named(rows: Sequence[Judged]) -> list[dict[str, Any]]:
        return [
            {
                "concept_id": j.candidate.concept_id, "source_reference": j.candidate.reference,
                "source_sha256": j.candidate.sha256, "yes": j.yes, "no": j.no,
            }
            for j in rows
        ]  # fmt: skip

    return {
        "source": _public(compilation.source),
        "model": _public(compilation.manifest["model"]),
        "top": compilation.manifest["top"],
        "code_version": ucbench.__version__,
        "annotators": assembly.annotators,
        "min_votes": min_votes,
        "options_seed": seed if assembly.no_options is None else None,
        "no_options": assembly.no_options,
        "counts": {
            "candidates": len(compilation.candidates),
            "kept": len(outcome.kept),
            "rejected": len(outcome.rejected),
            "ties": len(outcome.ties),
            "too_few_votes": len(outcome.too_few),
            "withheld": len(outcome.withheld),
            "decisions_on_no_candidate": outcome.strangers,
        },
        "fleiss_kappa": {
            "overall": asdict(assembly.overall),
            "by_concept": {id_: asdict(kappa) for id_, kappa in assembly.by_concept.items()},
        },
        "ties": named(outcome.ties),
        "too_few_votes": named(outcome.too_few),
    }


def _public(place: dict[str, Any]) -> dict[str, Any]:
    """The description of a source or model without folders of this machine, which are nobody's business."""
    name = str(place["name"])
    return {**place, "name": Path(name).name if Path(name).is_absolute() or Path(name).exists() else name}


def _write_lines(target: Path, rows: Sequence[dict[str, Any]]) -> None:
    _write(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write(target: Path, text: str) -> None:
    target.write_text(text, encoding="utf-8")


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a folder of our own beside `target`; when the block ends well it is synced and takes the name.

    What killed processes left beside it is cleared. Raises `StoreError`, also while another process makes the
    same folder.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage, handle = _claim(target)
    except OSError as error:
        raise StoreError(
            f"cannot write {target}: {error.strerror}; choose another folder with --out"
        ) from error
    try:
        yield stage
        for path in stage.rglob("*"):
            if path.is_file():
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())
        sync_folder(stage / "images")
        sync_folder(stage)
        umask = os.umask(0)
        os.umask(umask)
        stage.chmod(0o777 & ~umask)  # mkdtemp makes folders private
        _check_free(target)
        stage.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {target}: {error.strerror}; make room or choose another folder with --out"
        ) from error
    finally:
        os.close(handle)
        shutil.rmtree(stage, ignore_errors=True)


def _claim(target: Path) -> tuple[Path, int]:
    """A stage for `target` and the lock that shows that it is worked on; one process gets it."""
    prefix = f".{target.name}.assembling-"
    beside = os.open(target.parent, os.O_RDONLY)
    try:
        # Nobody else looks while stages are cleared and ours is not locked yet.
        fcntl.flock(beside, fcntl.LOCK_EX)
        _check_free(target)
        for left in target.parent.glob(f"{glob.escape(prefix)}*"):
            if not _clear_abandoned(left):
                raise StoreError(
                    f"another process is assembling {target}; wait for it to end, or choose another folder "
                    "with --out"
                )
        stage = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
        handle = os.open(stage, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return stage, handle
    finally:
        os.close(beside)


def _check_free(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise StoreError(f"{target} exists; choose another folder with --out")


def _clear_abandoned(folder: Path) -> bool:
    """Remove a stage that no process works on; returns whether none does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(handle)
