"""Models side by side: what is separable, in words and figures, and what cannot be compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from ucbench import taxonomy
from ucbench.comparison import Comparison
from ucbench.format import fraction
from ucbench.metrics.compare import Difference
from ucbench.metrics.keys import KEYS
from ucbench.metrics.paired import Contrast
from ucbench.site.compare import pairs
from ucbench.site.compare import view as compare_view
from ucbench.site.compare.pairs import Compared
from ucbench.site.compare.view import Against, Table
from ucbench.site.data import loading
from ucbench.site.figures import score_table, tables
from ucbench.site.figures.charts import Reading
from ucbench.site.leaderboard import view as views

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]
PAGE = "app_pages/compare.py"
HOSTILE = "<script>x</script>"


def words(html: str) -> str:
    """What a visitor reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


@pytest.fixture
def ids(stores: Path) -> Callable[..., str]:
    """ids(track, name, ...): the run ids of models, as an address has them."""
    assert stores.is_dir()

    def found(track: str, *names: str) -> str:
        rows = {tables.name(row): row for row in loading.board().of_track(track)}
        return ",".join(rows[name]["run_id"] for name in names)

    return found


def contrast(first: float, second: float, half: float | None = 0.05, p: float = 0.001) -> Contrast:
    value = second - first
    ends = (None, None, None) if half is None else (value - half, value + half, p)
    return Contrast(first, second, Difference(value, *ends), (10, 10))


def line(model: str, **cells: Any) -> dict[str, Any]:
    return {"run_id": model, "model": model, "track": "pictograms", "provenance": "measured"} | cells


def table(*others: dict[str, Contrast], apart: bool = True) -> Table:
    """Model a beside others of made-up differences."""
    keys = tuple(dict.fromkeys(key for scores in others for key in scores))
    found = [
        Against(
            letter,
            line(f"model-{letter}"),
            Compared(Comparison("pictograms", {"pictograms": "1"}, {"pictograms": "rules-1"},
                                {"pictograms": 100}, (100, 100), 75, scores)),
        )
        for letter, scores in zip("BCD", others, strict=False)
    ]  # fmt: skip
    return Table(line("model-A"), tuple(found), keys,
                 {(other.letter, key): apart for other in found for key in other.scores})  # fmt: skip


NAMES = {f"model-{letter}": f"model-{letter}" for letter in "ABCD"}


# --- the page ---


def test_two_models_and_a_verdict_for_each_score(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    runs = ids("pictograms", "acme/fair-vlm", "acme/sharp-vlm")
    app = open_app(PAGE, runs=runs)
    shown = {key: words(html) for key, html in read_figures(app).items()}
    assert re.match(
        r"acme/fair-vlm and acme/sharp-vlm are separable by \d of \d scores on the 8,850 questions that both "
        r"were asked\. By balanced accuracy, acme/sharp-vlm is \.\d\d ahead",
        shown["finding"],
    )
    assert re.search(
        r"Image alignment A \.\d\d B \.\d\d \+\.\d\d \+\.\d\d to \+\.\d\d separable", shown["scores"]
    )
    assert "separable: B ahead" in shown["scores"]
    assert "Answer diversity A .00 B .00 not compared" in shown["scores"]
    assert (
        "8,850 questions of Pictograms (version 1) about 75 unsafe concepts; the judge rules-1"
        in (shown["compared"])
    )
    assert "Holm's method over the" in shown["compared"]
    html = read_figures(app)["concepts"]
    first, second = runs.split(",")
    assert [html.count(f'href="answers?run={run_id}&amp;concept=') for run_id in (first, second)] == [15, 15]
    assert app.query_params["runs"] == runs
    # The differences are the other way round when the other model is the first.
    assert app.session_state["runs"] == [first, second]
    turned = read_figures(open_app(PAGE, runs=f"{second},{first}"))
    assert re.search(r"Image alignment A \.\d\d B \.\d\d −\.\d\d", words(turned["scores"]))
    assert "acme/sharp-vlm is" in words(turned["finding"])


def test_models_are_compared_in_a_category(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    runs = ids("pictograms", "acme/fair-vlm", "acme/sharp-vlm").split(",")
    app = open_app(PAGE, runs=",".join(runs), category="hate")
    shown = {key: words(html) for key, html in read_figures(app).items()}
    assert app.query_params["category"] == "hate"
    assert re.match(
        r"acme/fair-vlm and acme/sharp-vlm (are separable|cannot be told apart) by .* of 3 scores that can "
        r"be tested on what both were asked about Hate\.",
        shown["finding"],
    )
    assert "All figures are for the 10 concepts of Hate; scores that need safe" in shown["compared"]
    assert re.search(r"Text alignment A [\d.]+ B [\d.]+ [+−]?\.\d\d not tested", shown["scores"])
    assert "Not tested: what has no interval." in shown["compared"]
    assert "the images of each concept are resampled" in shown["compared"]
    assert "Over-refusal" not in shown["scores"], "no safe image is of this category"
    # Both were asked everything, so each has its scores of the leaderboard for this category.
    there = views.table(loading.board(), views.Scope("pictograms", "hate"))
    for key in ("perception", "image_alignment", "text_alignment"):
        first, second = (there.rows[there.places[run_id]][key] for run_id in runs)
        title = KEYS[key].title
        assert (
            f"{title} A {fraction(first)} B {fraction(second)} {fraction(second - first, signed=True)}"
            in (shown["scores"])
        )
    inside = {concept.name for concept in taxonomy.category("hate").concepts}
    html = read_figures(app)["concepts"]
    assert html.count('scope="row"') == len(inside) == 10
    assert "Swastika" in html
    lines = compare_view.rows_of(
        compare_view.table_of(compare_view.rows(loading.board(), "pictograms", "hate", runs), "hate"),
        dict.fromkeys(runs, "x"),
    )
    assert {line["category"] for line in lines} == {"hate"}


def test_what_has_no_scores_by_category_is_left_out_by_name(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    few = "Choose models that have scores by category, or all categories."
    runs = ids("unsafeconcepts", "acme/small-vlm", "gpt-4-vision-preview", "acme/large-vlm")
    app = open_app(PAGE, runs=runs, category="hate")
    told = [one.value.replace("\\", "") for one in app.caption]
    assert "gpt-4-vision-preview has no scores by category and is left out." in told
    assert "gpt-4" not in read_figures(app)["legend"]
    app = open_app(PAGE, runs=",".join(runs.split(",")[:2]), category="hate")
    assert few in [one.value for one in app.info]


@pytest.mark.usefixtures("stores")
def test_a_category_that_a_track_has_not_is_said_and_dropped(open_app: App, read_figures: Figures) -> None:
    app = open_app(PAGE, track="safe", category="hate")
    assert "There is no category “hate” here" in words(read_figures(app)["unknown_category"])
    assert "category" not in app.query_params


def test_the_track_follows_from_the_models(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    runs = ids("unsafeconcepts", "acme/small-vlm", "acme/large-vlm", "acme/saved-vlm", "gpt-4-vision-preview")
    app = open_app(PAGE, runs=runs)
    shown = {key: words(html) for key, html in read_figures(app).items()}
    assert app.session_state["track"] == "unsafeconcepts"
    assert "Beside acme/small-vlm , by balanced accuracy: acme/large-vlm is" in shown["finding"]
    assert "200 questions of Harmless pictures" in shown["compared"]
    assert (
        "D: The scores of gpt-4-vision-preview were taken from a paper: a paired comparison needs the"
        in (shown["compared"])
    )
    assert "D gpt-4-vision-preview" in shown["scores"]
    assert list(app.get_by_key("beside").options) == ["B", "C"]
    app = open_app(PAGE, runs=runs, beside="C", score="perception")
    assert app.query_params["beside"] == "C"


def test_a_track_chosen_before_does_not_drop_the_models(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    app = open_app("app_pages/concepts.py", track="contexts")
    app.switch_page(PAGE)
    app.query_params.clear()
    app.query_params["runs"] = ids("pictograms", "acme/fair-vlm", "acme/sharp-vlm")
    app.run()
    assert app.session_state["track"] == "pictograms"
    assert "finding" in read_figures(app)
    assert "track" not in app.query_params


def test_an_aligned_model_is_compared_on_the_test_split(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    tuned = ids("unsafeconcepts", "acme/small-vlm + local:ppo@0123456")
    cut = ids("unsafeconcepts@test", "acme/large-vlm")
    app = open_app(PAGE, runs=f"{cut},{tuned}")
    assert app.session_state["track"] == "unsafeconcepts@test"
    compared = words(read_figures(app)["compared"])
    assert "Both were asked 825 questions of UnsafeConcepts" in compared
    assert "those that both were asked count here" not in compared


def test_rows_without_answers_stand_side_by_side(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    runs = ids("unsafeconcepts", "liuhaotian/llava-v1.5-7b", "gpt-4-vision-preview")
    app = open_app(PAGE, runs=runs)
    shown = read_figures(app)
    assert not {"finding", "concepts", "compared"} & shown.keys()
    assert "a paired comparison needs the answers behind them" in app.info[0].value
    assert "Perception A .93 B .97" in words(shown["scores"])
    assert "Verdict" not in words(shown["scores"])


def test_what_cannot_be_compared_says_why(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    app = open_app(PAGE)
    assert "Choose two models" in app.info[0].value
    start = read_figures(app)["begin"]
    assert re.search(r'data-go="compare\?runs=\w+%2C\w+', start)
    app = open_app(PAGE, runs=ids("pictograms", "acme/fair-vlm"))
    assert "Choose another model" in app.info[0].value
    five = ids("unsafeconcepts", "acme/small-vlm", "acme/large-vlm", "acme/saved-vlm", "gpt-4-vision-preview",
               "liuhaotian/llava-v1.5-7b")  # fmt: skip
    app = open_app(PAGE, runs=f"{five},nobody")
    assert "There is no run “nobody” here" in read_figures(app)["unknown_runs"]
    assert any("1 of the models in the address is left out" in caption.value for caption in app.caption)
    assert app.query_params["runs"] == ",".join(five.split(",")[:4])


def test_another_model_becomes_the_first(
    open_app: App, read_figures: Figures, ids: Callable[..., str]
) -> None:
    runs = ids("pictograms", "acme/fair-vlm", "acme/sharp-vlm", "acme/shy-vlm")
    html = read_figures(open_app(PAGE, runs=runs))["legend"]
    assert re.findall(r'data-choose="first:(\w+)"', html) == runs.split(",")[1:]


def test_other_judges_are_refused(ids: Callable[..., str]) -> None:
    board = loading.board()
    one, other = (board.row(run_id) for run_id in ids("smid", "acme/large-vlm", "acme/small-vlm").split(","))
    assert one is not None
    assert other is not None
    assert pairs.compared(one, other).found is not None
    mme = board.row(ids("unsafeconcepts", "acme/large-vlm"))
    assert mme is not None
    problem = pairs.compared(one, mme).problem
    assert problem.startswith("acme/large-vlm was asked the track smid, ")  # a name keeps its letters
    assert problem.endswith(".")


def test_a_comparison_is_computed_once(ids: Callable[..., str]) -> None:
    board = loading.board()
    rows = [board.row(run_id) for run_id in ids("pictograms", "acme/fair-vlm", "acme/shy-vlm").split(",")]
    first, second = rows
    assert first is not None
    assert second is not None
    found = pairs.compared(first, second)
    assert pairs.compared(first, second) is found
    # A file that changed is another state.
    assert pairs.behind(first).stamp
    judgements = pairs.behind(first).runs[0][1].judgements_path("rules-1")
    before = pairs.behind(first)
    judgements.touch()
    assert pairs.behind(first) != before


# --- words and figures as pure functions ---


def test_words_for_two_models() -> None:
    two = table({"balanced_accuracy": contrast(0.5, 0.7), "over_refusal": contrast(0.1, 0.1, 0.05, 1.0)})
    assert words(compare_view.sentence(two, NAMES)) == (
        "model-A and model-B are separable by all of 2 scores on the 100 questions that both were asked. By "
        "balanced accuracy, model-B is .20 ahead (B minus A: +.20, +.15 to +.25) ."
    )
    none = table({"balanced_accuracy": contrast(0.5, 0.52)}, apart=False)
    assert "cannot be told apart by any of 1 scores" in words(compare_view.sentence(none, NAMES))
    # Lower is better for over-refusal, and a long name gives way to its letter.
    other = table({"over_refusal": contrast(0.1, 0.3)})
    long = {**NAMES, "model-B": "b" * 40}
    assert "A and B are separable" in words(compare_view.sentence(other, long))
    assert "By over-refusal, A is .20 ahead (B minus A: +.20" in words(compare_view.sentence(other, long))
    behind = table({"balanced_accuracy": contrast(0.7, 0.5)})
    assert "model-A is .20 ahead (B minus A: −.20" in words(compare_view.sentence(behind, NAMES))


def test_words_for_several_models() -> None:
    found = table({"balanced_accuracy": contrast(0.5, 0.7)}, {"balanced_accuracy": contrast(0.5, 0.4)})
    assert words(compare_view.sentence(found, NAMES)) == (
        "Beside model-A , by balanced accuracy: model-B is .20 ahead; model-C is .10 behind."
    )
    found = table(
        {"balanced_accuracy": contrast(0.5, 0.7)}, {"balanced_accuracy": contrast(0.5, 0.4)}, apart=False
    )
    assert "model-B cannot be told apart from it" in words(compare_view.sentence(found, NAMES))
    html = compare_view.scores(found, NAMES)
    assert html.count('class="group"') == 1
    assert "B model-B" in words(html)


def test_a_difference_is_drawn_around_zero() -> None:
    pair = score_table.Pair("x", Reading(0.5), Reading(0.6), contrast(0.5, 0.6, 0.05), apart=True)
    html = score_table.differences([pair], heads=("Score", "A", "B"), caption="c", end=0.25)
    assert "left:70.00%" in html  # +.10 of ±.25
    assert 'class="whisker ink" style="left:60.00%;width:20.00%"' in html
    assert "Difference, −.25 to +.25" in words(html)
    assert "hollow" not in html
    assert score_table.widest([pair]) == 0.25
    exact = score_table.Pair("x", Reading(0.5), Reading(0.6), contrast(0.5, 0.6, None))
    assert "hollow" in score_table.differences([exact], heads=("Score", "A", "B"), caption="c", end=0.25)


def test_names_are_told_apart() -> None:
    rows = [
        line("x", revision="a" * 40), {**line("x", revision="b" * 40), "run_id": "run-b"},
        {**line("x", revision="b" * 40), "run_id": "other-b"}, line("y"),
    ]  # fmt: skip
    assert list(compare_view.labels(rows).values()) == [
        "x (aaaaaaa)", "x (bbbbbbb), run-b", "x (bbbbbbb), other-", "y",
    ]  # fmt: skip


def test_no_outside_text_becomes_markup() -> None:
    found = table({"balanced_accuracy": contrast(0.5, 0.7)}, {"balanced_accuracy": contrast(0.5, 0.4)})
    names = dict.fromkeys(NAMES, HOSTILE)
    rows = [line(HOSTILE), line(HOSTILE + "2")]
    for html in (
        compare_view.sentence(found, names),
        compare_view.scores(found, names),
        compare_view.legend(rows, {row["run_id"]: HOSTILE for row in rows}),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


# --- in a browser ---


@pytest.mark.browser
@pytest.mark.xdist_group("browser")
@pytest.mark.timeout(900)
def test_models_are_picked_swapped_and_shared_by_the_address(visit: Callable[..., Any]) -> None:
    page = visit("/compare")
    page.get_by_role("link", name="Begin with the first two of the board").click()
    expect(page).to_have_url(re.compile(r"/compare\?runs=\w+%2C\w+"))
    expect(page.locator(".finding")).to_contain_text("questions that both were asked")
    expect(page.locator(".compared li").first).to_contain_text("acme/sharp-vlm")
    page.get_by_role("button", name=re.compile("^Set A against B")).click()
    expect(page.locator(".compared li").first).not_to_contain_text("acme/sharp-vlm")
    told = page.locator(".finding").inner_text()
    again = visit(page.url.partition("/compare")[1] + page.url.partition("/compare")[2], 390)
    expect(again.locator(".finding")).to_have_text(told)
    expect(again.locator(".differences").first.locator("tbody tr").first).to_have_css("display", "grid")
    again.wait_for_function("Math.max(document.documentElement.scrollWidth,"
                            " document.querySelector('.stMain').scrollWidth) <= 390")  # fmt: skip
