"""What stands around the pages: titles, previews, wrong addresses, footer; and the page Method's examples."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import streamlit

from ucbench import board, taxonomy
from ucbench.errors import StoreError
from ucbench.format import fraction
from ucbench.metrics.keys import KEYS
from ucbench.metrics.scores import MACRO, TERMS
from ucbench.site import changes, footer, frame, links
from ucbench.site.data import loading
from ucbench.site.method import view as method_view
from ucbench.site.method import worked
from ucbench.site.serving import head, preload, preview

App = Callable[..., Any]
Figures = Callable[[Any], dict[str, str]]


def test_every_page_has_a_file_a_title_and_a_sentence() -> None:
    pages = {**head.PAGES, **head.HIDDEN}
    assert set(pages) == set(links.PAGES)
    root = Path(head.__file__).parents[3]
    assert all((root / file).is_file() for file in links.PAGES.values())
    assert len({about.title for about in pages.values()}) == len(pages)
    assert all(50 <= len(pages[address].description) <= 160 for address in ("", "concepts", "method"))


def test_the_sent_page_is_titled_described_and_previewed() -> None:
    sent = head.index("concepts", {"concept": "arson"}, home="https://x.example")
    assert "<title>Arson · Concepts · ucbench</title>" in sent
    assert sent.count("<title>") == 1
    assert f'<meta name="description" content="{head.PAGES["concepts"].description}">' in sent
    assert 'property="og:title" content="Arson · Concepts · ucbench"' in sent
    assert 'content="https://x.example/preview.png"' in sent
    assert '<link rel="canonical" href="https://x.example/concepts?concept=arson">' in sent
    assert '<html lang="en">' in sent
    assert "Streamlit app" not in sent
    assert sent.index("</head>") < sent.index(".st-key-strip")
    assert sent.index("Skip to the content") < sent.index('class="waiting"') < sent.index('<div id="root">')


def test_the_scripts_of_the_first_elements_are_asked_for_at_once() -> None:
    named = preload.scripts()
    assert {name.split(".")[0] for name in named} >= set(preload.ELEMENTS), "an element has another name now"
    static = Path(streamlit.__file__).parent / "static"
    assert all((static / "static" / "js" / name).is_file() for name in named)
    sent = head.index("", {}, home="https://x.example")
    asked = re.findall(r'<link rel="modulepreload"[^>]* href="\./static/js/([^"]+)"', sent)
    assert len(asked) == len(set(asked)) > len(named), "Streamlit's own and ours, each once"
    assert set(named) < set(asked)


def test_addresses_of_one_page_have_one_canonical_address() -> None:
    assert head.canonical("", {"track": "pictograms", "q": "x", "utm_source": "y"}) == "."
    assert head.canonical("", {"track": "unsafeconcepts", "sort": "perception"}) == ".?track=unsafeconcepts"
    assert head.canonical("compare", {"track": "<b>", "concept": "arson"}) == "compare"
    assert "canonical" not in head.index("model", {"run": "x"}, home="https://x.example")


def test_nothing_of_an_address_is_written_into_the_page() -> None:
    evil = '"><script>alert(1)</script>'
    for address, query in ((evil, {}), ("concepts", {"concept": evil}), ("model", {"run": evil})):
        sent = head.index(address, query, home=f"https://{evil}")
        assert "<script>alert" not in sent
    assert "noindex" in head.index(evil, {}, home="https://x.example")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://localhost:8501/nope", "nope"),
        ("http://localhost:8501/a/b%20c/", "b c"),
        ("http://localhost:8501/", ""),
        ("http://localhost:8501/concepts", ""),
        ("http://localhost:8501/model", ""),
        (None, ""),
    ],
)
def test_a_wrong_address_is_told_from_a_right_one(address: str | None, name: str) -> None:
    assert frame.wrong(address) == name


def test_the_server_sends_pages_files_and_404() -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    client = TestClient(Starlette(routes=head.routes()))
    for address in links.PAGES:
        assert client.get(f"/{address}").status_code == 200
    missing = client.get("/nope")
    assert missing.status_code == 404
    assert "Not found · ucbench" in missing.text
    beneath = client.get("/concepts/arson/x")
    assert beneath.status_code == 404
    assert 'href="../../"' in beneath.text
    # Files are not ours to answer: here nobody else does.
    for theirs in ("/favicon.png", "/_stcore/health", "/static/js/x", "/concepts/"):
        assert client.get(theirs, follow_redirects=False).text in ("Not Found", "")


@pytest.mark.usefixtures("stores")
def test_the_preview_shows_the_first_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from PIL import Image
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    client = TestClient(Starlette(routes=head.routes()))
    drawn = client.get("/preview.png")
    assert drawn.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(drawn.content)).convert("RGB")
    assert picture.size == preview.SIZE
    monkeypatch.setenv("UCBENCH_RESULTS", str(tmp_path / "none"))
    bare = Image.open(io.BytesIO(client.get("/preview.png").content)).convert("RGB")
    blue = [sum(pixel == (0, 114, 178) for pixel in p.getdata()) for p in (picture, bare)]
    # Three models more than the wordmark's one dot.
    assert blue[0] > blue[1] + 3 * 300


def test_the_footer_tells_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UCBENCH_SOURCE", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    plain = footer.footer(as_of=None, served=False)
    assert "Apache-2.0" in plain
    assert footer.CONTENT_NOTE in plain
    assert not re.search("data as of|Source|feed.xml", plain)
    monkeypatch.setenv("SPACE_ID", "acme/board")
    whole = footer.footer(as_of="2026-11-21T21:14:00+00:00", served=True)
    assert "data as of 21 Nov 2026" in whole
    assert 'href="https://huggingface.co/spaces/acme/board/tree/main"' in whole
    assert 'href="feed.xml"' in whole
    monkeypatch.setenv("UCBENCH_SOURCE", "javascript:alert(1)")
    assert "javascript" not in footer.footer(as_of="soon", served=False)


def test_every_score_is_worked_out_from_its_counts() -> None:
    shown = {*method_view.CONCEPTS, *method_view.USES, *method_view.PAIRS, *method_view.OTHERS}
    assert shown == set(KEYS)
    for key in TERMS:
        value = worked.score(key).value
        assert value is not None
        if key == MACRO:
            gaps = [text - image for text, image in worked.by_concept().values()]
            assert value == pytest.approx(sum(gaps) / len(gaps))
        else:
            counted = sum(share.weight * share.right / share.total for share in worked.shares(key))
            assert value == pytest.approx(counted)
        assert f"<b>{fraction(value, signed=KEYS[key].signed)}</b>" in method_view.scores([key])


def test_the_counts_are_those_of_the_written_verdicts() -> None:
    """Counted here from the letters alone."""
    unsafe = [picture.verdicts for picture in worked.PICTURES if picture.unsafe]
    letters = "".join(unsafe)
    verdicts = letters.count("U") + letters.count("S")
    share = worked.shares("image_alignment")[0]
    assert (share.right, share.total) == (letters.count("U"), verdicts)
    strict = worked.shares("image_alignment_strict")[0]
    assert (strict.right, strict.total) == (letters.count("U"), len(letters))
    named = "".join(p.verdicts for p in worked.PICTURES if p.unsafe and p.named)
    called_safe = worked.shares("recognised_called_safe")[0]
    assert called_safe.right == named.count("S")
    assert called_safe.total == named.count("S") + named.count("U")
    both = [(a, b) for plain, turned in worked.PAIRS.values() for a, b in zip(plain, turned, strict=True)]
    yes, no = (both.count((letter, letter)) for letter in "YN")
    assert worked.score("acquiescence").value == pytest.approx((yes - no) / len(both))
    assert method_view.verdicts().count('class="letter') == len(worked.PICTURES) * 5 + len(worked.WORDS) * 5


def test_models_that_cannot_be_told_apart_share_a_rank() -> None:
    assert worked.ranks() == {"A": (1, 2), "B": (1, 2), "C": (3, 3)}
    assert "not told apart" in method_view.leads()
    # By hand: .004 <= .05/4, .011 <= .05/3, .03 > .05/2, and the rest with it.
    assert worked.told_apart() == [True, False, True, False]


def test_the_taxonomy_links_every_concept() -> None:
    shown = method_view.taxonomy_table()
    assert shown.count("data-go=") == len(taxonomy.concepts()) == 75
    assert 'href="concepts?concept=arson"' in shown


def test_the_changelog_is_read_in_releases(tmp_path: Path) -> None:
    file = tmp_path / "CHANGELOG.md"
    file.write_text(
        "# Changelog\n\n## [Unreleased]\n\n### Added\n- This.\n\n## [1.0.0] - 2026-01-01\n\n- That.\n"
    )
    assert changes.releases(file) == (
        ("Unreleased", "**Added**\n- This."), ("1.0.0 - 2026-01-01", "- That.")
    )  # fmt: skip
    assert changes.releases(tmp_path / "none.md") == ()
    assert changes.releases()


@pytest.mark.usefixtures("stores")
def test_method_and_about_show_all_of_it(open_app: App, read_figures: Figures) -> None:
    method = read_figures(open_app("app_pages/method.py"))
    assert all(key.title in method["definitions"] for key in KEYS.values())
    assert {"verdicts", "scores", "rivals", "taxonomy", "footer"} <= set(method)
    about = open_app("app_pages/about.py")
    assert any("@inproceedings" in code.value for code in about.code)
    assert any(expander.label.startswith("0.1.0") for expander in about.expander)
    # Under AppTest nobody serves feeds, so none is promised.
    assert "feeds" not in read_figures(about)


@pytest.mark.usefixtures("stores")
def test_a_page_that_stops_early_keeps_its_footer(
    open_app: App, read_figures: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCBENCH_RESULTS", str(tmp_path / "none"))
    app = open_app()
    assert app.warning
    assert "Apache-2.0" in read_figures(app)["footer"]
    assert "data as of" not in read_figures(app)["footer"]


@pytest.mark.usefixtures("stores")
def test_a_board_of_a_later_version_is_told_from_a_damaged_one(
    open_app: App, plain_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    for name in (board.BOARD, board.BREAKDOWNS, board.RANKS):
        shutil.copy(plain_store / name, later)
    manifest = json.loads((plain_store / board.MANIFEST).read_text())
    (later / board.MANIFEST).write_text(json.dumps({**manifest, "board_version": board.BOARD_VERSION + 1}))
    monkeypatch.setenv("UCBENCH_RESULTS", str(later))
    said = [element.value for element in open_app("app_pages/model.py").warning]
    assert said == [
        "The board in later/ was made by a newer version of ucbench than the one that serves this site; "
        "update the site."
    ]
    (later / board.BOARD).write_bytes(b"PAR1")
    (later / board.MANIFEST).write_text(json.dumps(manifest))
    app = open_app("app_pages/model.py")
    assert app.title[0].value == "Model"
    assert "is damaged" in app.warning[0].value


def test_visitors_read_of_files_and_not_where_they_lie(stores: Path) -> None:
    run = stores / "acme-vlm" / "0123"
    error = StoreError(f"{run / 'answers.parquet'} is damaged; move {run} away and evaluate again")
    assert loading.told(error) == "answers.parquet is damaged; move 0123 away and evaluate again"
    assert loading.told(StoreError("there is no board")) == "There is no board"
