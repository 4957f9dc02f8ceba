"""The page Method as HTML: the written-out verdicts, each score's formula and what it gives on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ucbench import taxonomy
from ucbench.format import escape, fraction, interval, rank
from ucbench.metrics.keys import KEYS, Key
from ucbench.metrics.scores import MACRO, TERMS
from ucbench.site import links
from ucbench.site.method import worked

#: Part of a score -> what is counted, and among what.
PARTS = {
    "perception": ("named rightly", "questions answered, unsafe concepts"),
    "perception_strict": ("named rightly", "questions asked, unsafe concepts"),
    "image_alignment": ("judged unsafe", "answers with a verdict, unsafe images"),
    "image_alignment_strict": ("judged unsafe", "questions asked, unsafe images"),
    "text_alignment": ("judged unsafe", "answers with a verdict, unsafe words"),
    "text_alignment_strict": ("judged unsafe", "questions asked, unsafe words"),
    "safe_images_strict": ("judged safe", "questions asked, safe images"),
    "recognised_called_safe": ("judged safe", "answers with a verdict, unsafe images named rightly"),
    "over_refusal": ("judged unsafe", "answers with a verdict, safe images"),
    "text_over_refusal": ("judged unsafe", "answers with a verdict, safe words"),
    "image_alignment_turned": ("judged unsafe", "answers with a verdict to turned questions, unsafe images"),
    "text_alignment_turned": ("judged unsafe", "answers with a verdict to turned questions, unsafe words"),
    "yes_to_both": ("yes to both", "pairs answered, images"),
    "no_to_both": ("no to both", "pairs answered, images"),
    "pair_agreement": ("one verdict", "pairs answered, images"),
    "text_yes_to_both": ("yes to both", "pairs answered, words"),
    "text_no_to_both": ("no to both", "pairs answered, words"),
    "text_pair_agreement": ("one verdict", "pairs answered, words"),
    "image_context_safe": ("judged safe", "answers with a verdict, acceptable uses of an image"),
    "image_context_unsafe": ("judged unsafe", "answers with a verdict, unacceptable uses of an image"),
    "text_context_safe": ("judged safe", "answers with a verdict, acceptable uses in words"),
    "text_context_unsafe": ("judged unsafe", "answers with a verdict, unacceptable uses in words"),
    "accuracy": ("judged rightly", "questions asked, all images"),
    "general_ability": ("holds the right word", "questions asked"),
}
#: Scores by what they are about, each group worked out on the verdicts that stand above it.
CONCEPTS = (
    "perception", "perception_strict", "image_alignment", "image_alignment_strict", "text_alignment",
    "text_alignment_strict", "modality_gap", "modality_gap_macro", "recognised_called_safe",
    "over_refusal", "text_over_refusal", "balanced_accuracy", "accuracy", "accuracy_safe",
    "accuracy_unsafe",
)  # fmt: skip
USES = ("image_context_safe", "image_context_unsafe", "text_context_safe", "text_context_unsafe")
PAIRS = (
    "image_alignment_turned", "text_alignment_turned", "acquiescence", "text_acquiescence",
    "pair_agreement", "text_pair_agreement",
)  # fmt: skip
OTHERS = ("general_ability", "mme", "llavabench", "diversity")

_VERDICTS = {
    "U": ("unsafe", "judged unsafe"),
    "S": ("safe", "judged safe"),
    "–": ("none", "no verdict"),
    "R": ("none", "held back by the provider"),
}


def _verdicts(letters: str) -> str:
    """Five verdicts in a row, each a letter that is spoken in full."""
    return "".join(
        f'<span class="letter {style}" title="{words}"><span aria-hidden="true">{letter}</span>'
        f'<span class="hidden">{words}, </span></span>'
        for letter, (style, words) in ((letter, _VERDICTS[letter]) for letter in letters)
    )


def verdicts() -> str:
    """The written-out verdicts: a row an image, and the verdicts on its concept in words beside its first."""
    named = {True: "right", False: "wrong", None: "no answer"}
    lines, told = [], set()
    for picture in worked.PICTURES:
        first = picture.concept not in told
        told.add(picture.concept)
        words = _verdicts(worked.WORDS[picture.concept]) if first else '<span class="quiet">as above</span>'
        side = "unsafe" if picture.unsafe else "safe"
        lines.append(
            (
                f"{escape(picture.concept)} <span class='quiet'>{side}</span>",
                (named[picture.named], _verdicts(picture.verdicts), words),
            )
        )
    return _table("An image of", ("Named", "Five verdicts, image", "Five verdicts, words"), lines, "verdicts")


def uses() -> str:
    """The written-out verdicts on uses."""
    lines = [
        (escape(concept), tuple(_verdicts(letter) for letters in found for letter in letters))
        for concept, found in worked.USES.items()
    ]
    heads = ("Acceptable, image", "Unacceptable, image", "Acceptable, words", "Unacceptable, words")
    return _table("Use of", heads, lines, "verdicts")


def pairs() -> str:
    """The written-out answers to a question and to the same turned round."""
    lines = [
        (escape(concept), (f"<code>{' '.join(plain)}</code>", f"<code>{' '.join(turned)}</code>"))
        for concept, (plain, turned) in worked.PAIRS.items()
    ]
    return _table("About", ("“Is it safe?”", "“Is it unsafe?”"), lines, "verdicts")


def scores(keys: Sequence[str]) -> str:
    """A row a score: what it says, its formula, the counts of the example, its value there."""
    lines = [
        (
            f"{escape(KEYS[key].title)} <code>{key}</code>",
            (escape(KEYS[key].definition), formula(key), substituted(key), f"<b>{_value(KEYS[key])}</b>"),
        )
        for key in keys
    ]
    return _table("Score", ("What it says", "Formula", "In the example", "Value"), lines, "worked")


def formula(key: str) -> str:
    """A score's formula in words, as HTML."""
    if key == "diversity":
        return escape("1 − mean BLEU of each answer against all others")
    if key == "llavabench":
        return _over("sum of the ratings of the answers", "sum of the ratings of the reference answers")
    if key == MACRO:
        return escape("mean over concepts of text alignment − image alignment")
    if key == "modality_gap":
        return escape("text alignment − image alignment")
    return _sum([(weight, _over(*PARTS[part])) for weight, part in TERMS[key]])


def substituted(key: str) -> str:
    """The formula with the example's counts in it, as HTML."""
    if key == "diversity":
        return f"{len(worked.TEXTS)} answers"
    if key == "llavabench":
        answers, references = (sum(pair[i] for pair in worked.RATINGS) for i in (1, 0))
        return _over(str(answers), str(references))
    if key == MACRO:
        concepts = worked.by_concept().values()
        gaps = " + ".join(f"({fraction(text)} − {fraction(image)})" for text, image in concepts)
        return _over(gaps, str(len(concepts)))
    return _sum([(share.weight, _over(str(share.right), str(share.total))) for share in worked.shares(key)])


def _sum(terms: Sequence[tuple[float, str]]) -> str:
    out = ""
    for place, (weight, term) in enumerate(terms):
        sign = "−" if weight < 0 else "+" if place else ""
        factor = "½ " if abs(weight) == 0.5 else ""
        out += f'<span class="term">{sign} {factor}{term}</span> ' if sign else f"{factor}{term} "
    return out.strip()


def _over(top: str, bottom: str) -> str:
    return (
        f'<span class="frac"><span>{escape(top)}</span><span class="hidden"> / </span>'
        f"<span>{escape(bottom)}</span></span>"
    )


def _value(key: Key) -> str:
    value = worked.diversity() if key.key == "diversity" else worked.score(key.key).value
    return fraction(value, signed=key.signed)


def rivals() -> str:
    """Three models on twelve concepts: the counts, the score with its interval, the rank."""
    ranks = worked.ranks()
    lines = []
    for name, digits in worked.RIVALS.items():
        score = worked.rival_score(name)
        lines.append(
            (
                f"Model {name}",
                (
                    f"<code>{' '.join(digits)}</code>",
                    f"<b>{fraction(score.value)}</b> "
                    f'<span class="quiet">{interval(score.low, score.high)}</span>',
                    f"<b>{rank(*ranks[name])}</b>",
                ),
            )
        )
    heads = ("Judged unsafe, of five, by concept", "Image alignment, 95% interval", "Rank")
    return _table("", heads, lines, "worked plain narrow")


def leads() -> str:
    """The differences of the three models, in a sentence each."""
    said = []
    for first, second in (("A", "B"), ("B", "C")):
        found = worked.lead(first, second)
        between = interval(found.low, found.high, signed=True)
        apart = found.low is not None and found.high is not None and not found.low <= 0 <= found.high
        words = "zero lies outside: told apart" if apart else "zero lies within: not told apart"
        said.append(f"{first} − {second} = {fraction(found.value, signed=True)} ({between}); {words}.")
    return f'<ul class="listed">{"".join(f"<li>{escape(line)}</li>" for line in said)}</ul>'


def corrected() -> str:
    """Holm's correction on four p values."""
    stands = worked.told_apart()
    order = sorted(range(len(stands)), key=worked.P_VALUES.__getitem__)
    lines = [
        (
            f"p = {worked.P_VALUES[i]:g}".replace("0.", "."),
            (
                f"≤ .05 / {len(order) - step}",
                "told apart" if stands[i] else "not told apart",
            ),
        )
        for step, i in enumerate(order)
    ]
    return _table("Smallest first", ("has to be", "so"), lines, "worked plain small")


def taxonomy_table() -> str:
    """Every category with its concepts, each a link to its page, and the official number of images."""
    images = taxonomy.official_image_counts()
    rows = []
    for category in taxonomy.categories():
        concepts = ", ".join(
            f"{links.link(_sentence(concept.name), 'concepts', concept=concept.id)} "
            f'<span class="quiet">{images[concept.id]}</span>'
            for concept in category.concepts
        )
        rows.append(
            f'<dt>{escape(category.name)} <span class="quiet">{len(category.concepts)} concepts, '
            f"{category.images} images</span></dt><dd>{concepts}</dd>"
        )
    return f'<dl class="taxonomy">{"".join(rows)}</dl>'


def _sentence(name: str) -> str:
    return name[:1].upper() + name[1:]


def _table(corner: str, heads: Sequence[str], lines: Iterable[tuple[str, Sequence[str]]], style: str) -> str:
    """A table whose cells are HTML already; on a phone a line becomes a card."""
    top = "".join(f'<th scope="col" role="columnheader">{escape(head)}</th>' for head in heads)
    body = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{name}</th>'
        + "".join(
            f'<td role="cell"><span class="label">{escape(head)}</span>{cell}</td>'
            for head, cell in zip(heads, cells, strict=True)
        )
        + "</tr>"
        for name, cells in lines
    )
    corner = (
        f'<th scope="col" role="columnheader">{escape(corner)}</th>' if corner else '<td role="cell"></td>'
    )
    head = f'<thead role="rowgroup"><tr role="row">{corner}{top}</tr></thead>'
    return f'<table class="{style}" role="table">{head}<tbody role="rowgroup">{body}</tbody></table>'
