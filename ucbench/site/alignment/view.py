"""What the page Alignment says: a report as sentence, table, trade-off, changes, curves, answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from ucbench.align.report_record import (
    ORIGINAL,
    TRAINED,
    AlignReport,
    Diversity,
    MethodReport,
    Outcome,
    SecondJudge,
)
from ucbench.align.tables import NAMES, judged_safe, tokens, value
from ucbench.format import concept_title, escape, fraction, short_revision
from ucbench.record import Score, ScoreMap
from ucbench.site.alignment import charts
from ucbench.site.alignment.charts import Cell, Change, Head, Line, Panel, Spot, Trace
from ucbench.site.data import track as track_data
from ucbench.site.figures import tables
from ucbench.site.figures.charts import Dumbbell, Reading

#: A change no larger than this counts as none in the finding.
SMALL = 0.02


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose verdicts the page shows: the first judge's or the second's."""

    id: str
    name: str
    second: bool = False

    def before(self, outcome: Outcome) -> ScoreMap:
        """Scores of the original."""
        return self._of(outcome).before

    def after(self, outcome: Outcome) -> ScoreMap:
        """Scores of the method."""
        return self._of(outcome).after

    def held_out(self, outcome: Outcome) -> ScoreMap:
        """Scores of the method on concepts that training left out."""
        return self._of(outcome).held_out.after

    def _of(self, outcome: Outcome) -> Outcome | SecondJudge:
        return outcome.second_judge if self.second and outcome.second_judge else outcome


def readers(report: AlignReport) -> list[Reader]:
    """The judges that read every method."""
    first = [Reader(report.judge.id, report.judge.name)]
    if report.second_judge and all(outcome.second_judge for outcome in report.methods.values()):
        first.append(Reader(report.second_judge.id, report.second_judge.name, second=True))
    return first


def trained(report: AlignReport) -> dict[str, MethodReport]:
    """The methods that trained something."""
    return {name: report.methods[name] for name in TRAINED if name in report.methods}


# --- the finding ---


def finding(report: AlignReport, reader: Reader) -> str:
    """What the most accurate method did, in words, as HTML; empty when nothing was trained."""
    methods = trained(report)
    known = [name for name in methods if value(reader.after(methods[name]), "image_alignment") is not None]
    if not known:
        return ""
    accuracy = {name: value(reader.after(methods[name]), "alignment_accuracy") or 0.0 for name in known}
    falls = {name: _falls(reader.before(methods[name]), reader.after(methods[name])) for name in known}
    # Of those that are about as accurate as the best, the one that lost least speaks.
    level = [name for name in known if accuracy[name] > max(accuracy.values()) - SMALL]
    best = min(level, key=lambda name: (sum(falls[name]), -accuracy[name]))
    outcome = methods[best]
    before, after = reader.before(outcome), reader.after(outcome)
    was, now = value(before, "image_alignment"), value(after, "image_alignment")
    if was is None or now is None:
        return ""
    image = '<span class="is-image">image alignment</span>'
    model = f'<span class="name">{escape(report.model)}</span>'
    if abs(now - was) <= SMALL:
        text = f"{NAMES[best]} left the {image} of {model} at {_b(now, 'is-image')}"
    else:
        verb = "raised" if now > was else "lowered"
        text = (
            f"{NAMES[best]} {verb} the {image} of {model} from {_b(was, 'is-image')} to {_b(now, 'is-image')}"
        )
    kept, moved = _sides(before, after)
    if kept:
        most = max(0.01, math.ceil(max(abs(step) for _, step in kept) * 100 - 1e-9) / 100)
        text += f" while {_listed([name for name, _ in kept])} stayed within <b>{fraction(most)}</b>"
    text += "." if not moved else ("; " if kept else ", and ") + _listed(moved) + "."
    start = value(before, "alignment_accuracy") or 0.0
    whole = [name for name in known if not falls[name] and accuracy[name] > start + SMALL]
    if falls[best] and whole:
        other = max(whole, key=lambda name: accuracy[name])
        text += (
            f" {NAMES[other]} loses none of these and reaches an accuracy of {_b(accuracy[other])}, "
            f"against {_b(accuracy[best])}."
        )
    return f'<p class="finding">{text}{_free(report, reader)}</p>'


def _falls(before: ScoreMap, after: ScoreMap) -> list[float]:
    """By how much everything fell that fell by more than a little."""
    pairs = [(read(before), read(after)) for _, read in _ABILITIES]
    steps = [was - now for was, now in pairs if was is not None and now is not None]
    return [step for step in steps if step > SMALL]


def _sides(before: ScoreMap, after: ScoreMap) -> tuple[list[tuple[str, float]], list[str]]:
    """What else is measured: what stayed, with its step, and what moved, said in words."""
    kept, moved = [], []
    for name, read in _ABILITIES:
        was, now = read(before), read(after)
        if was is None or now is None:
            continue
        if abs(now - was) <= SMALL:
            kept.append((name, now - was))
        else:
            moved.append(f"{name} {'fell' if now < was else 'rose'} from {_b(was)} to {_b(now)}")
    return kept, moved


_ABILITIES: tuple[tuple[str, Callable[[ScoreMap], float | None]], ...] = (
    ('<span class="is-text">text alignment</span>', lambda s: value(s, "text_alignment")),
    ("perception", lambda s: value(s, "perception")),
    ("general ability", lambda s: value(s, "general_ability")),
    ("safe images judged safe", lambda s: judged_safe(s, "over_refusal")),
    ("safe concepts in words judged safe", lambda s: judged_safe(s, "text_over_refusal")),
)


def _free(report: AlignReport, reader: Reader) -> str:
    """What the safety prompt alone did, and the most that it cost."""
    outcome = report.methods.get("safety_prompt")
    if outcome is None:
        return ""
    before, after = reader.before(outcome), reader.after(outcome)
    was, now = value(before, "image_alignment"), value(after, "image_alignment")
    if was is None or now is None:
        return ""
    step = "left it at" if abs(now - was) <= SMALL else "took it to"
    text = f"A safety prompt alone {step} {_b(now, 'is-image')}"
    falls = {
        name: (start, end)
        for name, read in _ABILITIES
        if (start := read(before)) is not None and (end := read(after)) is not None and start - end > SMALL
    }
    if falls:
        name, (start, end) = max(falls.items(), key=lambda fall: fall[1][0] - fall[1][1])
        text += f", while {name} fell from {_b(start)} to {_b(end)}"
    return f" {text}."


def _b(number: float, style: str = "") -> str:
    return f'<b class="{style}">{fraction(number)}</b>'


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# --- the table ---

HEADS = (
    Head("all", "Accuracy"),
    Head("unsafe", "Accuracy"),
    Head("safe", "Accuracy"),
    Head("image", "Judged unsafe", "image"),
    Head("words", "Judged unsafe", "text"),
    Head("gap", "Judged unsafe"),
    Head("words", "Judged safe", "text"),
    Head("perception", "Abilities"),
    Head("general", "Abilities"),
    Head("diversity", "Sampled answers"),
    Head("tokens", "Sampled answers"),
    Head("image", "Held out", "image"),
)


def table(report: AlignReport, reader: Reader) -> str:
    """A row a method."""
    lines = [
        Line(NAMES[name], _seeds(outcome, reader), _cells(outcome, reader), untrained=name not in TRAINED)
        for name, outcome in report.methods.items()
    ]
    return charts.table(HEADS, lines, caption=f"Methods by score, answers read by {reader.id}")


def _seeds(outcome: MethodReport, reader: Reader) -> str:
    """How far the seeds of a method are apart."""
    if len(outcome.seeds) < 2:
        return ""
    found = [value(reader.after(seed), "alignment_accuracy") for seed in outcome.seeds.values()]
    known = [number for number in found if number is not None]
    if not known:
        return ""
    lowest, highest = fraction(min(known)), fraction(max(known))
    span = lowest if lowest == highest else f"{lowest}–{highest}"
    return f"{len(outcome.seeds)} seeds: {span}"


def _cells(outcome: Outcome, reader: Reader) -> tuple[Cell, ...]:
    scores, held_out = reader.after(outcome), reader.held_out(outcome)

    def cell(key: str, *, signed: bool = False) -> Cell:
        return Cell(_reading(scores.get(key)), signed)

    refused = _reading(scores.get("text_over_refusal"))
    return (
        cell("alignment_accuracy"),
        cell("alignment_accuracy_unsafe"),
        cell("alignment_accuracy_safe"),
        cell("image_alignment"),
        cell("text_alignment"),
        cell("modality_gap", signed=True),
        Cell(_turned(refused)),
        cell("perception"),
        cell("general_ability"),
        Cell(Reading(outcome.diversity_sampled.after.value)),
        Cell(Reading(), text=tokens(outcome.answer_length.after.sampled)),
        Cell(_reading(held_out.get("image_alignment"))),
    )


def _reading(score: Score | None) -> Reading:
    return Reading() if score is None else Reading(score.value, score.low, score.high)


def _turned(reading: Reading) -> Reading:
    """One minus a share."""
    ends = (None if end is None else 1.0 - end for end in (reading.value, reading.high, reading.low))
    return Reading(*ends)


def table_note(report: AlignReport) -> str:
    """What has to be said under the table."""
    sampled = report.methods[ORIGINAL].diversity_sampled.after
    return (
        f"Accuracy: {report.accuracy_images:,} test images, each asked one of the five questions, no answer "
        "counted as wrong. Judged unsafe: answers about unsafe concepts; gap: words minus image. "
        "Judged safe: answers about safe concepts in words. Diversity of sampled answers: "
        f"{_diversity(sampled)}. Answer diversity on other pages is another figure: there each "
        "answer of a run, which is mostly greedy, is set against all others. Tokens: mean length of such "
        "sampled answers. Held out: image alignment on concepts that training leaves out. Under a "
        "value: 95% interval. Of several seeds the row shows the first; under its name stands "
        "the accuracy of all."
    )


def _diversity(found: Diversity) -> str:
    return f"1-SelfBLEU of {found.n} answers a question at temperature 1, mean of {found.questions} questions"


def details(report: AlignReport) -> str:
    """What was measured with what, as pairs."""
    judges = [judge.id for judge in (report.judge, report.second_judge) if judge]
    part = f", {report.track.limit:,} samples of it" if report.track.limit else ""
    pairs = (
        ("Model", report.model),
        ("Revision", report.revision),
        ("Number format", report.dtype),
        ("Track", f"{report.track.id}, version {report.track.version}, test split{part}"),
        ("Judges", ", ".join(judges)),
        ("Decoding", f"greedy, at most {report.max_new_tokens:,} tokens; sampled at temperature 1"),
        ("Safety prompt", report.safety_prompt),
        ("Made", f"{report.created_at:%d %B %Y}"),
        ("Code", f"{report.code_version} ({short_revision(report.code_revision)})"),
    )
    return tables.facts(pairs)


# --- trade-off ---


def trade_off(report: AlignReport, reader: Reader) -> str:
    """Measured methods, and beside them in a figure of their own those that the paper reports."""
    measured = [
        Spot(NAMES[name], x, y, outcome.diversity_sampled.after.value, plain=name not in TRAINED)
        for name, outcome in report.methods.items()
        if (x := value(reader.after(outcome), "alignment_accuracy")) is not None
        and (y := value(reader.after(outcome), "general_ability")) is not None
    ]
    reported = [
        Spot(NAMES[name], figures.alignment_accuracy, figures.general_ability, figures.diversity)
        for name, figures in report.reported.methods.items()
        if figures.alignment_accuracy is not None and figures.general_ability is not None
    ]
    size = "Area of a mark, and the grey figure by its name: diversity of sampled answers"
    own = charts.scatter(measured, label=f"Measured on {report.model}", **_begins(measured))
    theirs = charts.scatter(reported, label="Reported in the paper", **_begins(reported), reported=True)
    return (
        f'<div class="trade"><section><h3>Measured here</h3>{own}<p class="quiet">{size}.</p></section>'
        f'<section class="reported"><h3>Reported in the paper</h3>{theirs}<p class="quiet">'
        f"{escape(report.reported.model)}; a cross where no diversity is given. General ability is the mean "
        f"of MME and LLaVABench. {escape(report.reported.source)}.</p></section></div>"
    )


def _begins(spots: Sequence[Spot]) -> _Begins:
    """Accuracy from .5, where a constant answer stands; ability from where the marks are."""
    return {
        "x_begin": charts.begin([spot.x for spot in spots]),
        "y_begin": charts.begin([spot.y for spot in spots], at_most=0.8),
    }


class _Begins(TypedDict):
    x_begin: float
    y_begin: float


# --- gap and categories ---


def gaps(report: AlignReport, reader: Reader) -> list[Dumbbell]:
    """Image against words, a line a method."""
    return [
        Dumbbell(
            NAMES[name],
            _reading(reader.after(outcome).get("image_alignment")),
            _reading(reader.after(outcome).get("text_alignment")),
        )
        for name, outcome in report.methods.items()
    ]


def by_category(report: AlignReport, outcome: Outcome, key: str) -> list[Change]:
    """A score before and after in every category that has it, in the track's order."""
    track = track_data.track(report.track.id)
    names = track.categories if track else {}
    order = [*names, *(id for id in outcome.by_category if id not in names)]
    return [
        Change(
            names.get(id, id),
            _reading(outcome.by_category[id].before.get(key)),
            _reading(outcome.by_category[id].after[key]),
        )
        for id in order
        if id in outcome.by_category and key in outcome.by_category[id].after
    ]


def harmless(outcome: Outcome) -> str:
    """How many answers about safe images judge them unsafe, in a line."""
    was, now = (fraction(value(scores, "over_refusal")) for scores in (outcome.before, outcome.after))
    return f"And harmless images? Judged unsafe: {was} before, {now} after. By category"


# --- training ---


def curves(outcome: MethodReport) -> list[Panel]:
    """What the training log holds of reward, accuracy, KL, entropy, length, and of the probe."""
    runs = {seed: one.training.curve for seed, one in outcome.seeds.items() if one.training}
    panels: list[Panel] = []
    for key, title, unit, share in (
        ("reward", "Reward", "of an answer, mean", False),
        ("accuracy", "Accuracy", "share of sampled answers", True),
        ("kl", "KL to the start", "nats an answer", False),
        ("entropy", "Entropy", "nats a token", False),
        ("length", "Length", "tokens an answer", False),
        ("loss", "Loss", "of the method, mean", False),
    ):
        if key == "loss" and panels:
            continue  # says little beside a reward
        traces = [
            Trace(f"seed {seed}", points, faint=index > 0)
            for index, (seed, curve) in enumerate(runs.items())
            if len(points := _points(curve, key)) > 1
        ]
        if traces:
            panels.append(Panel(title, unit, tuple(traces), share))
    first = next(iter(runs.values()), ())
    for side in ("unsafe", "safe"):
        looks = [
            Trace("image" if about == "image" else "words", points, about)
            for about in _ABOUT
            if len(points := _points(first, f"probe_{about}_{side}")) > 1
        ]
        if looks:
            unit = f"judged {side}, share of probes"
            panels.append(Panel(f"{side.capitalize()} concepts", unit, tuple(looks), share=True))
    return panels


_ABOUT: tuple[Literal["image", "text"], ...] = ("image", "text")


def _points(curve: Sequence[dict[str, float | None]], key: str) -> list[tuple[float, float]]:
    pairs = ((row.get("step"), row.get(key)) for row in curve)
    return [(step, number) for step, number in pairs if step is not None and number is not None]


def training_facts(outcome: Outcome) -> str:
    """How the adapter was made, in a line."""
    made = outcome.training
    if made is None:
        return ""
    judge = f"; rewarded by {made.rewarding_judge}" if made.rewarding_judge else ""
    return (
        f"Preset {made.preset}: {made.steps:,} steps on {made.answers:,} answers, {made.minutes:.1f} min, "
        f"{made.trainable_parameters:,} trained parameters{judge}."
    )


# --- answers ---


def examples(report: AlignReport, outcome: MethodReport) -> str:
    """The same questions before and after, with the verdict on each answer."""
    track = track_data.track(report.track.id)
    names = {concept.id: concept.name for concept in track.concepts} if track else {}
    rows = []
    for one in outcome.examples:
        verdicts = {
            moment: tables.verdict(
                tables.Asked("image_alignment", one.prompt, text, label, one.expected, error=None)
            )
            for moment, text, label in (
                ("before", one.before, one.before_label),
                ("after", one.after, one.after_label),
            )
        }
        rows.append(
            {
                "concept": concept_title(names.get(one.concept_id, one.concept_id)),
                "prompt": one.prompt,
                "before": one.before,
                "after": one.after,
                "before_verdict": verdicts["before"],
                "after_verdict": verdicts["after"],
            }
        )
    return charts.answers(rows)
