"""Take pictures of every page, light and dark, wide and narrow: `python tests/site/screenshots.py FOLDER`.

Needs the site running (`ucbench site`) and Chromium; UCBENCH_SITE and UCBENCH_CHROMIUM say where. Runs of
every kind show the most: `python tests/site/every_kind.py FOLDER` makes them.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from ucbench.tracks.about import ABOUT

PAGES = {
    "leaderboard": "/",
    **{track: f"/?track={track}" for track in (*ABOUT, "unsafeconcepts@test") if track != "pictograms"},
    "concepts": "/concepts",
    "concept": "/concepts?concept=arson",
    "concept-contexts": "/concepts?track=contexts&concept=arson",
    "concepts-none": "/concepts?track=mme",
    "alignment": "/alignment",
    "try": "/try",
    "submit": "/submit",
    "queue": "/queue",
    "about": "/about",
}
#: Dialogs: an address, and the model whose details are opened there.
DETAILS = {
    "details": ("/", "embedded:tiny-vlm"),
    "details-joined": ("/?track=unsafeconcepts", "acme/large-vlm"),
    "details-judges": ("/?track=unsafeconcepts", "acme/small-vlm"),
    "details-guard": ("/?track=unsafeconcepts@test", "acme/picture-guard"),
    "details-imported": ("/?track=unsafeconcepts", "acme/saved-vlm"),
    "details-service": ("/?track=nsfw", "endpoint:served-vlm"),
    "details-parity": ("/?track=smid", "embedded:tiny-vlm"),
}
#: The tallest picture taken.
TALLEST = 7000


def main(folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    site = os.environ.get("UCBENCH_SITE", "http://localhost:8501")
    chromium = os.environ.get("UCBENCH_CHROMIUM") or shutil.which("chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            for width in (1440, 390):
                context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
                for name, path in PAGES.items():
                    page = context.new_page()
                    page.goto(site + path)
                    settle(page)
                    if name == "try":
                        page.get_by_role("button", name="Ask").last.click()
                        page.locator(".qa .verdict").first.wait_for(timeout=120_000)
                    tall = page.evaluate("document.querySelector('.stMain').scrollHeight")
                    page.set_viewport_size({"width": width, "height": min(tall, TALLEST)})
                    settle(page)
                    page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
                    page.close()
                for name, (path, model) in DETAILS.items():
                    page = context.new_page()
                    page.goto(site + path)
                    settle(page)
                    opener = page.get_by_role("button", name=model, exact=True)
                    if not opener.count():
                        continue  # a store of another making
                    opener.first.click()
                    page.get_by_role("dialog").locator("dl").first.wait_for(timeout=90_000)
                    page.set_viewport_size({"width": width, "height": 2600})
                    settle(page)
                    page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
                    page.close()
                context.close()
        browser.close()


def settle(page: Any) -> None:
    """Wait until the page has run and is drawn."""
    page.wait_for_selector("h1", timeout=90_000)
    page.wait_for_timeout(1500)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=90_000)
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')", timeout=90_000)
    page.wait_for_timeout(700)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
