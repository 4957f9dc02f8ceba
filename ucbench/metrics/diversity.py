"""Answer diversity: 1-SelfBLEU as NLTK defines it, without comparing every answer with every other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_ORDERS = 4
_EPSILON = 0.1  # smoothing method 1: what a precision without a match has for a numerator


def one_minus_self_bleu(texts: Sequence[str]) -> float:
    """1 minus the mean BLEU of each text against all others, in [0, 1]; 0 when all are one sentence.

    Equal to NLTK's `sentence_bleu` over whitespace tokens with four equal weights and smoothing method 1
    (by which a text of fewer than four tokens never reaches a BLEU of 1). The value depends on the
    number of texts, so state it beside the value. BLEU clips an n-gram's count by its largest count in
    any one reference; the two largest counts of an n-gram over all texts, and whose they are, answer
    that for every text at once. Time and memory grow with the number of n-grams.

    Raises `ValueError` for fewer than two texts.
    """
    n = len(texts)
    if n < 2:
        raise ValueError("1-SelfBLEU compares answers with one another and needs at least two")
    vocabulary: dict[str, int] = {}
    sentences = [[vocabulary.setdefault(word, len(vocabulary)) for word in text.split()] for text in texts]
    lengths = np.array([len(s) for s in sentences], dtype=np.int64)
    tokens = np.array([token for s in sentences for token in s], dtype=np.int64)
    owner = np.repeat(np.arange(n), lengths)
    position = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)

    log_bleu = np.zeros(n)
    has_match = np.zeros(n, dtype=bool)
    grams, starts = tokens, np.arange(len(tokens))
    for order in range(1, _ORDERS + 1):
        if order > 1:
            # An n-gram is the (n-1)-gram at its start and the token at its end, renumbered densely.
            keep = position[starts] + order <= lengths[owner[starts]]
            grams, starts = grams[keep], starts[keep]
            pairs = grams * len(vocabulary) + tokens[starts + order - 1]
            grams = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        matches = _clipped_matches(grams, owner[starts], n)
        if order == 1:
            has_match = matches > 0
        possible = np.maximum(lengths - order + 1, 1)
        log_bleu += np.log(np.where(matches > 0, matches, _EPSILON) / possible) / _ORDERS

    reference = _closest_other_length(lengths)
    # NLTK gives 0 where not even a word matches, which covers empty texts.
    brevity = np.where(lengths > reference, 0.0, 1.0 - reference / np.maximum(lengths, 1))
    bleu = np.where(has_match, np.exp(log_bleu + brevity), 0.0)
    return float(1.0 - bleu.mean())


def mean_over_questions(answers: Iterable[Sequence[str]], n: int = 20) -> tuple[float | None, int]:
    """Mean over questions of the 1-SelfBLEU of `n` of each question's answers, taken at even distances.

    Returns it with the number of answers really taken: the value falls as that grows, and most quickly for
    so small a language as the embedded model's. None when some question has fewer than two answers.
    """
    groups = list(answers)
    n = min([n, *map(len, groups)])
    if n < 2 or not groups:
        return None, n
    values = [one_minus_self_bleu([texts[i * len(texts) // n] for i in range(n)]) for texts in groups]
    return sum(values) / len(values), n


def _clipped_matches(grams: Ints, owner: Ints, n: int) -> Ints:
    """For each of `n` texts: its n-grams, each counted at most as often as in any one other text."""
    if not len(grams):
        return np.zeros(n, dtype=np.int64)
    cells, counts = np.unique(grams * n + owner, return_counts=True)
    gram, text = cells // n, cells % n
    ranked = np.lexsort((-counts, gram))
    first = np.flatnonzero(np.diff(gram[ranked], prepend=-1))
    # Position of each gram's largest count, and of its second largest if another text has the gram.
    group = np.cumsum(np.diff(gram, prepend=-1) != 0) - 1
    sizes = np.diff(first, append=len(ranked))
    top, second = ranked[first], ranked[np.minimum(first + 1, len(ranked) - 1)]
    runner_up = np.where(sizes > 1, counts[second], 0)
    elsewhere = np.where(text == text[top][group], runner_up[group], counts[top][group])
    return np.bincount(text, weights=np.minimum(counts, elsewhere), minlength=n).astype(np.int64)


def _closest_other_length(lengths: Ints) -> Ints:
    """Length of the other text nearest in length to each; the shorter of two that are equally near."""
    order = np.argsort(lengths, kind="stable")
    ranked = lengths[order]
    far = np.iinfo(np.int64).max // 4
    shorter = np.concatenate(([-far], ranked[:-1]))
    longer = np.concatenate((ranked[1:], [far]))
    nearest = np.where(ranked - shorter <= longer - ranked, shorter, longer)
    closest = np.empty_like(lengths)
    closest[order] = nearest
    return closest
