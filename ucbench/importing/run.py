"""Saved answers -> a run like any other, of provenance `imported`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench import __version__, provenance, runs
from ucbench import evaluate as engine
from ucbench.errors import UcbenchError
from ucbench.importing import authors, match, table
from ucbench.importing.match import Index, Key, Report
from ucbench.judges.options import parse_options
from ucbench.record import Engine, Entry, RunRecord, TrackRef, run_id
from ucbench.runs import Run
from ucbench.tracks.questions import PERCEPTION
from ucbench.tracks.scoring import check_judge
from ucbench.types import OPTION_LETTERS, Answer, Sample, Split

if TYPE_CHECKING:
    from ucbench.judges.base import Judge
    from ucbench.tracks.base import Track
    from ucbench.tracks.sources import Sources

#: Bump when the same files may give other answers than before.
IMPORT_VERSION = "saved-1"

#: The track over some data; `None` where the user named none.
Load = Callable[["Sources"], "Track"]


@dataclass(frozen=True, slots=True)
class Part:
    """Which questions of the track the answers are to."""

    split: Split | None = None
    draw: int = 0
    limit: int | None = None


def import_answers(
    path: Path,
    entry: Entry,
    load: Load,
    sources: Sources,
    judge: Judge,
    *,
    out: Path,
    part: Part = Part(),
    options_from_prompts: bool = False,
    source: str | None = None,
    keep_judge: bool = False,
) -> tuple[RunRecord, Report]:
    """Match the answers in `path` to a track's questions, judge and score them, write the run.

    `path` is a folder in the authors' layout (`ucbench.importing.authors`) or a table of answers
    (`ucbench.importing.table`). `entry` is what is claimed of the model; its revision becomes a digest of the
    answers, so that the same import is the same run, another set of answers another run, and neither one
    that was measured here. With `options_from_prompts` (for tracks that take perception metadata) the
    prompts say which options the perception questions had; the concept's name is the right one. Pictures
    without such a prompt keep options of our own, which the report counts.

    A question without an answer counts as the system error `missing`, an empty text as `model_error`: more
    than 1% of them make the run incomplete. Raises `UcbenchError`, and writes nothing, for input that is
    broken or answers other questions.
    """
    check_judge(load(sources).id, judge)
    report = Report()
    if path.is_dir():
        saved = authors.read(path, entry.model)
        report.not_read = saved.not_read
        with tempfile.TemporaryDirectory() as scratch:
            track = load(sources)
            read: set[str] | None = None
            if options_from_prompts and (found := _options(saved.rows, track, Path(scratch))):
                read, told = found
                track = load(replace(sources, perception_metadata=told))
            split = engine.choose_split(entry, track, part.split)
            samples, reference = engine.choose_samples(track, split, part.draw, part.limit)
            if read is not None:
                _tell_options(samples, read, report)
            given = match.match_authors(saved.rows, Index(samples), _whole(track), report)
        source = source or "saved answers in the authors' layout"
    else:
        if not path.exists():
            raise UcbenchError(f"there is no {path}; give a folder of saved answers, or a table of them")
        rows = table.read(path)
        track = load(sources)
        split = engine.choose_split(entry, track, part.split)
        samples, reference = engine.choose_samples(track, split, part.draw, part.limit)
        given = match.match_table(rows, Index(samples), _whole(track), report)
        source = source or "a table of saved answers"
    if not given:
        raise UcbenchError(f"none of the answers in {path} is to a question of the {split} split")
    answers = match.settle(samples, given, report)
    entry = entry.model_copy(update={"revision": match.digest(samples, answers)})
    record = _write(entry, track, reference, samples, answers, judge, report, out, source, keep_judge)
    return record, report


def trained_on(names: Sequence[str]) -> tuple[str, ...]:
    """What `Entry.trained_on` holds for texts `TRACK/SPLIT` or `TRACK/VERSION/SPLIT`, each once.

    Such an entry is asked, and compared with others on, what it was not trained on. Raises `UcbenchError` for
    a track or split that there is not.
    """
    from ucbench.tracks import registry as tracks

    for name in names:
        parts = name.split("/")
        if not 2 <= len(parts) <= 3 or not all(parts):
            raise UcbenchError(
                f"--trained-on {name} names no split; write TRACK/SPLIT, such as unsafeconcepts/train"
            )
        splits = [split for split in tracks.load(parts[0]).splits if split != "all"]
        if parts[-1] not in splits:
            raise UcbenchError(
                f"--trained-on {name}: track {parts[0]} has no split {parts[-1]}, but {', '.join(splits)}"
            )
    return tuple(dict.fromkeys(names))


def _whole(track: Track) -> Callable[[], Index]:
    """Everything the track asks, in whatever split: an answer to that is left out, not refused."""

    @cache
    def index() -> Index:
        samples: dict[str, Sample] = {}
        for split in track.splits:
            for sample in track.samples(split):
                known = samples.setdefault(sample.id, sample)
                if known is not sample:  # the blank picture carries the concepts of its split
                    asked = {question.id: question for question in (*known.questions, *sample.questions)}
                    samples[sample.id] = replace(known, questions=tuple(asked.values()))
        return Index(list(samples.values()))

    return index


def _tell_options(samples: Sequence[Sample], read: set[str], report: Report) -> None:
    """Count the pictures asked about whose options were read from a prompt, and those with our own."""
    for sample in samples:
        if any(question.kind == "perception" for question in sample.questions):
            if sample.id in read:
                report.options_read += 1
            else:
                report.options_own.add(sample.id)


def _options(rows: Sequence[authors.Row], track: Track, scratch: Path) -> tuple[set[str], Path] | None:
    """Perception metadata made from the prompts: of which pictures, and the file; None without such prompts.

    A picture without a prompt keeps the options of the track's own. Raises `UcbenchError` when a prompt
    does not offer its picture's concept once.
    """
    names = {concept.id: concept.name for concept in track.concepts}
    before = PERCEPTION.partition("{")[0]
    samples = track.samples(track.splits[0])
    index = Index(samples)
    told: dict[str, tuple[str, str]] = {}
    for row in rows:
        options, sample = parse_options(row.prompt), index.picture(row.image)
        if not (row.prompt.startswith(before) and len(options) == len(OPTION_LETTERS)) or sample is None:
            continue
        concept = next((q.concept_id for q in sample.questions if q.kind == "perception"), None)
        if concept is None or sample.id in told:
            continue
        right = [
            letter
            for letter, option in zip(OPTION_LETTERS, options, strict=True)
            if match.plain(option).casefold() == match.plain(names[concept]).casefold()
        ]
        if len(right) != 1:
            raise UcbenchError(
                f"{row.place} does not offer {names[concept]}, the concept of {row.image}, once among its "
                "options; check that --metadata is of the images that were asked about"
            )
        told[sample.id] = row.prompt.removeprefix(before), right[0]
    if not told:
        return None
    path = scratch / "perception_metadata.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for sample in samples:
            for question in sample.questions:
                if question.kind == "perception":
                    own = question.text.removeprefix(before), question.expected
                    text, letter = told.get(sample.id, own)
                    cells = {
                        "image_filename": sample.id,
                        "unsafe_concept": names[question.concept_id],
                        "option_str": text,
                        "correct_option": letter,
                    }
                    stream.write(json.dumps(cells) + "\n")
    return set(told), path


def _write(
    entry: Entry,
    track: Track,
    reference: TrackRef,
    samples: Sequence[Sample],
    answers: dict[Key, Answer],
    judge: Judge,
    report: Report,
    out: Path,
    source: str,
    keep_judge: bool,
) -> RunRecord:
    run = Run(out / entry.slug / run_id(entry, reference, IMPORT_VERSION))
    if run.exists():
        record = run.record()
        if record.judge and (keep_judge or record.judge.id == judge.id):
            runs.join(run.answers(), run.judgements(record.judge.id))  # a damaged run must not pass
            return record
        return engine.rejudge(run, judge, track)
    concepts = {concept.id: concept for concept in track.concepts}
    run.write_answers(
        [
            engine.answer_row(question, concepts[question.concept_id], answers[sample.id, question.id], 0.0)
            for sample in samples
            for question in sample.questions
        ]
    )
    engine.judge_answers(run, judge)
    record = RunRecord(
        run_id=run.run_id,
        entry=entry,
        track=reference,
        judge=None,
        code_version=__version__,
        code_revision=provenance.code_revision(),
        engine=Engine(path="saved", notes=tuple(report.lines())),
        provenance="imported",
        source=source,
    )
    run.write_record(engine.score(record, run, judge, track))
    return run.record()
