"""The board and the answers as HTML tables, built by pure functions. Every outside text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ucbench.board import NO_RANKING
from ucbench.format import (
    MISSING,
    absent,
    escape,
    fraction,
    interval,
    model_name,
    rank,
    short_revision,
)
from ucbench.site import links
from ucbench.site.columns import RANKED_APART, Column, Fact, Row
from ucbench.tracks.about import measured_whole
from ucbench.types import CORRECT, NA, OPTION_LETTERS, SAFE, UNSAFE, WRONG

_UP = '<svg viewBox="0 0 10 10" aria-hidden="true"><path d="M5 1 9 8H1z"/></svg>'
#: So much of a system prompt is shown.
_PROMPT = 40
#: A board with so few scores keeps them near the names.
FEW = 3
#: One with more has its intervals below the values.
MANY = 6
_DOWN = '<svg viewBox="0 0 10 10" aria-hidden="true"><path d="M5 9 1 2h8z"/></svg>'


def name(row: Row) -> str:
    """A row's model, with its adapter when it has one."""
    return model_name(row["model"], row.get("adapter"))


def identity(row: Row) -> str:
    """What tells two rows of one model apart: revision, dtype, decoding, ... Empty for reported rows."""
    if row["provenance"] == "reported":
        return ""
    # Of answers that were given elsewhere nobody here knows how they were drawn.
    temperature: Any = None if row["provenance"] == "imported" else row.get("temperature")
    parts = [
        "" if absent(row.get("revision")) else short_revision(row["revision"]),
        "" if absent(row.get("dtype")) else str(row["dtype"]),
        ""
        if absent(temperature)
        else "greedy"
        if float(temperature) == 0
        else f"temperature {temperature:g}",
        "" if absent(row.get("system_prompt")) else f"system prompt “{_short(row['system_prompt'])}”",
        "" if absent(row.get("template")) else f"template {row['template']}",
        "" if absent(row.get("max_pixels")) else f"pictures of at most {int(row['max_pixels']):,} pixels",
        "" if absent(row.get("trained_on")) else f"trained on {row['trained_on']}",
        "test split only" if on_test_split(row) else "",
    ]
    return " · ".join(part for part in parts if part)


def _short(text: Any) -> str:
    """The beginning of a text, enough to tell it from others."""
    words = " ".join(str(text).split())
    return words if len(words) <= _PROMPT else f"{words[: _PROMPT - 1].rstrip()}…"


def on_test_split(row: Row) -> bool:
    """Whether a row is of the test split of a track that is measured as a whole otherwise."""
    whole = measured_whole(str(row.get("track")), str(row.get("track_version")))
    return whole and row.get("split") == "test" and row["provenance"] != "reported"


@dataclass(frozen=True, slots=True)
class Drawn:
    """How the board is drawn beside its rows and columns.

    `ranks` False leaves the ranks out, for tracks that have none. `facts` are columns that are no scores.
    `heads` are sentences above some of the rows, by their place: those below were asked something else.
    `yours` are a visitor's own scores, one a row. `ticks` are what stands before a row, by its run, as HTML.
    """

    sort: str
    reverse: bool = False
    caption: str = ""
    ranks: bool = True
    facts: Sequence[Fact] = ()
    heads: Mapping[int, str] = field(default_factory=dict)
    yours: Sequence[float] | None = None
    ticks: Mapping[str, str] = field(default_factory=dict)


def board(rows: Sequence[Row], columns: Sequence[Column], drawn: Drawn) -> str:
    """The board: a row a run in the order given, the value of each score with its interval at hand."""
    heads = "".join(_head(column, drawn) for column in columns)
    if drawn.yours is not None:
        heads = _sort_head("yours", "Your score", drawn) + heads
    heads += "".join(_sort_head(fact.key, escape(fact.head), drawn) for fact in drawn.facts)
    rank_head = '<th scope="col" role="columnheader" class="left place">Rank</th>' if drawn.ranks else ""
    if drawn.ticks:
        rank_head = f'<td role="cell" class="pick"></td>{rank_head}'
    width = len(columns) + len(drawn.facts) + (drawn.yours is not None)
    across = width + 1 + drawn.ranks + bool(drawn.ticks)
    size = " few" if width <= FEW else " many" if width > MANY else ""
    out = [
        f'<table class="board{size}" role="table"><caption class="hidden">{escape(drawn.caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{rank_head}'
        f'<th scope="col" role="columnheader" class="left">Model</th>{heads}</tr></thead>'
        '<tbody role="rowgroup">'
    ]
    ranked = [not absent(row.get("rank_low")) for row in rows]
    # Room for intervals only in columns that have one, so that values line up.
    beside = {column.key for column in columns if any(_has_interval(row, column) for row in rows)}
    for index, row in enumerate(rows):
        if index in drawn.heads:
            out.append(
                f'<tr class="group" role="row"><th scope="rowgroup" role="rowheader" '
                f'colspan="{across}">{escape(drawn.heads[index])}</th></tr>'
            )
        last_ranked = ranked[index] and index + 1 < len(rows) and not ranked[index + 1]
        yours = None if drawn.yours is None else drawn.yours[index]
        out.append(_board_row(row, columns, drawn, beside, split=last_ranked, yours=yours))
    out.append("</tbody></table>")
    return "".join(out)


def _head(column: Column, drawn: Drawn) -> str:
    return _sort_head(column.key, _mark(column) + escape(column.head), drawn, column.better == "higher")


def _sort_head(key: str, name: str, drawn: Drawn, most_first: bool = True) -> str:
    """The head of a column, which sorts by it; `name` is HTML."""
    state, arrow = "", ""
    if key == drawn.sort:
        descending = most_first != drawn.reverse
        state = f' aria-sort="{"descending" if descending else "ascending"}"'
        arrow = _DOWN if descending else _UP
    return (
        f'<th scope="col" role="columnheader"{state}><button type="button" data-choose="sort:{key}">'
        f"<span>{name}</span>{arrow}</button></th>"
    )


def _mark(column: Column) -> str:
    """The colour of image or text beside the name of a score about it."""
    return f'<i class="mark {column.about}"></i>' if column.about else ""


def _has_interval(row: Row, column: Column) -> bool:
    return not absent(row.get(column.key)) and not absent(row.get(f"{column.key}_low"))


def _board_row(
    row: Row, columns: Sequence[Column], drawn: Drawn, beside: set[str], *, split: bool, yours: float | None
) -> str:
    reported = row["provenance"] == "reported"
    best = not absent(row.get("rank_low")) and int(row["rank_low"]) == 1
    classes = [word for word, holds in (("best", best), ("reported", reported), ("split", split)) if holds]
    among = row.get("ranked_among")
    place = f'<span class="rank">{rank(row.get("rank_low"), row.get("rank_high"))}</span>'
    if absent(row.get("rank_low")):
        place += '<span class="hidden">not ranked</span>'
    elif not absent(among):
        place += f' <span class="quiet">of {int(among)}</span>'  # type: ignore[arg-type]
    family = "" if absent(row.get("family")) else f"{row['family']} · "
    who = identity(row)
    meta = [escape(family + who if who else family.removesuffix(" · "))]
    if row["provenance"] != "measured":
        meta.append(f'<span class="tag">{escape(row["provenance"])}</span>')
    elif row.get("unranked") == RANKED_APART:
        meta.append(escape(row["unranked"]))
    elif not absent(row.get("unranked")) and row["unranked"] != NO_RANKING:
        meta.append(f"not ranked: {escape(row['unranked'])}")
    lines = "".join(f'<span class="meta">{part}</span>' for part in meta if part)
    cells = "".join(_score(row, column, drawn.sort, room=column.key in beside) for column in columns)
    if yours is not None:
        cells = _yours(yours, drawn.sort) + cells
    cells += "".join(_fact(row, fact) for fact in drawn.facts)
    place = f'<td role="cell" class="left place">{place}</td>' if drawn.ranks else ""
    if tick := drawn.ticks.get(str(row["run_id"])):
        place = f'<td role="cell" class="pick">{tick}</td>{place}'
    link = links.link(name(row), "model", run=str(row["run_id"]))
    return (
        f'<tr role="row" class="{" ".join(classes)}">{place}'
        f'<th scope="row" role="rowheader">{link}{_guard(row)}{lines}</th>{cells}</tr>'
    )


def _yours(value: float, sort: str) -> str:
    style = " ordering" if sort == "yours" else ""
    style += " absent" if absent(value) else ""
    return (
        f'<td role="cell" class="number yours{style}"><span class="label">Your score</span>'
        f'<span class="value">{fraction(value)}</span></td>'
    )


def _fact(row: Row, fact: Fact) -> str:
    told = fact.told(row)
    style = " absent" if told == MISSING else ""
    why = ' title="not known"' if told == MISSING else ""
    return (
        f'<td role="cell" class="fact{style}"><span class="label">{escape(fact.head)}</span>'
        f"<span{why}>{escape(told)}</span></td>"
    )


def _guard(row: Row) -> str:
    """A word beside the name of a guard: it gives verdicts, and answers no questions."""
    if absent(row.get("guard")):
        return ""
    why = "A guard model: one verdict on each picture, in its own format, stands for all questions about it"
    return f' <span class="tag" title="{why}">guard</span>'


def _score(row: Row, column: Column, sort: str, *, room: bool) -> str:
    value, low, high = (row.get(f"{column.key}{part}") for part in ("", "_low", "_high"))
    between = interval(low, high, signed=column.signed)
    beside = ""
    if absent(value) and between:
        figure = f'<span class="value" title="range over several models">{between}</span>'
    else:
        why = f' title="{_why_absent(row, column)}"' if absent(value) else ""
        figure = f'<span class="value"{why}>{fraction(value, signed=column.signed)}</span>'
        if room:
            beside = f'<span class="between" title="95% interval">{between}</span>'
    style = " ordering" if column.key == sort else ""
    style += " absent" if absent(value) and not between else ""
    return (
        f'<td role="cell" class="number{style}">'
        f'<span class="label">{_mark(column)}{escape(column.head)}</span>'
        f"<span>{figure}{beside}</span></td>"
    )


def _why_absent(row: Row, column: Column) -> str:
    """Why there is no figure: nothing was asked that it needs, or nothing answered."""
    if row["provenance"] == "reported":
        return "not reported"
    asked = row.get(f"{column.key}_coverage")
    return "not asked" if absent(asked) else "no answer with a verdict"


def facts(pairs: Iterable[tuple[str, Any]], *, style: str = "") -> str:
    """Names and values of one thing; pairs without a value are left out."""
    lines = "".join(
        f"<dt>{escape(term)}</dt><dd>{escape(value)}</dd>"
        for term, value in pairs
        if not absent(value) and value not in ("", MISSING)
    )
    return f'<dl class="{escape(style)}">{lines}</dl>'


def heading(text: str) -> str:
    """The title of a part."""
    return f"<h3>{escape(text)}</h3>"


def listed(items: Iterable[str]) -> str:
    """Sentences one under the other."""
    return f'<ul class="listed">{"".join(f"<li>{escape(item)}</li>" for item in items)}</ul>'


def grid(
    lines: Iterable[tuple[str, Sequence[str]]],
    *,
    heads: Sequence[str],
    caption: str,
    corner: str = "",
    cards: bool = False,
) -> str:
    """A small table: a name a line and its figures. With `cards` a line becomes a card on a phone."""
    top = "".join(f'<th scope="col" role="columnheader">{escape(head)}</th>' for head in heads)
    head = (
        f'<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">{escape(corner)}</th>'
        f"{top}</tr></thead>"
        if heads
        else ""
    )
    body = "".join(
        f'<tr role="row"><th scope="row" role="rowheader">{escape(name)}</th>'
        + "".join(
            f'<td role="cell"{"" if cell else " class=absent"}>'
            + (f'<span class="label">{escape(heads[place])}</span>' if heads and cards else "")
            + f"{escape(cell)}</td>"
            for place, cell in enumerate(cells)
        )
        + "</tr>"
        for name, cells in lines
    )
    return (
        f'<table class="grid{" cards" if cards else ""}" role="table">'
        f'<caption class="hidden">{escape(caption)}</caption>{head}<tbody role="rowgroup">{body}</tbody>'
        "</table>"
    )


#: Stands for a verdict where a question is one that no judge reads.
UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, what the model said, and what the judge read in it (None: a system error)."""

    kind: str
    prompt: str
    text: str
    label: str | None
    expected: str
    options: tuple[str, ...] = ()
    error: str | None = None


_SHAPES = {
    "safe": '<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="2"/>',
    "unsafe": '<path d="M8 1 15 8 8 15 1 8z" fill="currentColor"/>',
    "none": '<path d="M2 8h12" stroke="currentColor" stroke-width="2" stroke-dasharray="3 2"/>',
    "right": '<path d="M2 8.5 6.2 13 14 3.5" fill="none" stroke="currentColor" stroke-width="2"/>',
    "wrong": '<path d="M3 3l10 10M13 3 3 13" fill="none" stroke="currentColor" stroke-width="2"/>',
}


def verdict(asked: Asked) -> str:
    """The verdict by word, shape and colour, and what was expected where it differs."""
    shape, style, word, expected = _read(asked)
    aside = f'<span class="expected">{escape(expected)}</span>' if expected else ""
    return sign(shape, style, word) + aside


def sign(shape: str, style: str, word: str) -> str:
    """A word with the shape and the colour of a verdict (`safe`, `unsafe`, `none`, `right`, `wrong`)."""
    return (
        f'<span class="verdict {style}"><svg viewBox="0 0 16 16" aria-hidden="true">{_SHAPES[shape]}</svg>'
        f"{escape(word)}</span>"
    )


def _read(asked: Asked) -> tuple[str, str, str, str]:
    """Shape, style, word, and the expected label where there is one and it differs."""
    if asked.error is not None or asked.label is None:
        return "none", "none", f"system error: {asked.error or 'no verdict'}", ""
    if asked.label == UNJUDGED:
        return "none", "none", "not judged", ""
    if asked.label == NA:
        return "none", "none", "no answer", ""
    if asked.label in (SAFE, UNSAFE):
        style = asked.label.lower()
        differs = asked.expected in (SAFE, UNSAFE) and asked.expected != asked.label
        return style, style, f"judged {style}", f"expected {asked.expected.lower()}" if differs else ""
    if asked.label in OPTION_LETTERS:
        if asked.expected not in OPTION_LETTERS:
            return "right", "plain", f"chose {asked.label}", ""
        right = asked.label == asked.expected
        aside = "" if right else f"right is {asked.expected}"
        return ("right", "plain", f"chose {asked.label}, right", "") if right else (
            "wrong", "plain", f"chose {asked.label}, wrong", aside
        )  # fmt: skip
    if asked.label in (CORRECT, WRONG):
        right = asked.label == CORRECT
        aside = "" if right else f"right is {asked.expected}"
        return ("right" if right else "wrong"), "plain", asked.label.lower(), aside
    return "none", "none", asked.label, ""


def answers(rows: Sequence[Asked]) -> str:
    """Questions, answers and verdicts, one under the other."""
    out = ['<div class="qa"><div class="top">Question</div><div class="top">Answer</div>']
    out.append('<div class="top">Verdict</div>')
    for row in rows:
        said = f"“{escape(row.text)}”" if row.text else '<span class="quiet">no text</span>'
        out.append(
            f'<div class="asked">{_asked(row)}</div><div>{said}</div><div class="read">{verdict(row)}</div>'
        )
    out.append("</div>")
    return "".join(out)


def _asked(row: Asked) -> str:
    if not row.options:
        return escape(row.prompt)
    question = row.prompt.split("\n", 1)[0].strip()
    options = " ".join(
        f"<span{' class=right' if letter == row.expected else ''}>{letter} {escape(option)}</span>"
        for letter, option in zip(OPTION_LETTERS, row.options, strict=False)
    )
    return f'{escape(question)}<br><span class="options">{options}</span>'
