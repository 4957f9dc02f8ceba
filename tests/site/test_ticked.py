"""Ticked models: their address, the bar that compares them, rows that stay in sight."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench import board as boards
from ucbench.site.columns import BY_KEY
from ucbench.site.leaderboard import parts as leaderboard_parts
from ucbench.site.leaderboard import ticked
from ucbench.site.leaderboard.parts import Chosen
from ucbench.site.leaderboard.view import Scope, Table

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
KNOWN = ["a", "b", "c", "d", "e", "f@test"]


def row(model: str, **cells: Any) -> dict[str, Any]:
    usual = {
        "run_id": model, "model": model, "provenance": "measured", "rank_low": 1, "rank_high": 1,
        "track": "pictograms", "track_version": "1", "split": "test", "draw": 0, "judge": "rules-1",
    }  # fmt: skip
    return usual | cells


def table(*rows: dict[str, Any]) -> Table:
    return Table(Scope("pictograms"), rows, [BY_KEY["perception"]])


@given(st.lists(st.sampled_from([*KNOWN, "nobody", ""]), max_size=9))
def test_an_address_ticks_known_runs_once_and_no_more_than_can_be_compared(told: list[str]) -> None:
    found = ticked.read(",".join(told), KNOWN)
    assert len(found) == len(set(found)) <= ticked.MOST
    assert set(found) <= set(KNOWN) & set(told)
    assert ticked.read(",".join(found), KNOWN) == found


class Inputs(HTMLParser):
    """The ticks of some HTML: what each stands for, and its state."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str | None]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "input":
            told = dict(attrs)
            self.found[str(told["data-choose"])] = told


def drawn(shown: Table, order: list[int], mine: Chosen, on_top: int = 0) -> str:
    return leaderboard_parts.rows(
        shown, np.array(order, np.intp), [BY_KEY["perception"]], [], "perception",
        reverse=False, yours=None, mine=mine, on_top=on_top,
    )  # fmt: skip


def test_every_row_has_a_tick_and_no_fifth_can_be_set() -> None:
    shown = table(*(row(name, perception=0.5) for name in "abcde"))
    two = Inputs(drawn(shown, [0, 1, 2, 3, 4], Chosen(("a", "c"), "", {"a": "a", "c": "c"}))).found
    assert list(two) == [f"row:{name}" for name in "abcde"]
    assert [key for key, told in two.items() if "checked" in told] == ["row:a", "row:c"]
    assert not any("disabled" in told for told in two.values())
    four = tuple("abcd")
    full = Inputs(drawn(shown, [0, 1, 2, 3, 4], Chosen(four, "", {one: one for one in four}))).found
    assert [key for key, told in full.items() if "disabled" in told] == ["row:e"]
    assert two["row:b"]["aria-label"] == "Choose b to compare"


def test_the_caption_counts_the_rows_that_fit() -> None:
    assert (
        leaderboard_parts._caption(50, 97, 1000, "Size") == "50 of 97 rows that fit, of 1,000, sorted by Size"
    )
    assert leaderboard_parts._caption(50, 1000, 1000, "Size") == "50 of 1,000 rows, sorted by Size"


def test_the_bar_leads_to_the_comparison_and_is_there_before() -> None:
    names = {"a": "<b>A", "b": "B"}
    nothing = ticked.bar([], {}, "pictograms", "")
    one = ticked.bar(["a"], names, "pictograms", "")
    two = ticked.bar(["a", "b"], names, "contexts", "top")
    assert 'href="compare?runs=a%2Cb&amp;category=hate"' in ticked.bar(
        ["a", "b"], names, "pictograms", "", "hate"
    )
    assert all('class="chosen' in html for html in (nothing, one, two))
    assert "href" not in nothing + one
    assert 'href="compare?runs=a%2Cb&amp;track=contexts"' in two
    assert "Compare 2 models" in two
    assert "<b>A" not in two
    assert 'data-choose="keep:top" aria-pressed="true"' in two
    assert 'data-choose="keep:only" aria-pressed="false"' in two


def test_rows_kept_on_top_stand_there_whatever_the_filter_says() -> None:
    shown = table(
        row("best", perception=0.9), row("worst", perception=0.1), row("middle", perception=0.5),
        row("paper", perception=0.8, provenance="reported", rank_low=None),
    )  # fmt: skip
    order, kept = shown.order("perception"), np.array([True, False, True, True])

    def names(mine: Chosen) -> tuple[list[str], list[str]]:
        top, rest = leaderboard_parts.arranged(shown, order, kept, mine)
        return tuple([str(shown.rows[place]["run_id"]) for place in part] for part in (top, rest))  # type: ignore[return-value]

    assert names(Chosen()) == ([], ["best", "middle", "paper"])
    assert names(Chosen(("worst", "paper"), "")) == ([], ["best", "middle", "paper"])
    assert names(Chosen(("worst", "paper"), "top")) == (["worst", "paper"], ["best", "middle"])
    assert names(Chosen(("worst", "best", "gone"), "only")) == ([], ["best", "worst"])
    html = drawn(shown, [1, 3, 0, 2], Chosen(("worst", "paper"), "top", {"worst": "w", "paper": "p"}), 2)
    heads = [
        html.index(words) for words in ("Chosen by you, of whom some were asked otherwise", "The others")
    ]
    assert heads[0] < html.index(">worst<") < heads[1] < html.index(">best<")


@pytest.fixture
def runs(site_store: Any) -> list[str]:
    rows = boards.load(site_store).rows
    rows = rows[(rows["track"] == "pictograms") & (rows["provenance"] == "measured")]
    return [str(run_id) for run_id in rows["run_id"]]


@pytest.mark.usefixtures("stores")
def test_ticks_are_in_the_address_and_stay_while_the_view_changes(
    open_app: App, read_figures: Figures, runs: list[str]
) -> None:
    first, second = runs[:2]
    app = open_app(ticked=f"{first},nobody,{second}", keep="only")
    assert app.query_params["ticked"] == f"{first},{second}"
    board = read_figures(app)["board"]
    assert board.count('scope="row"') == 2
    assert "Compare 2 models" in board
    app.selectbox(key="category").set_value("violence").run()
    app.text_input(key="text:q").set_value("no such name").run()
    board = read_figures(app)["board"]
    assert board.count('scope="row"') == 2
    assert board.count(" checked") == 2
    # Another track has other rows.
    app.selectbox(key="track").set_value("contexts").run()
    assert not {first, second} & set(str(app.query_params.get("ticked", "")).split(","))
