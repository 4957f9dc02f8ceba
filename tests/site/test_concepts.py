"""The concepts page: the heat map by pages of models, the hardest concepts, one concept over all models."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ucbench import board as boards
from ucbench.format import fraction
from ucbench.site.concepts import hardest, one_concept, spread
from ucbench.site.concepts.data import Column
from ucbench.site.figures import heat
from ucbench.site.figures.charts import IMAGE_AND_TEXT
from ucbench.site.figures.heat import HeatModel, HeatRow, HeatSection

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
PAGE = "app_pages/concepts.py"

SHARES = st.one_of(st.just(float("nan")), st.floats(0, 1))
TABLES = st.integers(1, 6).flatmap(
    lambda n: arrays(float, st.tuples(st.integers(1, 9), st.just(n)), elements=SHARES)
)


@given(TABLES)
def test_the_hardest_concepts_are_counted_over_models_with_a_figure(values: Any) -> None:
    ids = [f"c{n}" for n in range(values.shape[1])]
    found = hardest.called_safe(values, ids)
    told = {id_: [v for v in values[:, n].tolist() if v == v] for n, id_ in enumerate(ids)}
    assert {one.id for one in found} == {id_ for id_, scores in told.items() if scores}
    for one in found:
        scores = told[one.id]
        assert one.n == len(scores)
        assert one.share == pytest.approx(sum(score < 0.5 for score in scores) / len(scores))
        assert one.low <= one.median <= one.high
        assert one.median == pytest.approx(float(np.median(scores)))
    assert [(-one.share, one.median) for one in found] == sorted((-one.share, one.median) for one in found)
    assert [one.median for one in hardest.widest(values, ids)] == sorted(
        (one.median for one in found), reverse=True
    )


@given(TABLES, st.booleans())
def test_lists_of_hard_concepts_hold_every_concept_and_stay_on_their_axis(values: Any, signed: bool) -> None:
    if signed:
        values = 2 * values - 1
    ids = [f"c{n}" for n in range(values.shape[1])]
    names = {id_: f"<b>{id_}" for id_ in ids}
    found = hardest.widest(values, ids)
    html = hardest.ranking(found, names, hardest.Words("t", "s", "f", "ink", signed=signed))
    assert re.findall(r'data-choose="(\w+)">&lt;b&gt;', html) == [one.id for one in found]
    for one in found:
        assert f">{fraction(one.median, signed=signed)}</td>" in html
    places = [float(place) for place in re.findall(r"(?:left|width):([\d.]+)%", html)]
    assert all(0 <= place <= 100 for place in places)


ENDS = [SHARES, SHARES]


@given(st.lists(st.tuples(*ENDS), min_size=1, max_size=12),
       st.sampled_from(["image_alignment", "text_alignment", one_concept.GAP]))  # fmt: skip
def test_models_of_a_concept_come_best_first(pairs: list[tuple[float, float]], order: str) -> None:
    keys = ["image_alignment", "text_alignment"]
    sides = [np.array(side) for side in zip(*pairs, strict=True)]
    columns = {key: Column(side, side, side) for key, side in zip(keys, sides, strict=True)}
    places = one_concept.by_order(columns, keys, order).tolist()
    assert sorted(places) == [place for place, pair in enumerate(pairs) if not np.isnan(pair).all()]
    by = -np.abs(sides[1] - sides[0]) if order == one_concept.GAP else sides[keys.index(order)]
    scores = [by[place] for place in places]
    known = [score for score in scores if score == score]
    assert known == sorted(known, reverse=True)
    assert all(score != score for score in scores[len(known) :])
    # Of two alike the one that the board has first.
    for first, second in pairwise(places):
        assert by[first] != by[second] or first < second


def test_every_cell_of_the_map_holds_its_figure() -> None:
    rows = (HeatRow("a", "A & B", (0.0, None, 1.0)),)
    models = [HeatModel(n, f"<i>{n}") for n in (9, 10, 11)]
    html = heat.heat_map(
        [HeatSection("One", rows, (0.5, None, -0.25))], models, scale="gap", title="Gap", unit="a difference"
    )
    cells = re.findall(r'<td role="cell"><span ([^>]*)>([^<]*)</span>', html)
    assert [figure for _, figure in cells] == [".00", "–", "+1.00", "+.50", "–", "−.25"]
    # What has no figure does not look like zero.
    assert [("none" in style) for style, _ in cells] == [False, True, False, False, True, False]
    assert "<i>9" not in html
    assert "A &amp; B" in html
    for said in ("a difference", "no figure", "−1", "+1", "<b>9</b>", "<b>11</b>"):
        assert said in html


@given(arrays(float, st.integers(0, 40), elements=SHARES))
def test_the_spread_counts_every_model(values: Any) -> None:
    n = int((~np.isnan(values)).sum())
    html = spread.spread([values, values], IMAGE_AND_TEXT, title="t")
    assert bool(html) == (n >= spread.FEWEST)
    if html:
        assert html.count(f"{n} models, median {fraction(float(np.nanmedian(values)))}") == 2
        heights = [float(height) for height in re.findall(r"height:([\d.]+)%", html)]
        assert len(heights) == 2 * spread.BINS
        assert max(heights) == 100


# --- the page ---


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, scripted_store: Path) -> Path:
    """A board of 30 models: the three of a store, ten times under other ids."""
    import pandas as pd

    folder = tmp_path_factory.mktemp("many")
    found = boards.load(scripted_store)
    rows, lines = [], []
    for n in range(10):
        ids = {run_id: f"{n:02}{run_id[2:]}" for run_id in found.rows["run_id"]}
        rows.append(
            found.rows.assign(run_id=found.rows["run_id"].map(ids), model=found.rows["model"] + f"-{n}")
        )
        lines.append(found.breakdowns.assign(run_id=found.breakdowns["run_id"].map(ids)))
    for name, frames, types in (
        (boards.BOARD, rows, boards._types()), (boards.BREAKDOWNS, lines, boards.BREAKDOWN_TYPES),
    ):  # fmt: skip
        pd.concat(frames, ignore_index=True).to_parquet(
            folder / name, schema=boards._schema(types), index=False
        )
    (folder / boards.MANIFEST).write_text('{"tables": {}, "runs": {}}')
    return folder


@pytest.fixture
def many_models(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCBENCH_RESULTS", str(many))
    monkeypatch.setenv("UCBENCH_RUNS", str(tmp_path / "runs"))


def columns_of(figures: dict[str, str]) -> list[str]:
    """The models of the heat map as its list has them."""
    return [unescape(name) for name in re.findall(r"data-go=[^>]*>([^<]*)</a></span></li>", figures["heat"])]


@pytest.mark.usefixtures("many_models")
def test_every_model_can_be_reached_and_the_hardest_are_over_all(
    open_app: App, read_figures: Figures
) -> None:
    seen: list[str] = []
    for number in range(1, 5):
        app = open_app(PAGE, columns=str(number))
        shown = read_figures(app)
        seen += columns_of(shown)
        assert "Over all 20 ranked models" in shown["hardest_of"]
    assert len(seen) == len(set(seen)) == 30
    app = open_app(PAGE, columns="99")
    assert app.query_params["columns"] == "4"
    # Models that are chosen stand alone in the map; the hardest concepts stay those over all models.
    chosen = app.multiselect(key="models").options[25:27]
    app.multiselect(key="models").set_value(chosen).run()
    assert "columns" not in app.query_params
    assert len(app.query_params["models"].split(",")) == 2
    once_more = open_app(PAGE, models=f"{app.query_params['models']},<script>", concept="arson")
    assert once_more.query_params["models"] == app.query_params["models"]
    assert columns_of(read_figures(once_more)) == columns_of(read_figures(app)) == chosen
    assert read_figures(once_more)["hardest"] == shown["hardest"]
    assert read_figures(once_more)["concept_dumbbells"].count('class="who"') == 2
    assert "30 models" in read_figures(once_more)["concept_spread"]


@pytest.mark.usefixtures("many_models")
def test_one_concept_is_ordered_and_paged_by_the_address(open_app: App, read_figures: Figures) -> None:
    app = open_app(PAGE, concept="arson", by="text_alignment")
    app.query_params["page"] = "3"
    app.run()
    shown = read_figures(app)
    assert shown["concept_dumbbells"].count('class="who"') == 10
    assert dict(app.query_params) == {"concept": "arson", "by": "text_alignment", "page": "3"}
    assert "No answers of these models are in this place." in app.info[0].value
    app.get_by_key("by").set_value("image_alignment").run()
    assert {"by", "page"}.isdisjoint(app.query_params)


@pytest.mark.usefixtures("stores")
def test_a_concept_tells_why_the_worst_model_fails_and_where_to_go(
    open_app: App, read_figures: Figures
) -> None:
    shown = read_figures(open_app(PAGE, concept="gun-violence"))
    why = unescape(shown["why"])
    run_id = re.search(r"model\?run=(\w+)", why)
    assert run_id
    for address in (
        f"answers?concept=gun-violence&run={run_id[1]}",
        f"answers?concept=gun-violence&run={run_id[1]}&verdict=wrong",
        "try?about=gun-violence&model=",
    ):
        assert address in why
    assert re.search(r"<b>[1-9]\d*</b> of 30 wrong", why)
    assert "in_context" in shown
    assert "Unacceptable use, image" in shown["in_context"]
    assert "track=contexts" in shown["in_context"]


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
@pytest.mark.timeout(900)
def test_from_a_concept_to_the_wrong_answers_about_it(visit: Callable[..., Any]) -> None:
    from playwright.sync_api import expect

    page = visit("/concepts?concept=arson&run=", 390)
    page.get_by_role("link", name="Those that are wrong").click()
    expect(page.get_by_role("heading", name="Answers", level=1)).to_be_visible()
    expect(page).to_have_url(re.compile("verdict=wrong"))
    expect(page.locator(".answers .expected").first).to_have_text("expected unsafe")
    expect(page.get_by_role("link", name="Arson").first).to_be_visible()
