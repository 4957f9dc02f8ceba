"""What an address names that is not there: said on the page in one way, before it is dropped."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ucbench.format import escape
from ucbench.site.component import figure

#: Where a page has the place for such lines.
PLACE = "unknown:place"
#: Names that are told of those that an address has in vain.
_FEW = 3


def place() -> None:
    """From here on the page has this place for lines on what its address names in vain."""
    st.session_state[PLACE] = st.container(gap=None)


def line(told: Sequence[str], what: str, instead: str | None = None) -> str:
    """The line on names in an address that stand for nothing, as HTML; empty where there are none.

    `instead` is the name of what is chosen in place of one; without it, it is left out.
    """
    names = [f"“{name[:60]}”" for name in dict.fromkeys(told) if name]
    if not names:
        return ""
    more = [f"{len(names) - _FEW} more"] if len(names) > _FEW else []
    if instead is not None:
        rest = f"“{instead}” is shown instead"
    else:
        rest = "it is left out" if len(names) == 1 else "they are left out"
    said = f"There is no {what} {' or '.join([*names[:_FEW], *more])} here; {rest}."
    return f'<p class="quiet">{escape(said)}</p>'


def say(key: str, told: Sequence[str], what: str, instead: str | None = None) -> None:
    """Say on the page that its address names something that is not there, before it is dropped."""
    said = line(told, what, instead) if what else ""
    if not said:
        return
    with st.session_state.get(PLACE) or st.container():
        figure(said, key=f"unknown_{key}")
