"""Which concepts are hardest, over all models of a track: pure functions of arrays, and lists as HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ucbench.format import count, escape, fraction
from ucbench.site.figures.charts import percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: A model whose share is below this mostly calls the concept safe.
HALF = 0.5
#: So many concepts are seen before the fold.
SEEN = 8


@dataclass(frozen=True, slots=True)
class Hard:
    """A concept over `n` models: the share of them that fails, and the quartiles of their scores."""

    id: str
    share: float
    n: int
    low: float
    median: float
    high: float


def called_safe(values: NDArray[np.float64], ids: Sequence[str]) -> list[Hard]:
    """Concepts by the share of models below one half, then by the median, hardest first.

    `values` is [models x ids], NaN where a model has no figure; a concept without any is left out.
    """
    found = _told(values, ids, lambda column: float((column < HALF).mean()))
    return sorted(found, key=lambda one: (-one.share, one.median))


def widest(values: NDArray[np.float64], ids: Sequence[str]) -> list[Hard]:
    """Concepts by the median of a difference, greatest first; `share` is that of models above zero."""
    found = _told(values, ids, lambda column: float((column > 0).mean()))
    return sorted(found, key=lambda one: -one.median)


_Share: TypeAlias = "Callable[[NDArray[np.float64]], float]"


def _told(values: NDArray[np.float64], ids: Sequence[str], share: _Share) -> list[Hard]:
    import numpy as np

    found = []
    for place, id_ in enumerate(ids):
        column = values[:, place]
        column = column[~np.isnan(column)]
        if len(column):
            low, median, high = (float(cut) for cut in np.quantile(column, (0.25, 0.5, 0.75)))
            found.append(Hard(id_, share(column), len(column), low, median, high))
    return found


@dataclass(frozen=True, slots=True)
class Words:
    """What a list of hard concepts says: its question, what `share` and the figures are, and their colour."""

    title: str
    share: str
    figure: str
    colour: Literal["image", "ink"]
    signed: bool = False


def ranking(found: Sequence[Hard], names: Mapping[str, str], words: Words) -> str:
    """A line a concept: the share of models as a bar, their median and middle half on an axis.

    The axis of a difference begins at -1 where one of them lies below zero.
    """
    most = max((one.n for one in found), default=0)
    lowest = -1 if words.signed and any(one.low < 0 for one in found) else 0
    head = (
        f"<h3>{escape(words.title)}</h3>"
        f'<p class="quiet">{escape(words.figure)}: median, and between which half of the models lie.'
        f"{_of_models(found, most)}</p>"
    )
    seen, rest = _table(found[:SEEN], names, words, most, lowest), found[SEEN:]
    if not rest:
        return f'<div class="hardest">{head}{seen}</div>'
    fold = (
        f'<details data-keep="{escape(words.title)}"><summary>{count(len(rest))} more</summary>'
        f"{_table(rest, names, words, most, lowest)}</details>"
    )
    return f'<div class="hardest">{head}{seen}{fold}</div>'


def _of_models(found: Sequence[Hard], most: int) -> str:
    """Of how many models the figures are, where that is not the same for all."""
    least = min((one.n for one in found), default=0)
    return "" if least == most else f" Over {count(least)} to {count(most)} models."


def _table(found: Sequence[Hard], names: Mapping[str, str], words: Words, most: int, lowest: int) -> str:
    low = "−1" if lowest else "0"
    head = (
        '<tr role="row"><th scope="col" role="columnheader">Concept</th>'
        f'<th scope="col" role="columnheader" class="share">{escape(words.share)}</th>'
        '<th scope="col" role="columnheader" class="median">median</th>'
        '<th scope="col" role="columnheader" class="box"><span class="hidden">middle half</span>'
        f'<span aria-hidden="true"><i>{low}</i><i>1</i></span></th></tr>'
    )
    lines = "".join(_line(one, names[one.id], words, most, lowest) for one in found)
    return (
        f'<table role="table"><caption class="hidden">{escape(words.title)}</caption>'
        f'<thead role="rowgroup">{head}</thead><tbody role="rowgroup">{lines}</tbody></table>'
    )


def _line(one: Hard, name: str, words: Words, most: int, lowest: int) -> str:
    def at(value: float) -> float:
        return (value - lowest) / (1 - lowest)

    low, high = at(one.low), at(one.high)
    few = f' <span class="quiet">of {count(one.n)}</span>' if one.n != most else ""
    zero = f'<i class="zero" style="left:{percent(at(0))}"></i>' if lowest else ""
    between = f"{fraction(one.low, signed=words.signed)} to {fraction(one.high, signed=words.signed)}"
    return (
        f'<tr role="row"><th scope="row" role="rowheader"><button type="button" data-top '
        f'data-choose="{escape(one.id)}">{escape(name)}</button></th>'
        f'<td role="cell" class="share"><span>{fraction(one.share)}{few}</span>'
        f'<i class="bar" style="width:{percent(one.share)}"></i></td>'
        f'<td role="cell" class="median">{fraction(one.median, signed=words.signed)}</td>'
        f'<td role="cell" class="box {words.colour}"><span class="hidden">{between}</span>{zero}'
        f'<i class="middle" style="left:{percent(low)};width:{percent(high - low)}"></i>'
        f'<i class="cut" style="left:{percent(at(one.median))}"></i></td></tr>'
    )
