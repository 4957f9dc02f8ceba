"""The data contract of a run: one entry on one track. Everything published validates against it.

Scores are fractions in [0, 1], gaps in [-1, 1], never percentages. `scores.overall.<key>`,
`scores.by_category.<id>.<key>`, `scores.by_concept.<id>.<key>`, `scores.by_question.<template>.<key>`,
`scores.by_subset.<name>.<key>`.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ucbench.types import Split

SCHEMA_VERSION = 1
Provenance = Literal["measured", "self-reported", "imported", "reported"]


class Frozen(BaseModel):
    """Immutable and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Decoding(Frozen):
    """How an answer is drawn from the model. `temperature` 0 is greedy."""

    temperature: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(512, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)


class Entry(Frozen):
    """What is ranked: everything about the model that could change an answer.

    `template` names a chat template of ours (`llava_v1`), `attention` an implementation that was chosen,
    `max_pixels` bounds the size of pictures; None is the model's own. `guard` marks a guard model: the name
    of the format it is asked in with a digest of its prompts and policies (see models/guards).
    """

    model: str
    revision: str | None = None
    dtype: str | None = None
    adapter: str | None = None
    system_prompt: str | None = None
    template: str | None = None
    attention: str | None = None
    max_pixels: int | None = Field(None, ge=1)
    guard: str | None = None
    decoding: Decoding = Field(default_factory=Decoding)
    trained_on: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The entry's folder name."""
        parts = [self.model, self.adapter or ""]
        text = "--".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.") for part in parts if part)
        return text.lower() or "model"


class TrackRef(Frozen):
    """Which questions were asked."""

    id: str
    version: str
    split: Split = "test"
    draw: int = Field(0, ge=0, lt=2**31)
    limit: int | None = None
    n_samples: int = 0
    n_questions: int = 0


class JudgeRef(Frozen):
    """Who read the answers. `id` carries the judge's version.

    `revision` names the Hub commits of its weights, comma-separated, where they came from the Hub.
    """

    id: str
    name: str
    digest: str | None = None
    revision: str | None = None


class Score(Frozen):
    """A number with its 95% interval; `value` is None when nothing was answered.

    `n_items` counts the answers behind it (pairs of them where pairs are scored), `n_clusters` the
    independent units (concepts, or images within a concept), `coverage` the share of asked questions that
    were answered with a label. In a `reported` record without a value, low and high are the range its source
    gives for several models.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n_items: int = 0
    n_clusters: int = 0
    coverage: float | None = None


ScoreMap = dict[str, Score]


class Scores(Frozen):
    """All scores of a run."""

    overall: ScoreMap = {}
    by_category: dict[str, ScoreMap] = {}
    by_concept: dict[str, ScoreMap] = {}
    by_question: dict[str, ScoreMap] = {}
    by_subset: dict[str, ScoreMap] = {}


class Counts(Frozen):
    """What became of the questions. The three kinds of non-answer are kept apart.

    `verdicts`: how many verdicts of a guard stand for all those answers; None for other models.
    """

    questions: int = 0
    answered: int = 0
    na: int = 0
    provider_refusals: int = 0
    errors: dict[str, int] = {}
    truncated: int = 0
    perception_read_by: dict[str, int] = {}
    rated_by: dict[str, int] = {}
    verdicts: int | None = None


class Engine(Frozen):
    """How the answers were computed; none of it may change them.

    `model_type` (of its config.json) and `parameters` are those of the checkpoint that was loaded, the
    base's where an adapter was put on it; None where the weights were not here.
    """

    path: str = "unknown"
    model_type: str | None = None
    parameters: int | None = Field(None, gt=0)
    batch_size: int | None = None
    processes: int = 1
    out_of_memory_halvings: int = 0
    notes: tuple[str, ...] = ()


class Usage(Frozen):
    """Tokens that a service counted for the answers of a run, and what they cost at the prices given.

    Prices are for a million tokens, in the currency of whoever gave them. `output_tokens` include
    `thinking_tokens`. What failed requests cost is not known to anybody here.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    price_input: float | None = None
    price_output: float | None = None
    cost: float | None = None


class RunRecord(Frozen):
    """One entry on one track, judged by one judge."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    entry: Entry
    track: TrackRef
    judge: JudgeRef | None
    code_version: str
    code_revision: str | None = None
    packages: dict[str, str] = {}
    hardware: dict[str, str] = {}
    engine: Engine = Engine()
    usage: Usage | None = None
    started_at: datetime | None = None
    seconds: float | None = None
    status: Literal["complete", "incomplete", "partial"] = "complete"
    provenance: Provenance = "measured"
    source: str | None = None
    counts: Counts = Counts()
    scores: Scores = Scores()

    def to_json(self) -> str:
        """The canonical text of `record.json`."""
        return self.model_dump_json(indent=1) + "\n"


#: Options of an entry that came after the first records.
_LATER = ("template", "attention", "max_pixels", "guard")


def run_id(entry: Entry, track: TrackRef, engine_version: str) -> str:
    """Hash of everything that could change an answer (16 hex digits).

    Batch size, process count and hardware are left out: they must not change one. So are options that
    were not chosen, as far as records existed before them.
    """
    unchosen = {option for option in _LATER if getattr(entry, option) is None}
    content: dict[str, Any] = {
        "entry": entry.model_dump(mode="json", exclude=unchosen),
        "track": track.model_dump(mode="json", exclude={"n_samples", "n_questions"}),
        "engine": engine_version,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
