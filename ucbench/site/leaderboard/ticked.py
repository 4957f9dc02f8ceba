"""The models that a visitor ticks on the board, to compare them or to keep them in sight.

They live in the address: `ticked` names the runs with commas between, `keep` says whether these rows stand on
`top` of every page of the table or are the `only` ones. Ticks stay while filters and scores change; runs that
the track does not have are dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import streamlit as st

from ucbench.format import count, escape
from ucbench.site import links, unknown
from ucbench.site.url import tell

KEY, KEEP = "ticked", "keep"
#: As many as can be compared.
FEWEST, MOST = 2, 4
Keep = Literal["", "top", "only"]
_KEEPS: tuple[Keep, ...] = ("top", "only")


def read(told: str | None, known: Collection[str]) -> list[str]:
    """The runs of an address that the track has, each once, at most `MOST`."""
    wanted = dict.fromkeys((told or "").split(","))
    return [run_id for run_id in wanted if run_id in known][:MOST]


def ticked(known: Collection[str]) -> tuple[list[str], Keep]:
    """The runs that are ticked, and where their rows stand; the address is put right."""
    named = st.query_params.get(KEY)
    unknown.say(KEY, [run_id for run_id in (named or "").split(",") if run_id not in known], "run")
    chosen = read(named, known)
    told = st.query_params.get(KEEP)
    keep: Keep = next((one for one in _KEEPS if chosen and one == told), "")
    tell(KEY, ",".join(chosen) or None)
    tell(KEEP, keep or None)
    return chosen, keep


def press(what: str, known: Collection[str]) -> None:
    """What a pressed tick or a control of the bar does; nothing where it is neither."""
    action, _, told = what.partition(":")
    chosen = read(st.query_params.get(KEY), known)
    if action == "tick":
        for one in told.split(","):
            run_id = one[1:].removeprefix("row:")
            if one[:1] == "+" and run_id in known and run_id not in chosen and len(chosen) < MOST:
                chosen.append(run_id)
            elif one[:1] == "-" and run_id in chosen:
                chosen.remove(run_id)
    elif action == "untick":
        chosen = [run_id for run_id in chosen if told not in ("all", run_id)]
    elif action == "keep":
        tell(KEEP, None if st.query_params.get(KEEP) == told or told not in _KEEPS else told)
    tell(KEY, ",".join(chosen) or None)


def box(run_id: str, name: str, chosen: Sequence[str]) -> str:
    """The tick of a row as HTML; no further one can be set when there are `MOST`."""
    on = run_id in chosen
    state = " checked" if on else " disabled" if len(chosen) >= MOST else ""
    why = f' title="{MOST} models at most can be compared"' if state == " disabled" else ""
    return (
        f'<label class="choice"{why}><input type="checkbox" data-choose="row:{escape(run_id)}"{state} '
        f'aria-label="Choose {escape(name)} to compare"></label>'
    )


def bar(
    chosen: Sequence[str], names: Mapping[str, str], track: str, keep: Keep, category: str | None = None
) -> str:
    """The bar below the board: who is chosen, the way to the comparison, where the rows stand.

    It is there without a choice too, so that nothing moves when one is made.
    """
    if not chosen:
        return (
            '<div class="chosen"><span class="quiet">Tick two to four models to compare them, or to keep '
            "them in sight.</span></div>"
        )
    who = "".join(
        f'<li><button type="button" data-choose="untick:{escape(run_id)}" '
        f'aria-label="Leave out {escape(names[run_id])}"><span>{escape(names[run_id])}</span>'
        '<svg viewBox="0 0 10 10" aria-hidden="true"><path d="M2 2l6 6M8 2 2 8"/></svg></button></li>'
        for run_id in chosen
    )
    if len(chosen) < FEWEST:
        lead = '<span class="lead quiet">Tick another model to compare</span>'
    else:
        lead = links.link(
            f"Compare {count(len(chosen))} models", "compare", style="lead", runs=",".join(chosen),
            track=None if track == "pictograms" else track, category=category,
        )  # fmt: skip
    keeps = "".join(
        f'<button type="button" data-choose="keep:{one}" aria-pressed="{str(keep == one).lower()}">{words}'
        "</button>"
        for one, words in (("top", "Keep on top"), ("only", "Only these"))
    )
    return (
        f'<div class="chosen some" role="group" aria-label="Chosen models">{lead}<ul>{who}</ul>'
        f'<span class="keeps">{keeps}<button type="button" data-choose="untick:all">Clear</button></span>'
        "</div>"
    )
