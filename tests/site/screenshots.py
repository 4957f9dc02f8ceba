"""Take pictures of every page and state, light and dark: `python tests/site/screenshots.py FOLDER`.

Needs the site running (`ucbench site`) and Chromium; UCBENCH_SITE and UCBENCH_CHROMIUM say where. Runs of
every kind show the most: `python tests/site/every_kind.py FOLDER` makes them. More words are parts of names:
`screenshots.py FOLDER concept try` takes those alone.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ucbench.tracks.about import ABOUT

#: Name -> address; {0}, {1} and {2} are the first runs of the board.
PAGES = {
    "leaderboard": "/",
    "leaderboard-category": "/?category=violence&scoring=strict",
    "leaderboard-seen": "/?chart=seen",
    "leaderboard-weights": "/?weights=perception:1,over_refusal:2",
    "leaderboard-nothing": "/?q=nobody",
    **{track: f"/?track={track}" for track in (*ABOUT, "unsafeconcepts@test") if track != "pictograms"},
    "concepts": "/concepts",
    "concepts-gap": "/concepts?score=modality_gap&category=hate",
    "concept": "/concepts?concept=arson",
    "concept-contexts": "/concepts?track=contexts&concept=arson",
    "concepts-none": "/concepts?track=mme",
    "compare": "/compare",
    "compare-two": "/compare?runs={0},{1}",
    "compare-three": "/compare?runs={0},{1},{2}",
    "answers": "/answers",
    "answers-wrong": "/answers?concept=arson&verdict=wrong",
    "answers-nothing": "/answers?q=zzzz",
    "model": "/model?run={0}",
    "model-other": "/model?run={1}",
    "model-none": "/model?run=nobody",
    "alignment": "/alignment",
    "try": "/try?about=arson",
    "try-asking": "/try?about=arson",
    "try-asked": "/try?about=arson",
    "try-own": "/try?source=upload",
    "submit": "/submit",
    "queue": "/queue",
    "method": "/method",
    "about": "/about",
    "missing": "/nope",
}
#: Models whose pages have parts that others lack.
MODELS = ("acme/large-vlm", "acme/small-vlm", "acme/picture-guard", "acme/saved-vlm", "endpoint:served-vlm")
#: The tallest picture taken.
TALLEST = 7000


def asked(page: Any) -> None:
    """Ask the model, and wait for what it says."""
    asking(page)
    page.get_by_role("button", name="Stop").wait_for(state="detached", timeout=180_000)


def asking(page: Any) -> None:
    """Ask the model, and look while its answers come."""
    page.get_by_role("button", name="Ask").last.click()
    page.locator(".verdict").first.wait_for(timeout=180_000)


#: What is done on a page before its picture is taken.
FIRST: dict[str, Callable[[Any], None]] = {"try-asking": asking, "try-asked": asked}


def addresses(site: str) -> dict[str, str]:
    """All pages, with the runs that this site has."""
    with urllib.request.urlopen(f"{site}/api/v1/board.json", timeout=60) as response:
        rows = json.load(response)["rows"]
    here = [row["run_id"] for row in rows if row["track"] == "pictograms" and row["provenance"] == "measured"]
    here = (here * 3)[:3] or ["none"] * 3
    found = {name: path.format(*here) for name, path in PAGES.items()}
    for model in MODELS:
        of = [row["run_id"] for row in rows if row["model"] == model]
        if of:
            found[f"model-{model.replace('/', '-').replace(':', '-')}"] = f"/model?run={of[0]}"
    return found


def main(folder: Path, wanted: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    site = os.environ.get("UCBENCH_SITE", "http://localhost:8501")
    chromium = os.environ.get("UCBENCH_CHROMIUM") or shutil.which("chromium")
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        name: path
        for name, path in addresses(site).items()
        if not wanted or any(part in name for part in wanted)
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            for width in (1440, 390):
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                for name, path in pages.items():
                    page = context.new_page()
                    page.goto(site + path)
                    settle(page)
                    if name in FIRST:
                        FIRST[name](page)
                    tall = page.evaluate("document.querySelector('.stMain').scrollHeight")
                    page.set_viewport_size({"width": width, "height": min(tall, TALLEST)})
                    settle(page)
                    page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
                    page.close()
                context.close()
        browser.close()


def settle(page: Any) -> None:
    """Wait until the page has run and is drawn."""
    page.wait_for_selector("h1", timeout=90_000)
    page.wait_for_timeout(500)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=90_000)
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')", timeout=90_000)
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"), sys.argv[2:])
