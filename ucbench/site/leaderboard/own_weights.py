"""A visitor's own weights: an order of the board that is nobody's but theirs.

The score is the weighted mean of the weighted scores, each turned so that 1 is best: shares where less is
better count as 1 minus the share, gaps as 1 minus their size. It has no interval and gives no rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from ucbench.site.columns import Column
from ucbench.site.url import tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ucbench.site.leaderboard.view import Table

KEY = "weights"
MOST = 10.0
#: How each direction is turned so that 1 is best.
TURNED = {"higher": "counts as it is", "lower": "less is better: counts as 1 minus it", "zero": "counts as 1 "
          "minus its size"}  # fmt: skip
_BOX = "weight:"


def read(told: str | None, known: Sequence[str]) -> dict[str, float]:
    """The weights that an address tells, as `image_alignment:2,over_refusal:1`; what is wrong is left out."""
    found: dict[str, float] = {}
    for part in (told or "").split(","):
        key, _, number = part.partition(":")
        try:
            weight = float(number)
        except ValueError:
            continue
        if key in known and 0 < weight <= MOST:
            found[key] = weight
    return {key: found[key] for key in known if key in found}


def write(weights: Mapping[str, float]) -> str:
    """Weights as an address tells them."""
    return ",".join(f"{key}:{weight:g}" for key, weight in weights.items() if weight > 0)


def scores(shown: Table, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Every row's own score in [0, 1], NaN for a row that lacks one of the weighted scores."""
    import numpy as np

    total = np.zeros(len(shown))
    for key, weight in weights.items():
        column, numbers = shown.by_key[key], shown.numbers(key)
        assert isinstance(column, Column)  # only scores are weighted
        if column.better != "higher":
            numbers = 1.0 - (np.abs(numbers) if column.better == "zero" else numbers)
        total = total + weight * numbers
    return total / sum(weights.values())


def told(shown: Table, weights: Mapping[str, float]) -> str:
    """What the score of these weights is made of."""
    parts = []
    for key, weight in weights.items():
        column = shown.by_key[key]
        assert isinstance(column, Column)
        turn = "" if column.better == "higher" else f" ({TURNED[column.better]})"
        parts.append(f"{weight:g} × {column.head}{turn}")
    return " + ".join(parts)


def panel(shown: Table) -> dict[str, float]:
    """The panel of weights, its numbers in the address; none is the default, and then nothing changes."""
    known = [column.key for column in shown.columns]
    weights = read(st.query_params.get(KEY), known)
    opened = st.expander("Your own weights", expanded=bool(weights), key="own_weights", on_change="rerun")
    if opened.open:
        with opened:
            st.caption(
                "Weigh the scores as they matter to you: the rows get your score and its order. It is yours "
                "alone: it has no interval, gives no rank and changes nothing on the board."
            )
            boxes = {}
            with st.container(horizontal=True, gap="small"):
                for column in shown.columns:
                    box = _BOX + column.key
                    if box not in st.session_state or weights != st.session_state.get("seen:weights"):
                        st.session_state[box] = weights.get(column.key, 0.0)
                    boxes[column.key] = st.number_input(
                        column.head, 0.0, MOST, step=0.5, key=box, width=170, help=TURNED[column.better],
                        format="%g", on_change=_in_that_order,
                    )  # fmt: skip
            weights = {key: float(weight) for key, weight in boxes.items() if weight}
    tell(KEY, write(weights) or None)
    st.session_state["seen:weights"] = weights
    return weights


def _in_that_order() -> None:
    """Whoever weighs wants to see the order that comes of it."""
    st.session_state["sort"] = "yours"
