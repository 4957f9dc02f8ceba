"""How the scores of each track are drawn, told in a sentence, and mapped by concept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ucbench.format import absent, escape, fraction, model_name
from ucbench.restricted import MARK
from ucbench.site.columns import ABOUT_WHAT, Row
from ucbench.site.figures.charts import IMAGE_AND_TEXT, End


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with a line a model: one score, or two with the difference between them."""

    title: str
    keys: tuple[str, ...]
    axis: str
    ends: tuple[End, ...] = IMAGE_AND_TEXT
    between: str = "gap"


@dataclass(frozen=True, slots=True)
class View:
    """What the pages show of a track.

    `finding` is a sentence with score keys in braces, each replaced by the range over the models; empty for
    tracks that `findings.sentence` speaks of in its own way. `heat` are the scores of the map by concept;
    none where a track is not about the unsafe concepts.
    """

    charts: tuple[Chart, ...] = ()
    finding: str = ""
    heat: tuple[str, ...] = ()


_JUDGED = Chart(
    "How often is an unsafe concept judged unsafe?",
    ("image_alignment", "text_alignment"),
    "share of answers that judge an unsafe concept unsafe",
)
_CONCEPTS = View((_JUDGED,), heat=("perception", "image_alignment", "text_alignment", "modality_gap"))

_CONTEXTS = View(
    (
        Chart(
            "How often is an unacceptable use objected to?",
            ("image_context_unsafe", "text_context_unsafe"),
            "share of answers that object to an unacceptable use",
        ),
        Chart(
            "How often is an acceptable use allowed?",
            ("image_context_safe", "text_context_safe"),
            "share of answers that allow an acceptable use",
        ),
    ),
    "Shown the image, {image_context_unsafe} of unacceptable uses are objected to and {image_context_safe} "
    "of acceptable ones allowed; told in words, {text_context_unsafe} and {text_context_safe}.",
    ("image_context_unsafe", "text_context_unsafe", "image_context_safe", "text_context_safe"),
)

_POLARITY = View(
    tuple(
        Chart(
            title,
            (f"{side}_alignment", f"{side}_alignment_turned"),
            f"share of answers that judge an unsafe concept unsafe, {where}",
            (End(side, "as usually asked", hollow=True), End(side, "turned round")),  # type: ignore[arg-type]
            "change",
        )
        for side, title, where in (
            ("image", "Is an image judged alike when the question is turned round?", "as an image"),
            ("text", "And a concept named in words?", "in words"),
        )
    ),
    "Asked whether they are safe, {image_alignment} of unsafe images are judged unsafe; asked whether they "
    "are unsafe, {image_alignment_turned}.",
    ("image_alignment", "image_alignment_turned", "text_alignment", "text_alignment_turned"),
)

_OUT_OF_DOMAIN = View(
    (
        Chart(
            "How often is a picture judged rightly?",
            ("accuracy_safe", "accuracy_unsafe"),
            "share of questions answered rightly; no answer is wrong",
            (End("image", "safe ones", hollow=True), End("image", "unsafe ones")),
            "difference",
        ),
    ),
    "Of pictures from elsewhere, {accuracy_unsafe} of the unsafe ones and {accuracy_safe} of the safe ones "
    "are judged rightly.",
)

_VIEWS = {
    "contexts": _CONTEXTS,
    "polarity": _POLARITY,
    "smid": _OUT_OF_DOMAIN,
    "nsfw": _OUT_OF_DOMAIN,
    "safe": View(
        (
            Chart(
                "How often is a harmless picture judged unsafe?",
                ("over_refusal",),
                "share of answers that judge a harmless picture unsafe",
                (End("image", "judged unsafe"),),
            ),
        ),
        "{over_refusal} of the answers about harmless pictures judge them unsafe.",
    ),
    "mme": View(
        (
            Chart(
                "How often is the answer right?",
                ("mme",),
                "share of questions answered rightly; no answer is wrong",
                (End("ink", "right"),),
            ),
        ),
        "{mme} of the yes/no questions are answered rightly.",
    ),
    # A ratio that may pass 1 has no place on an axis of shares: its table says it all.
    "llavabench": View((), "Answers are rated {llavabench} of what reference answers are."),
}


def view(track: str) -> View:
    """How a choice of track (`<track>` or `<track>@test`) is shown; others are like the concepts' own."""
    return _VIEWS.get(track.partition(MARK)[0], _CONCEPTS)


_KEY = re.compile(r"\{(\w+)\}")


def told(finding: str, rows: Sequence[Row]) -> str:
    """A view's finding as HTML over rows that may speak; empty when one of its scores is nowhere known.

    A score stands with its range over the rows, in the colour of image or text.
    """
    if not rows or not all(any(not absent(row.get(key)) for row in rows) for key in _KEY.findall(finding)):
        return ""

    def filled(match: re.Match[str]) -> str:
        key = match.group(1)
        values = [float(row[key]) for row in rows if not absent(row.get(key))]
        low, high = fraction(min(values)), fraction(max(values))
        about = ABOUT_WHAT.get(key)
        style = f' class="is-{about}"' if about else ""
        return f"<b{style}>{low if low == high else f'{low}–{high}'}</b>"

    models = {model_name(row["model"], row.get("adapter")) for row in rows}
    several = (
        f' <span class="quiet">lowest to highest of {len(models)} models</span>' if len(models) > 1 else ""
    )
    return f'<p class="finding">{_KEY.sub(filled, escape(finding))}{several}</p>'
