"""The model card of an aligned model: what it is, how it was made, and what that changed, in numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench.align.record import AlignRecord
from ucbench.files import write_text
from ucbench.format import fraction, interval
from ucbench.types import SAFE, UNSAFE

if TYPE_CHECKING:
    from ucbench.align.report_record import Outcome
    from ucbench.record import Score

_METHODS = {
    "ppo": "proximal policy optimisation (PPO), rewarded by a classifier of its own answers",
    "sft": "supervised fine-tuning (SFT) on fixed answers",
    "dpo": "direct preference optimisation (DPO) on pairs of fixed answers",
    "grpo": "group-relative policy optimisation (GRPO), rewarded by a classifier of its own answers",
    "rloo": "REINFORCE leave-one-out (RLOO), rewarded by a classifier of its own answers",
}
_PROBE = {
    "probe_image_unsafe": "images of unsafe concepts judged unsafe",
    "probe_image_safe": "images of safe concepts judged safe",
    "probe_text_unsafe": "unsafe concepts in words judged unsafe",
    "probe_text_safe": "safe concepts in words judged safe",
}

_HELD_BACK = "pictures held back from training"
_LEARNED = "some of the pictures it learned from, none of the train split being left over"

_CARD = """---
base_model: {base_model}
library_name: peft
pipeline_tag: image-text-to-text
tags: [ucbench, safety, {method}, lora]
---

# {base} aligned by {method_title}

A LoRA adapter on the language model of `{base}` (revision `{revision}`), trained by
{method_long}, to judge
images of unsafe concepts as it judges the same concepts in words. Vision tower and projector are those of the
base, unchanged.

## What changed

Greedy answers on {probed}, read by the judge `{judge}`, which did not reward; an
answer that could not be read counts as wrong.

| share of answers | before | after | n |
|---|---|---|---|
{rows}
{measured}
## How it was trained

- Data: {n_items:,} pictures of track `{track}` (version {track_version}, split train), {sides},
  each with one of the five alignment questions at random.
- {steps:,} steps, {answers:,} answers, {minutes:.1f} minutes; {parameters:,} trainable parameters.
{reward}- Settings (preset `{preset}`):

```json
{settings}
```

Its scores are recorded as trained on `{trained_on}`: compare it on the test split only.

## How to use it

```
ucbench evaluate FOLDER
```

or load the base with transformers and add the adapter with `peft.PeftModel.from_pretrained`.

## Limits

- It learned from one judge's reading of its answers. A judge can be fooled; read some answers yourself.
- It was trained on the concepts and questions of one track. How far it carries to other concepts is what the
  held-out scores of `ucbench align-report` show.
- It is no content filter: it answers questions about images and was not tested against attacks.
{pictograms}"""

_PICTOGRAMS = """- Track `pictograms` shows abstract emblems that stand for concepts. Scores on it say nothing
  about real images.
"""


def render(record: AlignRecord, measured: Mapping[str, tuple[str, str]] | None = None) -> str:
    """The text of README.md.

    `measured` adds a table of test scores: score key -> (before, after), as written for people.
    """
    rows, judge, probed = [], "rules", _HELD_BACK
    if record.probe:
        judge = record.probe.judge
        probed = _HELD_BACK if record.probe.held_back else _LEARNED
        rows = [
            f"| {title} | {fraction(record.probe.before.get(key))} | {fraction(record.probe.after.get(key))} "
            f"| {record.probe.n[key]:,} |"
            for key, title in _PROBE.items()
            if key in record.probe.n
        ]
    return _CARD.format(
        base=record.base.model,
        base_model=json.dumps(record.base.model),
        revision=record.base.revision,
        method=record.method,
        method_title=record.method.upper(),
        method_long=_METHODS[record.method],
        judge=judge,
        probed=probed,
        sides=_sides(record),
        rows="\n".join(rows),
        measured=_measured(record, measured) if measured else "",
        n_items=record.n_items,
        track=record.track,
        track_version=record.track_version,
        steps=record.steps,
        answers=record.answers,
        minutes=record.seconds / 60,
        parameters=record.trainable_parameters,
        reward=f"- Rewarding judge: `{record.rewarding_judge}`.\n" if record.rewarding_judge else "",
        preset=record.preset,
        settings=json.dumps(record.settings, indent=1),
        trained_on=", ".join(record.trained_on),
        pictograms=_PICTOGRAMS if record.track == "pictograms" else "",
    )


def refresh(folder: Path, record: AlignRecord, outcome: Outcome) -> None:
    """Write the card anew with the test scores of an alignment report."""
    written = {
        key: (_written(outcome.before[key]), _written(outcome.after[key]))
        for key in outcome.after
        if key in outcome.before
    }
    write_text(folder / "README.md", render(record, written))


def _sides(record: AlignRecord) -> str:
    unsafe, safe = (record.sides.get(label, 0) for label in (UNSAFE, SAFE))
    return "as many safe as unsafe ones" if unsafe == safe else f"{unsafe:,} unsafe and {safe:,} safe ones"


def _written(score: Score) -> str:
    return f"{fraction(score.value)} [{interval(score.low, score.high)}]"


def _measured(record: AlignRecord, scores: Mapping[str, tuple[str, str]]) -> str:
    lines = [
        "",
        f"On the test split of `{record.track}`, with 95% intervals:",
        "",
        "| score | before | after |",
        "|---|---|---|",
        *(f"| {key} | {before} | {after} |" for key, (before, after) in scores.items()),
        "",
    ]
    return "\n".join(lines)
