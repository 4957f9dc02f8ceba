"""The contract of `align-report.json`: what alignment did to a model, method by method.

Scores have the keys of `ucbench.metrics.keys`, and three more from the alignment experiment of the paper
(`ucbench.align.accuracy`). `before` is the original model in each method; of `original` itself before and
after are the same.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ucbench.align.settings import Method
from ucbench.errors import StoreError
from ucbench.record import Frozen, JudgeRef, ScoreMap, TrackRef

SCHEMA_VERSION = 1
#: The report's name in a store.
REPORT = "align-report.json"
#: The rows that no training made.
ORIGINAL: Literal["original"] = "original"
SAFETY_PROMPT: Literal["safety_prompt"] = "safety_prompt"
#: The trained ones, in the paper's order; ours come last.
TRAINED: tuple[Method, ...] = ("sft", "dpo", "ppo", "grpo", "rloo")
MethodName = Literal["original", "safety_prompt", "sft", "dpo", "ppo", "grpo", "rloo"]


class BeforeAfter(Frozen):
    """The same scores of the original and of the method."""

    before: ScoreMap = Field(default_factory=dict)
    after: ScoreMap = Field(default_factory=dict)


class Diversity(Frozen):
    """1-SelfBLEU of `n` answers, or its mean over `questions` sets of `n`; it falls as `n` grows."""

    value: float | None
    n: int
    questions: int = 1


class DiversityPair(Frozen):
    """Diversity of the original and of the method."""

    before: Diversity
    after: Diversity


class Length(Frozen):
    """Mean number of tokens in the answers to the image alignment questions."""

    greedy: float | None
    sampled: float | None


class LengthPair(Frozen):
    """Answer length of the original and of the method."""

    before: Length
    after: Length


class SecondJudge(BeforeAfter):
    """The same answers read by another judge."""

    id: str
    held_out: BeforeAfter = BeforeAfter()


class Example(Frozen):
    """One image alignment question with both answers; a label of None is a system error."""

    sample_id: str
    question_id: str
    concept_id: str
    prompt: str
    expected: str
    before: str
    before_label: str | None
    after: str
    after_label: str | None


class Training(Frozen):
    """How an adapter came about; `curve` has a row of metrics a step, thinned."""

    preset: str
    steps: int
    answers: int
    minutes: float
    trainable_parameters: int
    rewarding_judge: str | None = None
    settings: dict[str, Any]
    curve: tuple[dict[str, float | None], ...] = ()


class Outcome(BeforeAfter):
    """One model beside the original."""

    entry: str = Field(description="Model and adapter as on the board.")
    run_id: str = Field(description="The greedy run behind the scores, in the report's store.")
    by_category: dict[str, BeforeAfter] = Field(default_factory=dict)
    held_out: BeforeAfter = BeforeAfter()
    diversity: DiversityPair
    diversity_sampled: DiversityPair
    answer_length: LengthPair
    second_judge: SecondJudge | None = None
    training: Training | None = None


class MethodReport(Outcome):
    """A method; of several seeds, the lowest one speaks for it and `seeds` has them all."""

    seeds: dict[str, Outcome] = Field(default_factory=dict)
    examples: tuple[Example, ...] = ()


class ReportedFigures(Frozen):
    """Figures of others, as their source prints them."""

    alignment_accuracy: float | None = None
    diversity: float | None = None
    general_ability: float | None = None


class Reported(Frozen):
    """Reference rows that were not measured here."""

    source: str
    model: str
    methods: dict[str, ReportedFigures]


class AlignReport(Frozen):
    """Original, safety prompt and trained methods on one track."""

    schema_version: int = SCHEMA_VERSION
    model: str
    revision: str | None
    dtype: str | None
    track: TrackRef
    judge: JudgeRef
    second_judge: JudgeRef | None
    max_new_tokens: int
    safety_prompt: str
    accuracy_images: int = Field(description="Images of the experiment: unsafe, then at most as many safe.")
    absent: dict[str, str] = Field(
        default_factory=dict, description="Rows that could not be measured, and why."
    )
    created_at: datetime
    code_version: str
    code_revision: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, str] = Field(default_factory=dict)
    methods: dict[MethodName, MethodReport]
    reported: Reported

    def to_json(self) -> str:
        """The canonical text of `align-report.json`."""
        return self.model_dump_json(indent=1) + "\n"


#: What two reports must share for their rows to stand in one table.
_COMMON = ("model", "revision", "dtype", "track", "judge", "second_judge", "max_new_tokens")


def joined(own: AlignReport, published: AlignReport) -> AlignReport:
    """`own` with the methods that only `published` has, when both asked one model the same questions."""
    if any(getattr(own, field) != getattr(published, field) for field in _COMMON):
        return own
    both = {**published.methods, **own.methods}
    order = (ORIGINAL, SAFETY_PROMPT, *TRAINED)
    absent = {name: why for name, why in own.absent.items() if name not in both}
    return own.model_copy(
        update={"methods": {name: both[name] for name in order if name in both}, "absent": absent}
    )


def read(path: Path) -> AlignReport:
    """A report from its file. Raises `StoreError`."""
    try:
        return AlignReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise StoreError(
            f"{path} does not fit the schema at {where} ({first['msg']}); "
            "make it anew with ucbench align-report"
        ) from error
