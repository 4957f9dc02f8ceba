"""Read a word of a closed vocabulary (colours, numbers, yes and no): Correct, Wrong or N/A."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ucbench.judges.normal import normalise, sentences
from ucbench.judges.options import _denied
from ucbench.judges.refusal import is_refusal
from ucbench.types import CORRECT, NA, WRONG

_NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_NUMBER = {word: str(value) for value, word in enumerate(_NUMBERS)}
#: Other spellings of the same word.
_SPELLING = {"grey": "gray"}
#: Ways to say a number without its word, used only where that number is in the vocabulary.
_SAYS_NUMBER = (
    (re.compile(r"\b(?:a|only a|just a) single\b|\bjust a lone\b"), "1"),
    (re.compile(r"\ba (?:pair|couple) of\b"), "2"),
    (
        re.compile(
            r"\b(?:no|not any|none of the) (?:\w+ )?(?:dots?|circles?|spots?|points?)\b|\bnone\b|\bno dots\b"
        ),
        "0",
    ),
)
_YES_NO = {"yes": "yes", "yeah": "yes", "yep": "yes", "no": "no", "nope": "no", "not": "no"}


def canonical(word: str) -> str:
    """Numbers as digits, British spellings as American, lower case."""
    word = " ".join(normalise(word).split())
    return _NUMBER.get(word, _SPELLING.get(word, word))


def read_vocabulary(text: str, expected: str, options: Sequence[str]) -> tuple[str, str]:
    """(Correct, Wrong or N/A, how): exactly one word of the vocabulary has to be named.

    With no vocabulary the answer is Correct where it contains the expected words, as MME counts it.
    """
    body = normalise(text)
    if not re.search(r"\w", body):
        return NA, "empty"
    target = canonical(expected)
    vocabulary = {canonical(option) for option in options} | {target}
    if vocabulary <= {"yes", "no"}:
        return _yes_no(body, target)
    if not options:
        if is_refusal(body):
            return NA, "refusal"
        return (CORRECT if _mentions(body, {target}) else WRONG), "contains"
    named = _mentions(body, vocabulary)
    if len(named) == 1:
        return (CORRECT if target in named else WRONG), "vocabulary"
    if named:
        return NA, "two_options"
    return NA, "refusal" if is_refusal(body) else "no_option"


def _yes_no(body: str, target: str) -> tuple[str, str]:
    first = sentences(body)[0] if sentences(body) else body
    words = {_YES_NO[word] for word in re.findall(r"\w+", first) if word in _YES_NO and word != "not"}
    opening = re.match(r"\W*(yes|yeah|yep|no|nope)\b", first)
    if opening:
        words = {_YES_NO[opening[1]]}
    if len(words) != 1:
        return NA, "refusal" if is_refusal(body) else "two_options" if words else "no_option"
    return (CORRECT if target in words else WRONG), "yes_no"


def _mentions(body: str, vocabulary: set[str]) -> set[str]:
    """Members of the vocabulary named and not denied; a longer one hides those inside it."""
    forms = {form: word for word in vocabulary for form in _forms(word)}
    pattern = re.compile(
        r"(?<![\w.])(?:"
        + "|".join(sorted(map(re.escape, forms), key=lambda form: -len(form)))
        + r")(?!\w|\.\d)"
    )
    standing: set[str] = set()
    for match in pattern.finditer(body):
        if not _denied(body, match.start(), match.end()):
            standing.add(forms[match[0]])
    if not standing:
        standing = {word for says, word in _SAYS_NUMBER if word in vocabulary and says.search(body)}
    return standing


def _forms(word: str) -> list[str]:
    forms = [word]
    forms += [name for name, digits in _NUMBER.items() if digits == word]
    forms += [spelling for spelling, plain in _SPELLING.items() if plain == word]
    return forms
