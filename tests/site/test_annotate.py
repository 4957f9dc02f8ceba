"""The annotators' tool in headless Chromium: keys, blur, coming back, two at once."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from ucbench.compile import candidates, queue
from ucbench.compile.annotations import read_all
from ucbench.compile.concepts import ListedConcept

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(900)]

#: Milliseconds that a page of a busy machine may take.
PATIENCE = 200_000
CONCEPTS = (
    ListedConcept("red-picture", "red picture", "Warm", "red"),
    ListedConcept("hostile", "<img src=x onerror=window.broken=1>", "<script>window.broken=1</script>", "x"),
    ListedConcept("blue-picture", "blue picture", "Cold", "blue"),
)
#: Red left, blue right: what a picture shows can be read off its pixels.
RED, BLUE = (200, 30, 30), (20, 40, 190)


def photo(number: int) -> bytes:
    """A large JPEG with metadata, red on its left half and blue on its right."""
    image = Image.new("RGB", (1700, 900), BLUE)
    image.paste(RED, (0, 0, 850, 900))
    image.putpixel((0, 0), (number, 0, 0))
    exif = Image.Exif()
    exif[0x0110] = "SECRET CAMERA"
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


def prepare(place: Path) -> Path:
    """Three pictures for each of three concepts; returns the folder of candidates."""
    pictures, folder = place / "pictures", place / "compiled"
    pictures.mkdir(parents=True)
    folder.mkdir()
    found = []
    for concept in CONCEPTS:
        for rank in (1, 2, 3):
            name = f"{concept.id}-{rank}.jpg"
            content = photo(10 * len(found))
            (pictures / name).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            found.append(
                candidates.Candidate(concept.id, concept.name, concept.category, rank, 0.3, name, digest, 1)
            )
    manifest = {
        "source": {"kind": "folder", "name": str(pictures)},
        "model": {"name": "tiny", "revision": "0", "dtype": "float32"},
        "concepts": [asdict(concept) for concept in CONCEPTS],
        "top": 3,
        "counts": {},
    }
    candidates.write(folder, manifest, found)
    return folder


@dataclass
class Tool:
    """A running tool of one annotator."""

    annotator: str
    folder: Path
    url: str

    def decisions(self) -> list[str]:
        """What this annotator decided, in order."""
        mine = [a for a in read_all(self.folder) if a.annotator == self.annotator]
        return [vote.decision for a in mine for vote in a.votes.values()]


@pytest.fixture(scope="module")
def tools(launch: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tool]:
    """Ann and Bo work on the same folder, each with a tool of their own; Bo is asked to pause at once."""
    folder = prepare(tmp_path_factory.mktemp("annotate"))

    def start(annotator: str, *more: str) -> Tool:
        command = [sys.executable, "-m", "ucbench.cli", "dataset", "annotate", str(folder)]
        command += ["--annotator", annotator, *more]
        server = launch(lambda port: [*command, "--port", str(port)], {}, folder)
        said = re.search(rf"http://localhost:{server.port}/\?key=\S+", server.log.read_text())
        assert said, server.log.read_text()
        return Tool(annotator, folder, said.group())

    return {"Ann": start("Ann"), "Bo": start("Bo", "--pause-every", "0.001")}


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """One profile for all pages, so that the browser fetches the tool's own files once."""
    opened = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    yield opened
    opened.close()


@pytest.fixture
def sit_down(context: Any, tools: dict[str, Tool]) -> Iterator[Callable[..., Any]]:
    """Open an annotator's page: sit_down("Ann"); nothing may fail there or ask another host."""
    pages, problems = [], []

    def opened(name: str, begin: bool = True) -> Any:
        tool = tools[name]
        page = context.new_page()
        pages.append(page)
        page.set_default_timeout(PATIENCE)
        host = tool.url.partition("/?")[0]

        def request(asked: Any) -> None:
            if not asked.url.startswith((host, host.replace("http", "ws"), "data:", "blob:")):
                problems.append(f"request to {asked.url}")

        page.on("request", request)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
        page.goto(tool.url)
        page.get_by_role("heading", name="Before you look").wait_for()
        if begin:
            page.get_by_role("button", name=re.compile("^(Begin|Go on)$")).click()
            page.locator(".look h1").wait_for()
        return page

    yield opened
    for page in pages:
        page.close()
    assert problems == []


@pytest.fixture(autouse=True)
def fresh(tools: dict[str, Tool]) -> None:
    """Every test begins with nothing decided."""
    for path in (tools["Ann"].folder / "annotations").glob("*.jsonl"):
        path.unlink()


def pixels(page: Any) -> Image.Image:
    """The picture that the page holds now, whatever is done to show it."""
    uri = page.locator(".frame img").get_attribute("src")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def reveal(page: Any) -> None:
    page.keyboard.press("Space")
    page.locator(".frame:not(.blurred) img").wait_for()


def decide(page: Any, key: str) -> None:
    """Look and decide; returns when the next picture is there."""
    reveal(page)
    page.keyboard.press(key)
    page.locator(".frame.blurred img").wait_for()


def files(tool: Tool) -> set[Path]:
    """Everything in and around the folder."""
    return {path for path in tool.folder.parent.rglob("*") if path.is_file()}


def test_a_picture_is_blurred_until_it_is_asked_for_and_again_afterwards(sit_down: Any, tools: Any) -> None:
    before = files(tools["Ann"])
    page = sit_down("Ann")
    assert max(pixels(page).size) <= 8
    for name in ("Yes", "No"):
        expect(page.get_by_role("button", name=name, exact=False).first).to_be_disabled()
    page.keyboard.press("y")  # nobody decides on what they did not see
    reveal(page)
    seen = pixels(page)
    assert seen.size == (1280, 678)
    assert seen.convert("RGB").getpixel((300, 300))[0] > 150
    assert b"SECRET" not in base64.b64decode(
        page.locator(".frame img").get_attribute("src").partition(",")[2]
    )
    page.keyboard.press("Space")
    page.locator(".frame.blurred img").wait_for()
    page.get_by_role("button", name="Show the picture").click()
    page.locator(".frame:not(.blurred) img").wait_for()
    assert tools["Ann"].decisions() == []
    page.keyboard.press("y")
    page.locator(".frame.blurred img").wait_for()
    assert max(pixels(page).size) <= 8
    assert tools["Ann"].decisions() == ["yes"]
    # The tool writes decisions and nothing else.
    written = tools["Ann"].folder / "annotations" / "ann.jsonl"
    assert files(tools["Ann"]) - before == {written}
    assert [set(json.loads(line)) for line in written.read_text().splitlines()] == [
        {"annotator", "leave_out", "at"}, {"concept", "sha256", "decision", "seconds", "at"}
    ]  # fmt: skip


def test_keys_and_mouse_decide_take_back_and_outlast_a_reload(sit_down: Any, tools: Any) -> None:
    page = sit_down("Ann")
    decide(page, "y")
    reveal(page)
    page.get_by_role("button", name="No N", exact=True).click()
    page.get_by_text("2 of 9 decided").wait_for()
    page.keyboard.press("s")
    page.get_by_text("3 of 9 decided").wait_for()
    # The mouse left no focus on No: the space bar shows a picture.
    reveal(page)
    assert tools["Ann"].decisions() == ["yes", "no", "skip"]
    for left in (2, 1):
        page.keyboard.press("u")
        page.get_by_text(f"{left} of 9 decided").wait_for()
    assert tools["Ann"].decisions() == ["yes"]
    page.get_by_text("about 1 min left").wait_for()
    # A key pressed many times before the answer came decides one picture.
    reveal(page)
    page.evaluate(
        "() => { for (let i = 0; i < 5; i++) document.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'y', bubbles: true})) }"
    )
    page.get_by_text("2 of 9 decided").wait_for()
    # After a reload the work goes on, blurred again.
    page.reload()
    page.get_by_text("Ann, you have decided 2 of 9 so far.").wait_for()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("2 of 9 decided").wait_for()
    page.locator(".frame.blurred img").wait_for()
    decide(page, "n")
    assert tools["Ann"].decisions() == ["yes", "yes", "no"]


def test_two_annotators_work_on_one_folder(sit_down: Any, tools: Any) -> None:
    ann, bo = sit_down("Ann"), sit_down("Bo")
    decide(ann, "y")
    reveal(bo)
    bo.keyboard.press("n")
    bo.get_by_role("heading", name="Time for a pause").wait_for()
    decide(ann, "n")
    assert tools["Ann"].decisions() == ["yes", "no"]
    assert tools["Bo"].decisions() == ["no"]
    # What Ann withholds, Bo is not shown; what she takes back, he is.
    ann.keyboard.press("x")
    ann.get_by_role("heading", name="Withheld").wait_for()
    ann.get_by_text("to the hotline of your country").wait_for()
    assert tools["Ann"].decisions() == ["yes", "no", "withhold"]
    bo.get_by_role("button", name="Go on").click()
    bo.get_by_text(re.compile("of 8 decided")).wait_for()
    ann.get_by_role("button", name="Undo: it was not meant").click()
    ann.get_by_text("2 of 9 decided").wait_for()
    bo.keyboard.press("g")
    bo.get_by_text(re.compile("of 9 decided")).wait_for()


def test_two_windows_of_one_annotator_lose_nothing(sit_down: Any, tools: Any) -> None:
    first, second = sit_down("Ann"), sit_down("Ann")
    reveal(second)
    decide(first, "y")
    second.keyboard.press("n")  # on the same picture: the later word counts
    second.get_by_text("1 of 9 decided").wait_for()
    assert tools["Ann"].decisions() == ["no"]
    decide(second, "y")
    # What was decided elsewhere makes room for the next picture, blurred like any.
    first.keyboard.press("Space")
    first.get_by_text("2 of 9 decided").wait_for()
    first.locator(".frame.blurred img").wait_for()
    decide(first, "n")
    assert tools["Ann"].decisions() == ["no", "yes", "no"]


def test_categories_can_be_left_out_and_names_are_shown_as_text(sit_down: Any, tools: Any) -> None:
    page = sit_down("Ann", begin=False)
    page.get_by_role("button", name="Warm", exact=True).or_(
        page.get_by_role("checkbox", name="Warm")
    ).first.click()
    page.get_by_text("up to 9 pictures").wait_for()
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("0 of 6 decided").wait_for()
    expect(page.locator(".look h1")).to_contain_text("<img src=x onerror")
    assert page.evaluate("window.broken") is None
    for done in range(1, 6):
        page.keyboard.press("s")
        page.get_by_text(f"{done} of 6 decided").wait_for()
    page.keyboard.press("s")
    page.get_by_role("heading", name="All decided").wait_for()
    assert tools["Ann"].decisions() == ["skip"] * 6
    page.get_by_text("Left out at your wish: Warm.").wait_for()
    page.get_by_role("button", name="Look again at the 6 you could not say").click()
    page.get_by_text("0 of 6 decided").wait_for()


def test_only_the_address_with_the_key_opens(context: Any, tools: Any) -> None:
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(tools["Ann"].url + "x")
    page.get_by_text("Open the address that the terminal shows").wait_for()
    expect(page.get_by_role("button", name="Begin")).to_have_count(0)
    page.close()


def test_a_picture_that_is_gone_can_only_be_skipped(sit_down: Any, tools: Any) -> None:
    folder = tools["Ann"].folder
    order = queue.order(candidates.read(folder), "Ann")
    place = folder.parent / "pictures" / order[0].reference
    content = place.read_bytes()
    place.write_bytes(photo(251))
    try:
        page = sit_down("Ann")
        page.get_by_text("is no longer the picture that was ranked").wait_for()
        expect(page.locator(".decide button:enabled")).to_have_text([re.compile(r"^Cannot say\s*S$")])
        page.keyboard.press("s")
        page.locator(".frame.blurred img").wait_for()
    finally:
        place.write_bytes(content)
    assert tools["Ann"].decisions() == ["skip"]


def test_the_page_fits_in_every_size_and_theme_and_nothing_moves(
    sit_down: Any, tools: Any, eventually: Callable[..., None]
) -> None:
    page = sit_down("Ann")

    def boxes() -> list[Any]:
        return [page.locator(f"[data-act={name}]").bounding_box() for name in ("yes", "no", "skip")]

    def fits(width: int) -> None:
        widest = page.evaluate(
            "Math.max(document.documentElement.scrollWidth, document.querySelector('.stMain').scrollWidth)"
        )
        assert widest <= width
        tally = page.locator(".tally").bounding_box()
        assert tally["y"] + tally["height"] <= 900, "all of it is seen without scrolling"

    def stays(before: list[Any]) -> None:
        assert boxes() == before

    def at_rest() -> None:
        before = boxes()
        page.wait_for_timeout(200)
        stays(before)

    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        eventually(partial(fits, width))
        eventually(at_rest)
        before = boxes()
        reveal(page)
        eventually(partial(stays, before))
        eventually(partial(fits, width))
        page.keyboard.press("Space")
        page.locator(".frame.blurred img").wait_for()
    page.keyboard.press("g")
    page.locator("[data-act=grey][aria-pressed=true]").wait_for()
    reveal(page)
    assert len(set(pixels(page).convert("RGB").getpixel((300, 300)))) == 1
    inks = {"light": "rgb(27, 30, 36)", "dark": "rgb(237, 235, 230)"}
    for scheme, ink in inks.items():
        page.emulate_media(color_scheme=scheme)
        expect(page.locator(".look h1")).to_have_css("color", ink)
    page.keyboard.press("p")
    page.get_by_role("heading", name="Time for a pause").wait_for()
    expect(page.locator(".frame")).to_have_count(0)
    page.keyboard.press("y")
    page.get_by_role("button", name="Go on").click()
    page.locator(".frame.blurred img").wait_for()
    assert tools["Ann"].decisions() == []


def test_it_listens_on_this_machine_alone(tools: Any) -> None:
    port = int(re.search(r":(\d+)/", tools["Ann"].url).group(1))  # type: ignore[union-attr]
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):  # noqa: PTH110
            for line in Path(table).read_text().splitlines()[1:]:
                address, state = line.split()[1], line.split()[3]
                if state == "0A" and int(address.rpartition(":")[2], 16) == port:
                    listening.append(address.rpartition(":")[0])
    assert listening
    assert set(listening) <= {"0100007F", "00000000000000000000000001000000"}
