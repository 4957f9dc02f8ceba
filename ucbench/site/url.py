"""Choices that live in the URL by their id (`?concept=gun-violence`), so that a page can be linked to.

Streamlit's own binding writes the label a visitor sees; labels change, ids do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from ucbench.site import unknown

#: Where the frame says which page is shown.
PAGE = "page"
#: What is remembered of where a visitor was: the page of a choice that goes along, the place in a list.
_ALONG = ("page:", "paging:")
#: What an address says where nothing is chosen of several.
NONE = "none"


def linked(
    widget: Callable[..., Any],
    label: str,
    options: Sequence[str],
    *,
    key: str,
    default: str | None,
    everywhere: bool = False,
    what: str | None = None,
    **rest: Any,
) -> str | None:
    """Show a single-choice widget whose value is the query parameter `key`; its default stays out of the URL.

    An address opened anew or reached by the back button wins over what was chosen before; a value that is
    not among the options counts as the default and is removed, and the page says so: it calls it a `what`,
    by default the label; empty says nothing. A choice that is the same `everywhere` goes with the visitor to
    the next page, whose address says nothing of it yet.
    """
    state, seen, before = st.session_state, f"url:{key}", f"default:{key}"
    told, came_from, arrived = st.query_params.get(key), state.get(f"page:{key}"), _arrived(key)
    if told is not None and told not in options:
        named = rest.get("format_func", str)(default) if default is not None else None
        unknown.say(key, [told], label.lower() if what is None else what, named)
    # Whoever has the default keeps it when it becomes another one.
    other_default = told is None and state.get(seen) is None and state.get(before, default) != default
    state[before] = default
    came_along = everywhere and came_from is not None and arrived
    if came_along and told is None and state.get(seen) in options:
        state[key] = state[seen]
    elif arrived or key not in state or told != state.get(seen) or other_default:
        state[key] = told if told in options else default
    elif state[key] is not None and state[key] not in options:
        state[key] = default
    chosen: str | None = widget(label, options, key=key, **rest)
    wanted = None if chosen == default else chosen
    tell(key, wanted)
    state[seen] = wanted
    return chosen


def linked_many(
    widget: Callable[..., Any],
    label: str,
    options: Sequence[str],
    *,
    key: str,
    default: Sequence[str] = (),
    what: str | None = None,
    **rest: Any,
) -> list[str]:
    """Show a multiple-choice widget whose choices are the query parameter `key`, ids with commas between.

    Nothing chosen is `none` where that is not the default. As with `linked`, an address wins over what was
    chosen before, and a value that is not among the options is removed; the page says so, as there. Whoever
    has the default keeps it when it becomes another one.
    """
    state, seen, known = st.session_state, f"url:{key}", frozenset(options)
    told, before = st.query_params.get(key), f"default:{key}"
    if told not in (None, NONE):
        named = [one for one in told.split(",") if one not in known]
        unknown.say(key, named, label.lower() if what is None else what)
    other_default = told is None and state.get(before) not in (None, tuple(default))
    state[before] = tuple(default)
    if _arrived(key) or key not in state or told != state.get(seen) or other_default:
        said = default if told is None else dict.fromkeys(told.split(","))
        state[key] = [choice for choice in said if choice in known]
    elif not known.issuperset(state[key]):
        state[key] = [choice for choice in state[key] if choice in known]
    chosen: list[str] = list(widget(label, options, key=key, **rest))
    usual = frozenset(chosen) == frozenset(default) & known
    wanted = None if usual else ",".join(chosen) or NONE
    tell(key, wanted)
    state[seen] = wanted
    return chosen


def linked_text(label: str, *, key: str, max_chars: int, **rest: Any) -> str:
    """Show a field whose text is the query parameter `key`; an address wins over what was typed before.

    Streamlit's own binding reads the address when a visit begins, not when a link of ours leads to a page.
    The field's own key is `text:<key>`, so that fields of other pages with such a binding leave it alone.
    """
    state, seen, field = st.session_state, f"url:text:{key}", f"text:{key}"
    told = st.query_params.get(key)
    if _arrived(key) or field not in state or told != state.get(seen):
        state[field] = (told or "")[:max_chars]
    typed: str = st.text_input(label, key=field, max_chars=max_chars, **rest) or ""
    tell(key, typed or None)
    state[seen] = typed or None
    return typed


def linked_flag(widget: Callable[..., Any], label: str, *, key: str, **rest: Any) -> bool:
    """Show a switch that is the query parameter `key`: `true` when it is on, else nothing."""
    state, seen = st.session_state, f"url:{key}"
    told = st.query_params.get(key)
    if _arrived(key) or key not in state or told != state.get(seen):
        state[key] = told == "true"
    on = bool(widget(label, key=key, **rest))
    wanted = "true" if on else None
    tell(key, wanted)
    state[seen] = wanted
    return on


def linked_share(widget: Callable[..., Any], label: str, *, key: str, step: float, **rest: Any) -> float:
    """Show a slider from 0 to 1 that is the query parameter `key`; 0 is the default and stays out of it.

    What is no number of that range counts as the default; others are moved to the nearest step.
    """
    state, seen = st.session_state, f"url:{key}"
    told = st.query_params.get(key)
    if _arrived(key) or key not in state or told != state.get(seen):
        state[key] = _share(told, step)
    value = float(widget(label, 0.0, 1.0, step=step, key=key, **rest))
    wanted = f"{value:g}" if value > 0 else None
    tell(key, wanted)
    state[seen] = wanted
    return value


def _arrived(key: str) -> bool:
    """Whether the visitor comes from another page, which may have a choice of the same name: Streamlit takes
    what was chosen there from the widget here, whatever the address says.
    """
    place, page = f"page:{key}", st.session_state.get(PAGE)
    before = st.session_state.get(place)
    st.session_state[place] = page
    return bool(before != page)


def _share(told: str | None, step: float) -> float:
    try:
        value = float(told or 0)
    except ValueError:
        return 0.0
    return round(round(value / step) * step, 6) if 0 <= value <= 1 else 0.0


def tell(key: str, wanted: str | None) -> None:
    """Make the address say `wanted` for `key`; None takes it out."""
    if wanted == st.query_params.get(key):
        return
    if wanted is None:
        del st.query_params[key]
    else:
        st.query_params[key] = wanted


def follow() -> None:
    """A link of ours was pressed: its address says it all, and nothing comes along from where it was pressed.

    Else a choice that goes with the visitor, or a list that begins anew with another filter, would show
    something else than the same address opened by somebody else.
    """
    for key in list(st.session_state):
        if str(key).startswith(_ALONG):
            del st.session_state[key]
