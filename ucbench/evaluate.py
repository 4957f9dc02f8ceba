"""Track x entry -> answers -> verdicts -> scores. Killed at any moment, it goes on where it was.

The plan of batches depends on the samples and the batch size alone, and a batch that was interrupted
is computed again whole, so that every answer comes from the same arithmetic as in an undisturbed run.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from ucbench import __version__, provenance, runs
from ucbench.errors import StoreError, UcbenchError
from ucbench.journal import Journal, Line, read
from ucbench.judges.base import Judge, reference
from ucbench.judges.guard import judge_items
from ucbench.models.base import VLM, Batch, OutOfMemoryError, StreamingVLM
from ucbench.record import Engine, Entry, RunRecord, TrackRef, Usage, run_id
from ucbench.runs import Run
from ucbench.tracks.base import Track
from ucbench.tracks.scoring import check_judge, scoring
from ucbench.types import Answer, Concept, Question, Sample, Split
from ucbench.world import World, world

if TYPE_CHECKING:
    import pandas as pd

#: Bump when the engine's answers may differ from those of the version before.
ENGINE_VERSION = "1"

#: Above this share of system errors a run is incomplete and is not ranked.
MAX_ERROR_SHARE = 0.01

#: Not asked again: what a provider's filter stops once, it stops again.
REFUSAL = "provider_refusal"

Key = tuple[str, str]
#: Called after every batch with (answers so far, all answers).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be asked of whom, and the folder it goes to."""

    run: Run
    track: TrackRef
    samples: list[Sample]
    batches: list[Batch]


def plan(
    vlm: VLM,
    track: Track,
    *,
    out: Path,
    split: Split | None = None,
    draw: int = 0,
    limit: int | None = None,
    batch_size: int = 64,
) -> Plan:
    """Lay out an evaluation without answering anything.

    Raises `UcbenchError` as `choose_split` does, `AccessError` for data that cannot be reached.
    """
    if batch_size < 1:
        raise UcbenchError(f"--batch-size must be at least 1, not {batch_size}")
    split = choose_split(vlm.entry, track, split)
    samples, reference = _taken(vlm, *choose_samples(track, split, draw, limit))
    folder = out / vlm.entry.slug / run_id(vlm.entry, reference, ENGINE_VERSION)
    return Plan(Run(folder), reference, samples, vlm.plan(samples, batch_size))


def _taken(vlm: VLM, samples: list[Sample], reference: TrackRef) -> tuple[list[Sample], TrackRef]:
    """The questions that the model takes: most take all, and a guard has no answer to some.

    Raises `UcbenchError` when it takes none.
    """
    takes: Callable[[Question], bool] | None = getattr(vlm, "takes", None)
    if takes is None:
        return samples, reference
    taken = [replace(sample, questions=tuple(filter(takes, sample.questions))) for sample in samples]
    taken = [sample for sample in taken if sample.questions]
    if not taken:
        raise UcbenchError(
            f"{vlm.entry.model} is a guard, whose verdicts answer no question of track {reference.id}; take "
            "another track, or --guard none to ask it as any other model"
        )
    n_questions = sum(len(sample.questions) for sample in taken)
    return taken, reference.model_copy(update={"n_samples": len(taken), "n_questions": n_questions})


def choose_samples(
    track: Track, split: Split, draw: int = 0, limit: int | None = None
) -> tuple[list[Sample], TrackRef]:
    """What is asked, and how a record names it; a limit that limits nothing is a whole run."""
    if limit is not None and limit < 1:
        raise UcbenchError(f"--limit must be at least 1, not {limit}")
    samples = track.samples(split, draw, limit)
    if limit is not None and len(samples) == len(whole := track.samples(split, draw)):
        samples, limit = whole, None
    return samples, TrackRef(
        id=track.id,
        version=track.version,
        split=split,
        draw=draw,
        limit=limit,
        n_samples=len(samples),
        n_questions=sum(len(sample.questions) for sample in samples),
    )


def choose_split(entry: Entry, track: Track, split: Split | None = None) -> Split:
    """The split an entry is asked: `split` if it may be, else the one that it is measured on.

    That is the track's first, or `test` for an entry that was trained on the track: it is scored on what
    it has not seen, and others are compared with it there. Raises `UcbenchError` for a split that the
    track lacks or that holds items the entry was trained on.
    """
    if split is not None and split not in track.splits:
        raise UcbenchError(
            f"track {track.id} has no split {split}; --split takes {', '.join(track.splits)} there"
        )
    # Versions of a track share most of their items, so any version of track/version/split counts.
    # A track that asks about the pictures of another one shows what was seen there.
    shown = {track.id, getattr(track, "pictures_of", track.id)}
    seen = {items.rpartition("/")[2] for items in entry.trained_on if items.split("/")[0] in shown}
    if not seen:
        return split or track.splits[0]
    unseen = [own for own in track.splits if own not in seen and own != "all"]
    name = entry.adapter or entry.model
    if not unseen:
        raise UcbenchError(
            f"{name} was trained on {track.id}, which keeps no other split for testing; take another track"
        )
    if split is not None and split not in unseen:
        raise UcbenchError(
            f"{name} was trained on the {' and '.join(sorted(seen))} split of {track.id}, so its answers "
            f"there would show nothing; take --split {unseen[0]}"
        )
    return split or unseen[0]


def evaluate(
    vlm: VLM,
    track: Track,
    judge: Judge,
    *,
    out: Path,
    split: Split | None = None,
    draw: int = 0,
    limit: int | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
    processes: World | None = None,
    keep_judge: bool = False,
) -> RunRecord:
    """Answer a track, judge the answers, score the verdicts, and write the run.

    A finished run is not answered again; its answers are judged anew when `judge` is another one
    (unless `keep_judge`), and its failed answers are asked again when it was incomplete.
    Raises `StoreError` when the folder cannot be written or another process is at the same run.
    """
    check_judge(track.id, judge)
    processes = processes or world()
    layout = plan(vlm, track, out=out, split=split, draw=draw, limit=limit, batch_size=batch_size)
    run = layout.run
    finished = run.record() if run.exists() else None
    if finished and finished.status != "incomplete":
        answers = run.answers()  # a damaged run must not pass for a finished one
        if finished.judge and (keep_judge or finished.judge.id == judge.id):
            runs.join(answers, run.judgements(finished.judge.id))
            return finished
        return rejudge(run, judge, track, processes=processes)

    started = datetime.now(UTC)
    with _alone(run.folder, processes):
        halvings = _answer(vlm, layout, processes, progress)
        processes.wait()
        if processes.is_main:
            _write_answers(run, layout, track)
    if processes.is_main:
        judge_answers(run, judge)
        answers = run.answers()
        record = RunRecord(
            run_id=run.run_id,
            entry=vlm.entry,
            track=layout.track,
            judge=None,
            code_version=__version__,
            code_revision=provenance.code_revision(),
            packages=provenance.packages(),
            hardware=provenance.hardware(getattr(vlm, "device", "cpu")),
            engine=Engine(
                path=vlm.engine_path,
                **_checkpoint(vlm),
                batch_size=None if isinstance(vlm, StreamingVLM) else batch_size,
                processes=processes.size,
                out_of_memory_halvings=halvings,
                notes=(*getattr(vlm, "notes", ()), *_notices(track)),
            ),
            usage=_usage(vlm, answers),
            started_at=started,
            seconds=round(float(answers["seconds"].sum()), 3),
            status=status_of(_error_share(answers), layout.track.limit),
        )
        run.write_record(score(record, run, judge, track))
        for path in _journals(run.folder):
            path.unlink()
    processes.wait()
    return run.record()


def _checkpoint(vlm: VLM) -> dict[str, Any]:
    """What a model whose weights are here tells of them."""
    told: tuple[str, int] | None = getattr(vlm, "checkpoint", None)
    return {} if told is None else {"model_type": told[0], "parameters": told[1]}


def _notices(track: Track) -> tuple[str, ...]:
    notice: str | None = getattr(track, "notice", None)
    return (f"{track.id}: {notice}",) if notice else ()


def rejudge(run: Run, judge: Judge, track: Track, *, processes: World | None = None) -> RunRecord:
    """Judge stored answers and make that judge's scores the record's."""
    check_judge(track.id, judge)
    processes = processes or World()
    if processes.is_main:
        judge_answers(run, judge)
        run.write_record(score(run.record(), run, judge, track))
    processes.wait()
    return run.record()


def judge_answers(run: Run, judge: Judge, *, again: bool = False) -> None:
    """Judge the stored answers and write the judgements beside those of other judges.

    What a judge with weights has read of these very answers stands, unless `again` or its file is damaged.
    """
    answers = run.answers()
    items = runs.items(answers)
    content = runs.items_digest(items)
    if again or not _judged(run, judge, answers, content):
        run.write_judgements(judge.id, judge_items(judge, items), content)


def _judged(run: Run, judge: Judge, answers: pd.DataFrame, content: str) -> bool:
    # The other judges read in no time, or keep what they read themselves.
    if judge.digest is None or run.judged(judge.id) != content:
        return False
    try:
        runs.join(answers, run.judgements(judge.id))
    except StoreError:
        return False
    return True


def score(record: RunRecord, run: Run, judge: Judge, track: Track) -> RunRecord:
    """The record with the scores and counts of `judge`."""
    from ucbench.metrics.scores import counts, score_run

    frame, own = run.frame(judge.id), scoring(track.id)
    return record.model_copy(
        update={
            "judge": reference(judge),
            "scores": score_run(frame, subsets=track.subsets, extra=own.extra, clusters=own.clusters),
            "status": status_of(_error_share(frame), record.track.limit),
            "counts": counts(frame),
        }
    )


def _error_share(answers: pd.DataFrame) -> float:
    """The share of answers that are system errors; a provider's refusal is none."""
    return float((answers["error"].notna() & (answers["error"] != REFUSAL)).mean())


def _usage(vlm: VLM, answers: pd.DataFrame) -> Usage | None:
    """What a service counted for all answers, those of earlier starts as well."""
    if not isinstance(vlm, StreamingVLM):
        return None
    given = answers["input_tokens"].sum() if "input_tokens" in answers else 0
    return vlm.usage(int(given), int(answers["tokens"].sum()), int(answers["thinking_tokens"].sum()))


def status_of(errors: float, limit: int | None) -> Literal["complete", "incomplete", "partial"]:
    """What a run with that share of system errors is."""
    if errors > MAX_ERROR_SHARE:
        return "incomplete"
    return "complete" if limit is None else "partial"


@contextmanager
def _alone(folder: Path, processes: World) -> Iterator[None]:
    """Keep a second evaluation of the same run away; the lock dies with its process."""
    handle: IO[str] | None = None
    if processes.is_main:
        path = folder / ".lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = path.open("w")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"another process is evaluating into {folder}; wait for it to end") from error
        except OSError as error:
            raise StoreError(
                f"cannot write {folder}: {error.strerror}; "
                "make the folder writable or choose another with --out"
            ) from error
    try:
        processes.wait()  # nobody opens a journal before the lock is held
        yield
    finally:
        if handle:
            (folder / ".lock").unlink(missing_ok=True)
            handle.close()


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("answers-*.jsonl"))


def _written(run: Run) -> dict[Key, Line]:
    """What is answered already: journals of any number of processes, and a finished answers file."""
    lines: dict[Key, Line] = {}
    if (run.folder / runs.ANSWERS).exists():
        for row in run.answers().itertuples(index=False):
            fields: Any = row
            error: Any = fields.error if isinstance(fields.error, str) else None
            answer = Answer(
                fields.sample_id,
                fields.question_id,
                fields.text,
                int(fields.tokens),
                error,
                bool(fields.truncated),
                int(fields.thinking_tokens),
                _whole_number(getattr(fields, "input_tokens", None)),
                _words(getattr(fields, "reason", None)),
                _words(getattr(fields, "guard", None)),
            )
            lines[answer.sample_id, answer.question_id] = Line(answer, float(fields.seconds))
    for path in _journals(run.folder):
        for line in read(path)[0]:
            lines[line.answer.sample_id, line.answer.question_id] = line
    return lines


def _whole_number(cell: Any) -> int:
    return 0 if cell is None or cell != cell else int(cell)


def _words(cell: Any) -> str:
    return cell if isinstance(cell, str) else ""


def _answer(vlm: VLM, layout: Plan, processes: World, progress: Progress | None) -> int:
    """Answer this process's share of the batches; returns how often memory halved one."""
    lines = _written(layout.run)
    done = {key for key, line in lines.items() if line.answer.error in (None, REFUSAL)}
    mine = [batch for batch in layout.batches if batch.group % processes.size == processes.rank]
    total = sum(len(batch.items) for batch in mine)
    answered = sum((sample.id, question.id) in done for batch in mine for sample, question in batch.items)
    if progress:
        progress(answered, total)
    journal = Journal(layout.run.folder / f"answers-{processes.rank}.jsonl")
    halvings = 0
    try:
        with closing(_come(vlm, mine, done)) as groups:
            for answers, seconds, halved in groups:
                halvings += halved
                journal.append(Line(answer, seconds) for answer in answers)
                answered += len(answers)
                if progress:
                    progress(answered, total)
    finally:
        journal.close()
    return halvings


def _come(
    vlm: VLM, batches: Sequence[Batch], done: Set[Key]
) -> Generator[tuple[list[Answer], float, int], None, None]:
    """New answers as they come, each time with the seconds of each and how often memory halved a batch."""
    if isinstance(vlm, StreamingVLM):
        items = [(s, q) for batch in batches for s, q in batch.items if (s.id, q.id) not in done]
        begin = time.perf_counter()
        with closing(vlm.answer_stream(items)) as groups:
            for answers in groups:
                now = time.perf_counter()
                yield answers, (now - begin) / len(answers), 0
                begin = now
        return
    for batch in batches:
        if all((sample.id, question.id) in done for sample, question in batch.items):
            continue
        begin = time.perf_counter()
        answers, halved = _answer_or_halve(vlm, batch)
        seconds = (time.perf_counter() - begin) / len(batch.items)
        yield [a for a in answers if (a.sample_id, a.question_id) not in done], seconds, halved


def _answer_or_halve(vlm: VLM, batch: Batch) -> tuple[list[Answer], int]:
    """Answer a batch; halve it as often as memory demands, down to one typed error."""
    try:
        return vlm.answer(batch), 0
    except OutOfMemoryError:
        if len(batch.items) == 1:
            sample, question = batch.items[0]
            return [Answer(sample.id, question.id, "", 0, "out_of_memory")], 0
    middle = len(batch.items) // 2
    left, n_left = _answer_or_halve(vlm, Batch(batch.index, batch.group, batch.items[:middle]))
    right, n_right = _answer_or_halve(vlm, Batch(batch.index, batch.group, batch.items[middle:]))
    return left + right, 1 + n_left + n_right


def _write_answers(run: Run, layout: Plan, track: Track) -> None:
    lines = _written(run)
    concepts = {concept.id: concept for concept in track.concepts}
    rows: list[dict[str, Any]] = []
    for sample, question in _asked(layout.samples):
        line = lines.get((sample.id, question.id))
        if line is None:
            raise StoreError(
                f"{run.folder} lacks the answer to {question.id} on {sample.id}; start the same command again"
            )
        rows.append(answer_row(question, concepts[question.concept_id], line.answer, line.seconds))
    run.write_answers(rows)


def answer_row(question: Question, concept: Concept, answer: Answer, seconds: float) -> dict[str, Any]:
    """A row of `answers.parquet`: the question beside its answer."""
    return {
        "sample_id": answer.sample_id,
        "question_id": question.id,
        "kind": question.kind,
        "template": question.template,
        "concept_id": concept.id,
        "category_id": concept.category,
        "unsafe": concept.unsafe,
        "expected": question.expected,
        "options": list(question.options),
        "context": question.context,
        "prompt": question.text,
        "text": answer.text,
        "tokens": answer.tokens,
        "error": answer.error,
        "truncated": answer.truncated,
        "thinking_tokens": answer.thinking_tokens,
        "input_tokens": answer.input_tokens or None,
        "reason": answer.reason,
        "guard": answer.guard,
        "seconds": seconds,
    }


def _asked(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Question]]:
    for sample in samples:
        for question in sample.questions:
            yield sample, question
