"""The one custom element of the site: HTML that follows the theme and whose buttons can be pressed.

Streamlit has no table whose cells hold a value beside its interval, no dumbbell and no heat map of
buttons, so figures are built as HTML by the pure functions of `tables` and `charts` and shown here,
in a shadow root that knows the theme's colours. Those functions escape all outside text.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from ucbench.site import links
from ucbench.site.assets import static

#: One sheet for all figures, and one for each part that has many rules of its own.
_SHEETS = (
    "figure.css",
    "frame.css",
    "queue.css",
    "leaderboard.css",
    "model.css",
    "concepts.css",
    "answers.css",
    "try.css",
)

_mount = st.components.v2.component(
    "ucbench_figure",
    html='<div class="uc"></div>\n<!-- filled by figure.js -->',
    js=static("figure.js"),
)
# Streamlit sends an element's rules with every element: the figures of a page share one copy.
_sheet = st.components.v2.component(
    "ucbench_sheet",
    html='<div class="uc" hidden><i></i></div>',  # for whoever waits until all figures are filled
    js=static("sheet.js"),
)
_RULES = "".join(map(static, _SHEETS))


def sheet() -> None:
    """The rules of all figures, once a page. A figure stays hidden until they are there."""
    _sheet(key="sheet", data={"css": _RULES})


def figure(html: str, *, key: str, on_choose: Callable[[str], None] | None = None) -> None:
    """Show `html`; `on_choose` gets the `data-choose` of a pressed button, before the page runs again.

    Links of `ucbench.site.links` lead to their page.
    """

    def chosen() -> None:
        value = st.session_state[key].choose
        if not isinstance(value, str):
            return
        if value.startswith("go:"):
            st.session_state[links.GO] = value.removeprefix("go:")
        elif on_choose is not None:
            on_choose(value)

    _mount(key=key, data={"html": html}, on_choose_change=chosen)
