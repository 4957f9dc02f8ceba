"""Figures as SVG files: each stands alone, holds what the page shows, and escapes what comes from outside."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from ucbench.metrics.compare import Difference
from ucbench.metrics.paired import Contrast
from ucbench.site.compare import view as compare_view
from ucbench.site.concepts import view as concept_view
from ucbench.site.data import loading
from ucbench.site.figures import svg
from ucbench.site.figures.charts import Dumbbell, Reading
from ucbench.site.figures.heat import HeatModel, HeatRow, HeatSection
from ucbench.site.figures.score_table import Pair
from ucbench.site.leaderboard import charts as leaderboard_charts
from ucbench.site.leaderboard import view as leaderboard_view
from ucbench.site.leaderboard.seen_charts import SEEN_JUDGED, Mark, axis
from ucbench.site.leaderboard.view import Scope
from ucbench.site.track_views import view

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>x</script>\"'&"


def texts(file: str) -> list[str]:
    """Every line of text of a file, which must be well-formed and fetch nothing."""
    root = ET.fromstring(file)
    assert root.tag == f"{SVG}svg"
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "desc", "rect", "text", "line", "circle", "g",
    }  # fmt: skip
    ground = next(element for element in root if element.tag == f"{SVG}rect")
    assert (ground.get("fill"), ground.get("width")) == ("#FFFFFF", root.get("width"))
    for element in root.iter():
        assert not any("href" in key or "url(" in value for key, value in element.attrib.items())
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def drawn(name: str) -> dict[str, str]:
    """A figure of every kind with a model of that name."""
    line = Dumbbell(name, Reading(0.36, 0.3, 0.4), Reading(0.95, 0.9, 1.0), note=name)
    mark = Mark(name, "r", Reading(0.9), Reading(0.25), quiet=True)
    section = HeatSection(name, (HeatRow("c", name, (0.5, None)),), (0.25, None))
    heads = [HeatModel(1, name), HeatModel(2, name)]
    contrast = Contrast(0.2, 0.7, Difference(0.5, 0.4, 0.6, 0.001), (5, 5))
    pair = Pair(name, Reading(0.2), Reading(0.7), contrast, True, better="B ahead", key="perception")
    return {
        "dumbbells": svg.dumbbells([line], title=name, axis="share", foot=name),
        "scatter": svg.scatter([mark], SEEN_JUDGED, title=name, foot=name),
        "heat": svg.heat_map([section], heads, scale="gap", title=name, unit=name, foot=name),
        "differences": svg.differences(
            [pair], heads=("Score", "A", "B"), title=name, legend=[name], foot=name
        ),
    }


@pytest.mark.parametrize("kind", ["dumbbells", "scatter", "heat", "differences"])
def test_no_name_becomes_markup(kind: str) -> None:
    ours, theirs = (ET.fromstring(drawn(name)[kind]) for name in ("a", HOSTILE))

    def tags(root: ET.Element) -> list[str]:
        return [element.tag for element in root.iter() if element.tag != f"{SVG}title"]

    assert tags(ours) == tags(theirs)
    assert any(HOSTILE in said for said in texts(drawn(HOSTILE)[kind]))


def test_figures_hold_what_they_draw() -> None:
    figures = {kind: " | ".join(texts(file)) for kind, file in drawn("model").items()}
    for words in (".36", ".95", "+.59", "as image", "in words"):
        assert words in figures["dumbbells"]
    assert "Sees it, calls it safe" in figures["scatter"]
    assert "+.50" in figures["heat"]
    for words in ("+.50", "+.40 to +.60", "separable: B ahead"):
        assert words in figures["differences"]


def test_dumbbells_hide_no_mark_and_cut_no_name() -> None:
    name = "provider:some-host/acme/sharp-vlm-34b-instruct"
    note = "a1b2c3d · float32 · temperature 0.7 · system prompt “You are a careful reader of pictures”"
    bars = "bars around a mark are 95% intervals for these concepts"
    axis = f"share of answers that judge an unsafe concept unsafe; {bars}"
    equal = Dumbbell("m", Reading(0.5, 0.4, 0.6), Reading(0.5, 0.4, 0.6))
    wide = svg.dumbbells([Dumbbell(name, Reading(0.2), Reading(0.9), note)], title="t", axis=axis, foot="f")
    assert "…" not in wide
    titles = {element.text for element in ET.fromstring(wide).iter(f"{SVG}title")}
    assert {name, note, axis} <= titles
    assert "".join(svg.wrapped(name, 34, most=3)) == name
    assert svg.wrapped("x" * 50, 20, most=2) == ["x" * 20, "x" * 19 + "…"]
    root = ET.fromstring(svg.dumbbells([equal], title="t", axis="a", foot="f"))
    circle = list(root.iter(f"{SVG}circle"))[-1]
    square = [element for element in root.iter(f"{SVG}rect") if element.get("width") == "13"][-1]
    assert float(circle.get("cy") or 0) + 7 <= float(square.get("y") or 0) + 1
    assert float(circle.get("cx") or 0) == pytest.approx(float(square.get("x") or 0) + 6.5)


def test_a_place_on_an_axis_goes_with_the_figure() -> None:
    gap, ratio = axis("modality_gap", "Gap", []), axis("llavabench", "Ratio", [Reading(1.2)])
    assert (gap.place(-1.0), gap.place(0.0), gap.place(1.0)) == (0.0, 0.5, 1.0)
    assert [said for _, said in gap.ticks()] == ["−1", "−.50", "0", "+.50", "+1"]
    assert ratio.high == 1.5
    assert ratio.place(1.5) == 1.0


@pytest.mark.usefixtures("stores")
def test_files_of_the_pages_say_what_they_are_of() -> None:
    board = loading.board()
    shown = leaderboard_view.table(board, Scope("pictograms", "violence", True))
    ids = [str(row["run_id"]) for row in shown.rows if row["provenance"] == "measured"][:3]
    rows = [row for row in map(board.row, ids) if row is not None]
    files = [
        leaderboard_charts._dumbbells_svg(board, shown, view("pictograms").charts[0]),
        leaderboard_charts._seen_svg(board, shown, "over_refusal", "modality_gap"),
        concept_view.heat_svg(board, "pictograms", "image_alignment", "violence", ids, 1),
        compare_view.picture(board, compare_view.table_of(rows), compare_view.labels(rows)),
    ]
    as_of = str(board.manifest["as_of"])[:10]
    for file in files:
        told = texts(file)[-1]
        assert re.search(r"\d+ models", told)
        assert "Pictograms" in told
        assert f"board version {board.manifest['board_version']} · results as of {as_of}" in told
    assert "Violence, strict scoring" in texts(files[0])[-1]


@pytest.mark.usefixtures("stores")
def test_every_figure_has_its_button(open_app: Callable[..., Any]) -> None:
    def buttons(page: str | None, **query: str) -> set[str]:
        app = open_app(page, **query)
        return {one.proto.id.rsplit("-", 1)[-1] for one in app.get("download_button")}

    assert "figure_0_svg" in buttons(None)
    assert "figure_seen_svg" in buttons(None, chart="seen")
    told = buttons("app_pages/concepts.py", concept="arson")
    assert {"heat_file_svg", "figure_0_svg"} <= told
