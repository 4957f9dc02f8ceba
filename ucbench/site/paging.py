"""Long lists a page at a time; the page is in the URL, so that every part of a list can be linked to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from ucbench.format import count, escape
from ucbench.site.component import figure
from ucbench.site.url import tell

#: Its longest address of a page: more digits are no page.
_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list of `total` things: page `number` of `pages`, counted from 1.

    `key` is the query parameter that names it.
    """

    number: int
    size: int
    total: int
    key: str = "page"

    @property
    def pages(self) -> int:
        """How many there are, at least one."""
        return max(1, -(-self.total // self.size))

    @property
    def start(self) -> int:
        """The place of its first thing, from 0."""
        return (self.number - 1) * self.size

    @property
    def stop(self) -> int:
        """The place after its last thing."""
        return min(self.start + self.size, self.total)

    @property
    def slice(self) -> slice:
        """What of the list is on it."""
        return slice(self.start, self.stop)

    def turned(self, where: str) -> int:
        """The number of the page that a control of `buttons` leads to; this one for others."""
        if where == "next":
            return min(self.number + 1, self.pages)
        if where == "previous":
            return max(self.number - 1, 1)
        kind, _, number = where.partition(":")
        known = kind == "page" and number.isdecimal() and len(number) <= _DIGITS
        return min(max(int(number), 1), self.pages) if known else self.number


def read(told: str | None, size: int, total: int) -> Page:
    """The page that an address tells; what is no number is the first, what lies behind the last the last."""
    number = int(told) if told and told.isdecimal() and len(told) <= _DIGITS else 1
    return Page(min(max(number, 1), Page(1, size, total).pages), size, total)


def current(total: int, size: int, *, key: str, scope: object = None) -> Page:
    """The page of a list that the query parameter `key` names. Another `scope` (a filter) begins anew."""
    told, place = st.query_params.get(key), f"paging:{key}"
    before = st.session_state.get(place)
    if told is not None and before is not None and before[0] != scope and before[1] == told:
        told = None
    page = replace(read(told, size, total), key=key)
    _tell(key, page.number)
    st.session_state[place] = scope, st.query_params.get(key)
    return page


def _tell(key: str, number: int) -> None:
    tell(key, None if number == 1 else str(number))


def pager(page: Page, what: str, *, key: str, to_top: bool = False) -> None:
    """The controls of a list (nothing for a list of one page); `key` tells two of a page apart.

    `to_top` scrolls to the head of the page when turned.
    """
    if page.pages > 1:
        figure(
            buttons(page, what, to_top=to_top),
            key=f"pager_{key}",
            on_choose=lambda where: _tell(page.key, page.turned(where)),
        )


def buttons(page: Page, what: str, *, to_top: bool = False) -> str:
    """The controls as HTML: back and forth, the first, the last and those beside this one.

    "Next" keeps its name when pressed, so that it keeps the focus; at an end it is there and does nothing.
    """
    top = " data-top" if to_top else ""

    def step(where: str, text: str, *, at_end: bool) -> str:
        still = " aria-disabled=true" if at_end else ""
        return f'<button type="button" data-choose="{where}"{top}{still}>{text}</button>'

    numbers = sorted(
        {1, page.number - 1, page.number, page.number + 1, page.pages} & {*range(1, page.pages + 1)}
    )
    out, last = [], 0
    for number in numbers:
        if number > last + 1:
            out.append("<span>…</span>")
        here = ' aria-current="page"' if number == page.number else ""
        out.append(
            f'<button type="button" data-choose="page:{number}"{top}{here} '
            f'aria-label="Page {number} of {page.pages}">{count(number)}</button>'
        )
        last = number
    shown = f"{what} {count(page.start + 1)}–{count(page.stop)} of {count(page.total)}"
    return (
        f'<nav class="pager" aria-label="Pages of {escape(what)}"><span class="quiet">{escape(shown)}</span>'
        f"{step('previous', 'Previous', at_end=page.number == 1)}{''.join(out)}"
        f"{step('next', 'Next', at_end=page.number == page.pages)}</nav>"
    )
