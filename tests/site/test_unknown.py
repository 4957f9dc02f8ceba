"""What an address names in vain is said on the page, whatever the choice is, before it is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ucbench.site import unknown

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]


def test_the_line_names_a_few_and_is_safe_to_show() -> None:
    assert unknown.line([], "run") == unknown.line([""], "run") == ""
    assert "There is no run “zzz” here; it is left out." in unknown.line(["zzz", "zzz"], "run")
    assert "“a” or “b” here; they are left out." in unknown.line(["a", "b"], "run")
    assert "“a” or “b” or “c” or 2 more here" in unknown.line(list("abcde"), "run")
    assert "“&lt;b&gt;” here; “All” is shown instead." in unknown.line(["<b>"], "concept", "All")
    assert "z" * 61 not in unknown.line(["z" * 99], "run")


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize(
    ("page", "query", "what"),
    [
        (
            None,
            {"ticked": "zzz", "sort": "zzz", "scoring": "zzz", "columns": "zzz", "chart": "zzz"},
            {"ticked": "run", "sort": "column", "scoring": "scoring", "columns": "column", "chart": "chart"},
        ),
        ("compare", {"runs": "zzz,yyy"}, {"runs": "run"}),
        ("concepts", {"concept": "zzz", "models": "zzz"}, {"concept": "concept", "models": "run"}),
        ("answers", {"concept": "zzz", "model": "zzz"}, {"concept": "concept", "model": "run"}),
        ("try", {"about": "zzz"}, {"about": "concept"}),
    ],
)
def test_a_page_says_what_its_address_names_in_vain(
    page: str | None, query: dict[str, str], what: dict[str, str], open_app: App, read_figures: Figures
) -> None:
    from ucbench.site.links import PAGES

    app = open_app(PAGES[page] if page else None, **query)
    shown = read_figures(app)
    for key, name in what.items():
        assert f"There is no {name} “zzz”" in shown[f"unknown_{key}"]
        assert "zzz" not in str(app.query_params.get(key))
    app.run()
    assert not [key for key in read_figures(app) if key.startswith("unknown_")]


@pytest.mark.usefixtures("stores")
def test_what_an_address_names_well_is_not_spoken_of(open_app: App, read_figures: Figures) -> None:
    shown = read_figures(open_app(sort="perception", columns="none", scoring="strict"))
    assert not [key for key in shown if key.startswith("unknown_")]
