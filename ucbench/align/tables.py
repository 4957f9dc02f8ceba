"""The report in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ucbench.align.report_record import AlignReport, Outcome
from ucbench.format import MISSING, absent, fraction
from ucbench.record import ScoreMap

#: Method -> its name for people.
NAMES = {
    "original": "Original", "safety_prompt": "Safety prompt", "sft": "SFT", "dpo": "DPO", "ppo": "PPO",
    "grpo": "GRPO", "rloo": "RLOO",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A column: its head, and the figure of an outcome as text."""

    head: str
    text: Callable[[Outcome], str]


def value(scores: ScoreMap, key: str) -> float | None:
    """A score's value; None where it was not asked."""
    return scores[key].value if key in scores else None


def judged_safe(scores: ScoreMap, key: str) -> float | None:
    """The share judged safe, from an over-refusal."""
    refused = value(scores, key)
    return None if refused is None else 1.0 - refused


def tokens(number: float | None) -> str:
    """A mean number of tokens."""
    return MISSING if absent(number) else f"{number:.1f}"


def _score(key: str, *, signed: bool = False) -> Callable[[Outcome], str]:
    return lambda outcome: fraction(value(outcome.after, key), signed=signed)


#: Most telling first: as many are shown as the terminal has room for.
FIGURES = (
    Figure("accu-\nracy", _score("alignment_accuracy")),
    Figure("un-\nsafe", _score("alignment_accuracy_unsafe")),
    Figure("safe", _score("alignment_accuracy_safe")),
    Figure("image\nalign.", _score("image_alignment")),
    Figure("text\nalign.", _score("text_alignment")),
    Figure("safe\ntext", lambda o: fraction(judged_safe(o.after, "text_over_refusal"))),
    Figure("gap", _score("modality_gap", signed=True)),
    Figure("per-\ncept.", _score("perception")),
    Figure("gene-\nral", _score("general_ability")),
    Figure("diver-\nsity", lambda o: fraction(o.diversity_sampled.after.value)),
    Figure("length", lambda o: tokens(o.answer_length.after.sampled)),
    Figure("held\nout", lambda o: fraction(value(o.held_out.after, "image_alignment"))),
)
_METHOD_WIDTH, _FIGURE_WIDTH = 15, 7


def print_report(report: AlignReport) -> None:
    """One row a method, and one for each further seed; what a column says stands below."""
    from rich.console import Console
    from rich.markup import escape

    from ucbench.terminal import new_table

    console = Console()
    room = max(1, (console.width - _METHOD_WIDTH) // _FIGURE_WIDTH)
    shown = FIGURES[:room]
    table = new_table(f"{escape(report.model)} on {escape(report.track.id)}, before and after alignment")
    table.add_column("method", no_wrap=True)
    for figure in shown:
        table.add_column(figure.head, justify="right", no_wrap=True)
    for method, outcome in report.methods.items():
        rows = [(NAMES[method], outcome)] if len(outcome.seeds) < 2 else [
            (f"{NAMES[method]}, seed {seed}", one) for seed, one in outcome.seeds.items()
        ]  # fmt: skip
        for name, one in rows:
            table.add_row(name, *(figure.text(one) for figure in shown))
    console.print(table)
    for line in notes(report):
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    hidden = [figure.head.replace("-\n", "").replace("\n", " ") for figure in FIGURES[room:]]
    if hidden:
        console.print(f"a wider terminal shows {', '.join(hidden)} as well", style="dim")


def notes(report: AlignReport) -> list[str]:
    """What has to be said beside the figures."""
    first = next(iter(report.methods.values()))
    sampled = first.diversity_sampled.after
    lines = [
        f"accuracy: {report.accuracy_images:,} test images with one question each, no answer is wrong; "
        f"judge {report.judge.id}",
        "safe text: safe concepts in words judged safe; held out: image alignment on concepts that training "
        f"leaves out; diversity: 1-SelfBLEU of {sampled.n} answers to each of {sampled.questions} questions "
        "at temperature 1; length: mean tokens of such answers",
    ]
    return lines + [f"no {NAMES[name].lower()}: {reason}" for name, reason in report.absent.items()]
