"""An address says all of a view: a link pressed within a visit shows what a fresh visit would show."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from ucbench import board as boards
from ucbench.site import links

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]

#: Page -> what its address can say, good values and bad ones; {0} and {1} are runs of the board.
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "track": ("contexts", "unsafeconcepts", "nix"),
        "category": ("violence", "hate"),
        "scoring": ("strict",),
        "chart": ("seen",),
        "x": ("text_alignment",),
        "y": ("perception", "size"),
        "weights": ("perception:1", "over_refusal:2"),
        "q": ("fair", "acme vlm"),
        "sort": ("perception", "size", "nothing"),
        "worst_first": ("true", "no"),
        "provenance": ("measured", "reported"),
        "family": ("unknown",),
        "size": ("unknown",),
        "access": ("open", "unknown"),
        "coverage": ("0.5", "0.03", "7", "x"),
        "columns": ("image_alignment,size", "perception"),
        "ticked": ("{0},{1}", "{1}", "nobody"),
        "keep": ("top", "only", "x"),
        "page": ("1", "2", "99"),
    },
    "concepts": {
        "track": ("contexts", "nix"),
        "category": ("violence", "nowhere"),
        "concept": ("arson", "gun-violence", "nothing"),
        "models": ("{0}", "{0},{1}"),
        "score": ("perception", "modality_gap"),
        "columns": ("2",),
        "by": ("text_alignment", "gap"),
        "page": ("1", "2"),
        "run": ("{1}", "nobody"),
    },
    "answers": {
        "track": ("contexts", "nix"),
        "run": ("{0}", "{1}", "nobody"),
        "concept": ("arson", "nothing"),
        "kind": ("perception", "text_alignment"),
        "q": ("yes", "zzzz"),
        "verdict": ("wrong", "safe,wrong"),
        "page": ("1", "2", "3"),
    },
}
#: Parts that tell of a visit and not of a view.
NOT_OF_THE_VIEW = ("sheet", "footer")


def view(app: Any, read: Figures) -> dict[str, Any]:
    """All that a page shows and says of itself."""
    told: dict[str, Any] = {
        f"figure {key}": html for key, html in read(app).items() if key not in NOT_OF_THE_VIEW
    }
    for kind in ("text_input", "selectbox", "slider", "toggle", "multiselect", "caption", "header", "info"):
        found = [(getattr(one, "label", ""), one.value) for one in app.get(kind) if hasattr(one, "value")]
        told[kind] = found
    told["address"] = {key: app.query_params[key] for key in sorted(app.query_params)}
    return told


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("page", list(CHOICES), ids=lambda page: page or "leaderboard")
@pytest.mark.parametrize(("seed", "visits"), [(1, 4), pytest.param(2, 40, marks=pytest.mark.slow)])
def test_a_link_pressed_shows_what_its_address_shows(
    page: str, seed: int, visits: int, open_app: App, read_figures: Figures, site_store: Any
) -> None:
    rows = boards.load(site_store).rows
    rows = rows[(rows["track"] == "pictograms") & (rows["provenance"] == "measured")]
    runs = [str(run_id) for run_id in rows["run_id"][:2]]
    draw = random.Random(f"{seed}/{page}")
    choices = CHOICES[page]

    def address(n: int) -> dict[str, str]:
        keys = draw.sample(sorted(choices), min(n, len(choices)))
        return {key: draw.choice(choices[key]).format(*runs) for key in keys}

    file = None if page == "" else links.PAGES[page]
    visitor = open_app(file, **address(len(choices)))  # comes with a view full of choices
    for visit in range(visits):
        wanted = address(visit * 2)  # the first link says nothing at all
        visitor.session_state[links.GO] = (page or ".") + (f"?{urlencode(wanted)}" if wanted else "")
        visitor.run()
        assert not visitor.exception
        other = open_app(file, **wanted)
        assert view(visitor, read_figures) == view(other, read_figures), wanted


@pytest.mark.usefixtures("stores")
def test_a_link_to_another_page_brings_nothing_along(open_app: App, read_figures: Figures) -> None:
    app = open_app(track="contexts", q="acme", page="2")
    app.session_state[links.GO] = "concepts?concept=arson"
    app.run()
    other = open_app(links.PAGES["concepts"], concept="arson")
    assert view(app, read_figures) == view(other, read_figures)
    assert dict(app.query_params) == {"concept": "arson"}
