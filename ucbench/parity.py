"""Whether the fast ways of asking a model give the answers of the slow one.

The same questions are asked three times: one at a time and in left-padded batches, both by transformers'
`generate` on whole prompts, and by the local engine, which shares what it can. All three decode greedily.
In exact arithmetic their answers are the same; in fp32 nearly always; in bf16 sums that are added in another
order turn near ties round. What that changes is measured here: tokens, verdicts, scores.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ucbench import __version__, provenance
from ucbench import evaluate as engine
from ucbench.errors import StoreError, UcbenchError
from ucbench.files import write_text
from ucbench.judges.base import reference
from ucbench.metrics.parts import TEXT_KINDS
from ucbench.models.base import OutOfMemoryError
from ucbench.models.local import LocalVLM
from ucbench.record import Entry, Frozen, JudgeRef, TrackRef, run_id
from ucbench.runs import Run
from ucbench.tracks.scoring import check_judge, scoring
from ucbench.types import Question, Sample, Split

if TYPE_CHECKING:
    from torch import Tensor

    from ucbench.judges.base import Judge
    from ucbench.tracks.base import Track

FILE = "parity.json"
SCHEMA_VERSION = 1

ONE_AT_A_TIME, BATCHED, ENGINE = "one_at_a_time", "batched", "engine"
#: Differences whose logits are looked up, for each pair: each costs one more answer.
MARGINS = 32

Key = tuple[str, str]
Item = tuple[Sample, Question]
#: Called with (answers so far, all answers of all ways).
Progress = Callable[[int, int], None]


class Way(Frozen):
    """One way of asking: `one_at_a_time`, `batched`, and what the engine shares: `shared_prefix`,
    `shared_vision`, or nothing (`engine`).

    `seconds` is everything from the picture to the answer's tokens, `tokens` what was generated. `scores` are
    the overall scores of these answers alone, by their key.
    """

    name: str
    batch_size: int
    seconds: float
    tokens: int
    scores: dict[str, float | None]


class Difference(Frozen):
    """An answer that differs: `token` is the place of the first other token, from 0.

    `margin` is how far apart the two tokens' logits are there, one at a time; None where it was not looked
    up. `flipped` says that the judge read the two answers differently.
    """

    sample_id: str
    question_id: str
    token: int
    margin: float | None
    flipped: bool


class Pair(Frozen):
    """Two ways of asking compared over `n` answers.

    `identical` answers agree in every token; `token_agreement` is the share of the first way's tokens before
    the first difference; `flips` counts verdicts that differ; `score_changes` is second minus first.
    """

    first: str
    second: str
    n: int
    identical: int
    token_agreement: float
    flips: int
    score_changes: dict[str, float | None]
    differences: tuple[Difference, ...]

    @property
    def median_token(self) -> float | None:
        """The middle place of the first differing token."""
        return statistics.median(d.token for d in self.differences) if self.differences else None

    @property
    def median_margin(self) -> float | None:
        """The middle distance of the two logits where answers part."""
        known = [d.margin for d in self.differences if d.margin is not None]
        return statistics.median(known) if known else None


class Parity(Frozen):
    """What `ucbench parity` found; `parity.json` beside the record of the same entry on the same track."""

    schema_version: int = SCHEMA_VERSION
    entry: Entry
    track: TrackRef
    judge: JudgeRef
    code_version: str
    code_revision: str | None
    packages: dict[str, str]
    hardware: dict[str, str]
    measured_at: datetime
    ways: tuple[Way, ...]
    pairs: tuple[Pair, ...]


def load(run: Run) -> Parity | None:
    """The parity measured for a run, if it was. Raises `StoreError` for a file of another schema."""
    path = run.folder / FILE
    if not path.is_file():
        return None
    try:
        return Parity.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(f"{path} is damaged; measure it again with `ucbench parity`") from error


def parity(
    vlm: LocalVLM,
    track: Track,
    judge: Judge,
    *,
    out: Path,
    n: int = 50,
    split: Split | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> tuple[Parity, Path]:
    """Ask `n` pictures' questions in every way, compare, and write `parity.json` where the run's record is.

    The pictures are spread over the concepts, with all their questions; of the questions in words at most
    `n` are asked. Returns what was found and the file. Raises `UcbenchError` for sampled decoding, a picture
    that cannot be read, and a batch that does not fit into memory.
    """
    if vlm.entry.decoding.temperature:
        raise UcbenchError("parity compares greedy answers; leave the temperature at 0")
    check_judge(track.id, judge)
    split = engine.choose_split(vlm.entry, track, split)
    _, whole = engine.choose_samples(track, split)
    samples, asked_track = engine.choose_samples(track, split, limit=n)
    samples = _fewer_in_words(samples, n)
    n_questions = sum(len(sample.questions) for sample in samples)
    asked_track = asked_track.model_copy(update={"n_samples": len(samples), "n_questions": n_questions})
    run = Run(out / vlm.entry.slug / run_id(vlm.entry, whole, engine.ENGINE_VERSION))

    plain = _Plain(vlm)
    fast = ENGINE if vlm.engine_path in (ONE_AT_A_TIME, BATCHED) else vlm.engine_path
    items = [(sample, question) for sample in samples for question in sample.questions]
    plain.ask(items[:1])  # what is made once, such as kernels, is in nobody's time
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    ask: dict[str, Callable[[], Iterator[dict[Key, list[int]]]]] = {
        ONE_AT_A_TIME: lambda: plain.in_batches([[item] for item in items]),
        BATCHED: lambda: plain.in_batches(batches),
        fast: lambda: _by_engine(vlm, samples, batch_size),
    }
    asked = {
        name: _timed(answers, progress, place * len(items), len(ask) * len(items))
        for place, (name, answers) in enumerate(ask.items())
    }
    read = {name: _read(vlm, track, judge, items, way.tokens) for name, way in asked.items()}
    ways = tuple(
        Way(
            name=name,
            batch_size=1 if name == ONE_AT_A_TIME else batch_size,
            seconds=round(way.seconds, 3),
            tokens=sum(map(len, way.tokens.values())),
            scores=read[name].scores,
        )
        for name, way in asked.items()
    )
    names = list(asked)
    pairs = tuple(
        _compare(first, second, items, asked, read, plain)
        for place, first in enumerate(names)
        for second in names[place + 1 :]
    )
    found = Parity(
        entry=vlm.entry,
        track=asked_track,
        judge=reference(judge),
        code_version=__version__,
        code_revision=provenance.code_revision(),
        packages=provenance.packages(),
        hardware=provenance.hardware(vlm.device),
        measured_at=datetime.now(UTC),
        ways=ways,
        pairs=pairs,
    )
    path = run.folder / FILE
    write_text(path, found.model_dump_json(indent=1) + "\n")
    return found, path


@dataclass(frozen=True, slots=True)
class _Asked:
    """New tokens by question, the end token included, and the seconds they took."""

    tokens: dict[Key, list[int]]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Read:
    """Verdict labels by question, and the overall scores."""

    labels: dict[Key, str | None]
    scores: dict[str, float | None]


def _fewer_in_words(samples: Sequence[Sample], n: int) -> list[Sample]:
    """At most `n` questions in words, at even distances: one blank picture carries those of all concepts."""
    total = sum(question.kind in TEXT_KINDS for sample in samples for question in sample.questions)
    kept = {i * total // n for i in range(n)} if total > n else set(range(total))
    fewer, place = [], 0
    for sample in samples:
        questions = []
        for question in sample.questions:
            if question.kind in TEXT_KINDS:
                place += 1
                if place - 1 not in kept:
                    continue
            questions.append(question)
        if questions:
            fewer.append(replace(sample, questions=tuple(questions)))
    return fewer


class _Plain:
    """transformers' own `generate` on whole prompts, padded on the left: nothing shared, nothing kept."""

    def __init__(self, vlm: LocalVLM) -> None:
        self._vlm = vlm

    def ask(self, items: Sequence[Item]) -> list[list[int]]:
        """The new tokens of each question, all asked as one batch."""
        with self._vlm.alone():
            ids, output = self._generate(items)
        return [self._vlm.cut(row) for row in _new(ids, output.sequences).tolist()]

    def in_batches(self, batches: Sequence[Sequence[Item]]) -> Iterator[dict[Key, list[int]]]:
        """The new tokens of every question, batch by batch."""
        for batch in batches:
            yield dict(zip(map(_key, batch), self.ask(batch), strict=True))

    def margin(self, item: Item, step: int, first: int, second: int) -> float:
        """How far apart the logits of two tokens are at a step of the answer, asked alone."""
        with self._vlm.alone():
            _, output = self._generate([item], max_new_tokens=step + 1, output_logits=True)
        logits = output.logits[step][0].float()
        return abs(float(logits[first] - logits[second]))

    def _generate(self, items: Sequence[Item], **options: Any) -> tuple[Tensor, Any]:
        vlm = self._vlm
        inputs = vlm.whole_inputs(items)
        output = vlm.model.generate(**inputs, return_dict_in_generate=True, **options)
        return inputs["input_ids"], output


def _new(ids: Tensor, sequences: Tensor) -> Tensor:
    """Sequences without the prompt, which most architectures repeat before the answer."""
    length = ids.shape[1]
    repeats = sequences.shape[1] >= length and bool((sequences[:, :length] == ids).all())
    return sequences[:, length:] if repeats else sequences


def _timed(
    ask: Callable[[], Iterator[dict[Key, list[int]]]], progress: Progress | None, before: int, total: int
) -> _Asked:
    tokens: dict[Key, list[int]] = {}
    begin = time.perf_counter()
    try:
        for answers in ask():
            tokens |= answers
            if progress:
                progress(before + len(tokens), total)
    except OutOfMemoryError as error:
        raise UcbenchError("so many answers at once do not fit into memory; lower --batch-size") from error
    return _Asked(tokens, time.perf_counter() - begin)


def _by_engine(vlm: LocalVLM, samples: Sequence[Sample], batch_size: int) -> Iterator[dict[Key, list[int]]]:
    tokens: dict[Key, list[int]] = {}
    vlm.on_tokens = lambda sample, question, new: tokens.update({(sample.id, question.id): new})
    try:
        for batch in vlm.plan(samples, batch_size):
            tokens.clear()
            failed = [answer for answer in vlm.answer(batch) if answer.error]
            if failed:
                raise UcbenchError(f"the picture of {failed[0].sample_id} cannot be read; mend it first")
            yield dict(tokens)
    finally:
        vlm.on_tokens = None


def _read(
    vlm: LocalVLM, track: Track, judge: Judge, items: Sequence[Item], tokens: dict[Key, list[int]]
) -> _Read:
    """Judge and score one way's answers, as those of a run."""
    from ucbench.metrics.scores import score_run

    concepts = {concept.id: concept for concept in track.concepts}
    own = scoring(track.id)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(Path(scratch))
        run.write_answers(
            [
                engine.answer_row(
                    item[1], concepts[item[1].concept_id], vlm.read(*item, tokens[_key(item)]), 0.0
                )
                for item in items
            ]
        )
        engine.judge_answers(run, judge)
        frame = run.frame(judge.id)
    # Only the values are told, so the intervals need no resamples worth the name.
    scores = score_run(frame, extra=own.extra, clusters=own.clusters, resamples=2).overall
    labels = zip(frame["sample_id"], frame["question_id"], frame["label"], strict=True)
    return _Read(
        {(sample, question): label for sample, question, label in labels},
        {key: score.value for key, score in scores.items()},
    )


def _compare(
    first: str,
    second: str,
    items: Sequence[Item],
    asked: dict[str, _Asked],
    read: dict[str, _Read],
    plain: _Plain,
) -> Pair:
    left, right, alone = asked[first].tokens, asked[second].tokens, asked[ONE_AT_A_TIME].tokens
    differences: list[Difference] = []
    agreeing = 0
    for item in items:
        key = _key(item)
        place = _first_difference(left[key], right[key])
        agreeing += len(left[key]) if place is None else place
        if place is None:
            continue
        margin = None
        # Looked up where the answer asked alone came the same way.
        ways = left[key][: place + 1], right[key][: place + 1]
        if len(differences) < MARGINS and all(
            len(w) > place and w[:place] == alone[key][:place] for w in ways
        ):
            margin = plain.margin(item, place, ways[0][place], ways[1][place])
        flipped = read[first].labels[key] != read[second].labels[key]
        differences.append(
            Difference(sample_id=key[0], question_id=key[1], token=place, margin=margin, flipped=flipped)
        )
    before, after = read[first].scores, read[second].scores
    changes: dict[str, float | None] = {}
    for name, value in before.items():
        other = after[name]
        changes[name] = None if value is None or other is None else round(other - value, 9)
    return Pair(
        first=first,
        second=second,
        n=len(items),
        identical=len(items) - len(differences),
        token_agreement=agreeing / max(1, sum(map(len, left.values()))),
        flips=sum(read[first].labels[key] != read[second].labels[key] for key in read[first].labels),
        score_changes=changes,
        differences=tuple(differences),
    )


def _first_difference(left: Sequence[int], right: Sequence[int]) -> int | None:
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return None if len(left) == len(right) else min(len(left), len(right))


def _key(item: Item) -> Key:
    return item[0].id, item[1].id
