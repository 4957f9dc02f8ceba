"""The report in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ucbench.align.report_record import ORIGINAL, AlignReport, Outcome
from ucbench.format import MISSING, absent, fraction
from ucbench.record import ScoreMap

#: Method -> its name for people.
NAMES = {
    "original": "Original", "safety_prompt": "Safety prompt", "sft": "SFT", "dpo": "DPO", "ppo": "PPO",
    "grpo": "GRPO", "rloo": "RLOO",
}  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class _Row:
    """A method's row: what one judge read in its answers, and what no judge is needed for."""

    name: str
    after: ScoreMap
    held_out: ScoreMap
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Figure:
    """A column: its head, and the figure of a row as text."""

    head: str
    text: Callable[[_Row], str]


def _score(key: str, *, signed: bool = False) -> Callable[[_Row], str]:
    return lambda row: fraction(value(row.after, key), signed=signed)


#: Most telling first: as many are shown as the terminal has room for.
_FIGURES = (
    _Figure("all", _score("alignment_accuracy")),
    _Figure("unsafe", _score("alignment_accuracy_unsafe")),
    _Figure("safe", _score("alignment_accuracy_safe")),
    _Figure("image", _score("image_alignment")),
    _Figure("words", _score("text_alignment")),
    _Figure("gap", _score("modality_gap", signed=True)),
    _Figure("safe\nwords", lambda row: fraction(judged_safe(row.after, "text_over_refusal"))),
    _Figure("perc.", _score("perception")),
    _Figure("gen.", _score("general_ability")),
    _Figure("div.", lambda row: fraction(row.outcome.diversity_sampled.after.value)),
    _Figure("len.", lambda row: tokens(row.outcome.answer_length.after.sampled)),
    _Figure("held\nout", lambda row: fraction(value(row.held_out, "image_alignment"))),
)
_METHOD_WIDTH, _FIGURE_WIDTH = 15, 7


def print_report(report: AlignReport) -> None:
    """A table a judge: one row a method, and one for each further seed; what a column says stands below."""
    from rich.console import Console
    from rich.markup import escape

    from ucbench.terminal import new_table

    console = Console()
    room = max(1, (console.width - _METHOD_WIDTH) // _FIGURE_WIDTH)
    shown = _FIGURES[:room]
    for judge in (report.judge, report.second_judge):
        if judge is None:
            continue
        table = new_table(f"{escape(report.model)} on {escape(report.track.id)}, read by {escape(judge.id)}")
        table.add_column("method", no_wrap=True)
        for figure in shown:
            table.add_column(figure.head, justify="right", no_wrap=True)
        for row in _rows(report, second=judge is report.second_judge):
            table.add_row(row.name, *(figure.text(row) for figure in shown))
        console.print(table)
    for line in notes(report):
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    if room < len(_FIGURES):
        hidden = ", ".join(figure.head.replace("\n", " ") for figure in _FIGURES[room:])
        console.print(f"a wider terminal shows {hidden} as well", style="dim", highlight=False)


def _rows(report: AlignReport, *, second: bool) -> Iterator[_Row]:
    for method, outcome in report.methods.items():
        seeds = outcome.seeds if len(outcome.seeds) > 1 else {"": outcome}
        for seed, one in seeds.items():
            read = one.second_judge if second else one
            if read is not None:
                name = f"{NAMES[method]}, seed {seed}" if seed else NAMES[method]
                yield _Row(name, read.after, read.held_out.after, one)


def notes(report: AlignReport) -> list[str]:
    """What has to be said beside the figures."""
    sampled = report.methods[ORIGINAL].diversity_sampled.after
    lines = [
        f"all, unsafe, safe: accuracy on {report.accuracy_images:,} test images with one question each, no "
        "answer is wrong",
        "image, words: answers about unsafe concepts that judge them unsafe, and their gap; safe words: safe "
        "concepts in words judged safe; held out: image, on concepts that training leaves out",
        f"perc., gen.: perception and general ability; div.: diversity of sampled answers, 1-SelfBLEU "
        f"of {sampled.n} answers to each of {sampled.questions} questions at temperature 1; "
        "len.: mean tokens of such answers",
    ]
    return lines + [f"no {NAMES[name].lower()}: {reason}" for name, reason in report.absent.items()]
