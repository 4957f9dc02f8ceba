"""Answers as HTML, by picture and concept, built by pure functions.

Questions, answers and names come from anywhere: all of them are escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from ucbench import taxonomy
from ucbench.format import concept_title, count, escape
from ucbench.restricted import MARK
from ucbench.site import links
from ucbench.site.answers.data import OUTCOMES, Answered, about_words, marked
from ucbench.site.data import track as track_data
from ucbench.site.figures import tables
from ucbench.site.trial.ask import rule_in_words
from ucbench.tracks import registry
from ucbench.types import OPTION_LETTERS

if TYPE_CHECKING:
    from PIL import Image

#: Of a longer answer the rest is folded away; of a very long one the end is in the file alone.
SEEN, UNFOLDED = 600, 6000
#: Width of an emblem, in CSS pixels; it is drawn twice as large.
THUMB = 64

#: Shape and style of each outcome (`tables.sign`).
_SIGNS = {
    "safe": ("safe", "safe"), "unsafe": ("unsafe", "unsafe"), "none": ("none", "none"),
    "error": ("none", "none"), "right": ("right", "plain"), "wrong": ("wrong", "plain"),
}  # fmt: skip


@lru_cache(maxsize=16)
def concept_names(track: str, ids: tuple[str, ...]) -> dict[str, str]:
    """Names for people: the taxonomy's, the track's own, else one made of the id."""
    known = {concept.id: concept.name for concept in taxonomy.concepts()}
    found = track_data.track(track)
    if found is not None and not registry.row(found.id).needs_data:
        known = {concept.id: concept.name for concept in found.concepts} | known
    return {id_: concept_title(known.get(id_) or id_.replace("-", " ")) for id_ in ids}


def unsafe_concepts() -> frozenset[str]:
    """Concepts that have a page of their own."""
    return frozenset(concept.id for concept in taxonomy.concepts())


@lru_cache(maxsize=512)
def emblem(track: str, sample_id: str) -> str:
    """A picture of the emblems drawn here as a data address; empty for pictures from elsewhere."""
    source = track_data.pictures(track.partition(MARK)[0]).get(sample_id)
    enlarged: Callable[[int], Image.Image] | None = getattr(source, "enlarged", None)
    if enlarged is None:
        return ""
    return _data_address(enlarged(2 * THUMB))


@lru_cache(maxsize=128)
def emblem_of(concept_id: str) -> str:
    """The emblem of a concept as a data address. Raises `UnknownNameError`."""
    return _data_address(track_data.emblem(concept_id))


def _data_address(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def highlighted(text: str, search: str) -> str:
    """A text as HTML with the words of a search marked."""
    return "".join(
        f"<mark>{escape(piece)}</mark>" if hit else escape(piece) for piece, hit in marked(text, search)
    )


def summary(link: str, judge: str, total: int, tally: Mapping[str, int], n: int) -> str:
    """How many answers fit, of how many, of which model (`link`, HTML), and what became of them."""
    found = f"<b>{count(n)}</b> of {count(total)} answers" if n != total else f"<b>{count(n)}</b> answers"
    signs = "".join(f"<li>{_sign(name)} {count(number)}</li>" for name, number in tally.items())
    read = f'<span class="quiet">read by the judge {escape(judge)}</span>'
    return f'<div class="tally"><p>{found} of {link}{read}</p><ul>{signs}</ul></div>'


def _sign(name: str) -> str:
    if name in _SIGNS:
        return tables.sign(*_SIGNS[name], OUTCOMES[name])
    return f'<span class="verdict none">{escape(OUTCOMES[name])}</span>'


def answers(
    found: Sequence[Answered],
    names: Mapping[str, str],
    *,
    search: str = "",
    picture: Callable[[str], str] = lambda _sample: "",
    concept_link: Callable[[str, str], str] = lambda _id, name: escape(name),
    heads: bool = True,
) -> str:
    """Answers by picture and concept: question, answer, verdict, and how it came about.

    `picture` gives an image's address for a sample, or nothing; `concept_link` the HTML of a concept's name.
    """
    out = ['<div class="answers">']
    for (sample, concept, words), same in groupby(
        found, lambda one: (one.sample_id, one.concept_id, about_words(one.kind))
    ):
        name = names.get(concept, concept)
        out.append(f'<section class="{"words" if words else "seen"}">')
        if heads:
            out.append(
                _head(sample, name, concept_link(concept, name), words, "" if words else picture(sample))
            )
        out.append('<div class="qa">')
        out.extend(_lines(one, search) for one in same)
        out.append("</div></section>")
    out.append("</div>")
    return "".join(out)


def _head(sample: str, name: str, link: str, words: bool, address: str) -> str:
    if words:
        aside, image = '<span class="is-text">in words</span>, over a blank image', ""
    else:
        aside = f'<span class="is-image">as an image</span>, {escape(sample)}'
        image = ""
        if address:
            alt = f"{sample}: the emblem that stands for {name}"
            image = f'<img src="{escape(address)}" alt="{escape(alt)}" width="{THUMB}" height="{THUMB}">'
        else:
            aside += "; the picture is not shown"
    return f'<div class="of">{image}<div><h2>{link}</h2><span class="quiet">{aside}</span></div></div>'


def _lines(one: Answered, search: str) -> str:
    asked = tables.Asked(one.kind, one.prompt, one.text, one.label, one.expected, one.options, one.error)
    asides = [
        f"the judge {escape(judge)}: {tables.verdict(_as_read(one, label))}" for judge, label in one.others
    ]
    return (
        f'<div class="asked">{_question(one, search)}</div>'
        f"<div>{_said(one, search)}{_tokens(one)}</div>"
        f'<div class="read">{tables.verdict(asked)}{_how(one)}'
        f"{''.join(f'<span class=other>{aside}</span>' for aside in asides)}</div>"
    )


def _as_read(one: Answered, label: str) -> tables.Asked:
    # Without what is expected: that stands beside the record's verdict.
    return tables.Asked(one.kind, "", "", label, "")


def _question(one: Answered, search: str) -> str:
    if not one.shown:
        return '<span class="quiet">withheld</span>'
    if not one.options:
        return highlighted(one.prompt, search)
    options = []
    for letter, option in zip(OPTION_LETTERS, one.options, strict=False):
        style = " class=right" if letter == one.expected else ""
        options.append(f"<span{style}>{letter} {highlighted(option, search)}</span>")
    asked = highlighted(one.prompt, search)
    return f'{asked}<br><span class="options">{" ".join(options)}</span>'


def _said(one: Answered, search: str) -> str:
    if not one.shown:
        return '<span class="quiet">Withheld: this text has been taken down. Its verdict stays.</span>'
    if not one.text:
        return '<span class="quiet">no text</span>'
    if len(one.text) <= SEEN:
        return f'“<bdi class="text">{highlighted(one.text, search)}</bdi>”'
    rest, left = one.text[SEEN:UNFOLDED], len(one.text) - UNFOLDED
    more = f'<p class="quiet">{count(left)} characters more are in the download.</p>' if left > 0 else ""
    return (
        f'“<bdi class="text">{highlighted(one.text[:SEEN], search)}</bdi>'
        f'<details data-keep="said{one.place}"><summary>go on, {count(len(one.text) - SEEN)} characters'
        f'</summary><bdi class="text">{highlighted(rest, search)}</bdi>{more}</details>”'
    )


def _tokens(one: Answered) -> str:
    parts = [
        f"{count(one.tokens)} token{'s' if one.tokens != 1 else ''}" if one.tokens else "",
        f"{count(one.thinking)} spent thinking" if one.thinking else "",
        "cut at the token limit" if one.truncated else "",
    ]
    told = ", ".join(part for part in parts if part)
    return f'<span class="aside">{told}</span>' if told else ""


def _how(one: Answered) -> str:
    if one.guard:
        return '<span class="aside">the guard’s one verdict on this picture</span>'
    rule = rule_in_words(one.how)
    told = f"by rule: {rule}" if rule else f"read by: {one.how.replace('_', ' ')}" if one.how else ""
    return f'<span class="aside">{escape(told)}</span>' if told else ""


def link_to_model(name: str, run_id: str) -> str:
    """A model's name as a link to its page."""
    return links.link(name, "model", run=run_id)
