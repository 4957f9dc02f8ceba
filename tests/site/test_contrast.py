"""Every colour that is written or drawn in can be read: WCAG 2.2 AA, from the theme and the sheets."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from ucbench.site import theme
from ucbench.site.figures.heat import Scale, tint

ROOT = Path(theme.__file__).parents[2]
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
WAITING = ROOT / "ucbench" / "site" / "static" / "waiting.css"
#: The sheets of figures; before a page is drawn the theme's colours are not there yet.
SHEETS = sorted(set(WAITING.parent.glob("*.css")) - {WAITING})
#: Text of ordinary size, and marks of charts and controls.
TEXT, MARK = 4.5, 3.0
#: The colours of the theme that text is written in, and those that marks are drawn in.
WRITTEN = (
    "textColor", "linkColor", "grayTextColor", "blueTextColor", "orangeTextColor", "greenTextColor",
    "violetTextColor", "codeTextColor",
)  # fmt: skip
DRAWN = ("blueColor", "orangeColor", "greenColor", "violetColor", "grayColor", "primaryColor")
THEMES = ("light", "dark")


def channels(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def mixed(ink: str, ground: str, share: float) -> str:
    """`ink` at an opacity over `ground`."""
    both = zip(channels(ink), channels(ground), strict=True)
    return "#" + "".join(f"{round(255 * (share * a + (1 - share) * b)):02X}" for a, b in both)


def grounds(name: str) -> list[str]:
    return [CONFIG[name]["backgroundColor"], CONFIG[name]["secondaryBackgroundColor"]]


def test_the_measure_is_wcags() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    # The example of the specification's techniques: just too pale on white.
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", THEMES)
def test_text_and_marks_of_the_theme(name: str) -> None:
    for colours, least in ((WRITTEN, TEXT), (DRAWN, MARK)):
        for colour in colours:
            for ground in grounds(name):
                assert contrast(CONFIG[name][colour], ground) >= least, (name, colour, ground)
    code = CONFIG[name]["codeTextColor"], CONFIG[name]["codeBackgroundColor"]
    assert contrast(*code) >= TEXT


@pytest.mark.parametrize("name", THEMES)
def test_captions_are_ink_that_is_let_through(name: str) -> None:
    found = re.search(r'stCaptionContainer"\] \{[^}]*opacity: (\.\d+)', theme.STYLE)
    assert found
    for ground in grounds(name):
        assert contrast(mixed(CONFIG[name]["textColor"], ground, float(found[1])), ground) >= TEXT


def variables() -> dict[str, str]:
    """Variable of the sheets -> option of the theme: --grey -> grayTextColor."""
    found = {}
    for sheet in SHEETS:
        for mine, parts in re.findall(r"(--[a-z-]+): var\(--st-([a-z-]+)\)", sheet.read_text()):
            first, *rest = parts.split("-")
            found[mine] = first + "".join(part.title() for part in rest)
    return found


def test_text_of_figures_is_written_in_colours_of_the_theme_that_can_be_read() -> None:
    known = variables()
    assert {"--ink", "--grey", "--image-ink", "--text-ink", "--safe", "--unsafe"} <= set(known)
    for sheet in SHEETS:
        for value in re.findall(r"(?<![-\w])color: *([^;}]+)", sheet.read_text()):
            if value.strip() in ("inherit", "currentColor", "transparent"):
                continue
            named = re.fullmatch(r"var\((--[a-z-]+)\)", value.strip())
            assert named, f"{sheet.name} writes in {value}, which is no colour of the theme"
            # The ground is written on ink, the other way round.
            assert known[named[1]] in (*WRITTEN, "backgroundColor"), f"{sheet.name} writes in {value}"


def oklab(colour: str) -> np.ndarray:
    """Ottosson (2020), as CSS Color 4 has it."""
    rgb = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)])
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
              [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    to_lab = [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099],
              [0.0259040371, 0.7827717662, -0.808675766]]  # fmt: skip
    return np.array(to_lab) @ np.cbrt(np.array(to_lms) @ rgb)


def oklab_luminance(lab: np.ndarray) -> float:
    to_lms = [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728],
              [1, -0.0894841775, -1.291485548]]  # fmt: skip
    to_rgb = [[4.0767416621, -3.3077115913, 0.2309699292], [-1.2684380046, 2.6097574011, -0.3413193965],
              [-0.0041960863, -0.7034186147, 1.707614701]]  # fmt: skip
    linear = np.clip(np.array(to_rgb) @ (np.array(to_lms) @ lab) ** 3, 0, 1)
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear)


@pytest.mark.parametrize("name", THEMES)
def test_figures_in_cells_of_the_heat_map_can_be_read_on_every_tint(name: str) -> None:
    assert oklab_luminance(oklab("#0072B2")) == pytest.approx(luminance("#0072B2"), abs=1e-4)
    colours = {mine: CONFIG[name][option] for mine, option in variables().items() if option in CONFIG[name]}
    ink, ground = luminance(CONFIG[name]["textColor"]), oklab(CONFIG[name]["backgroundColor"])
    scales: tuple[Scale, ...] = get_args(Scale)
    for scale in scales:
        for value in (-1.0, -0.5, 0.5, 1.0):
            found = re.search(r"oklab, var\((--[a-z-]+)\) (\d+)%", tint(value, scale))
            assert found
            share = int(found[2]) / 100
            cell = oklab_luminance(share * oklab(colours[found[1]]) + (1 - share) * ground)
            low, high = sorted((ink, cell))
            assert (high + 0.05) / (low + 0.05) >= TEXT, (scale, value)


def test_no_sheet_has_colours_of_its_own() -> None:
    for sheet in SHEETS:
        if sheet.name != "annotate.css":
            assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", sheet.read_text()), sheet.name


def test_the_wordmark_and_the_skip_link() -> None:
    for name, colours in theme.WORDMARK_COLOURS.items():
        assert list(colours) == [CONFIG[name][key] for key in ("textColor", "blueColor", "orangeColor")]
    ground, ink = re.findall(r"(?:background|color): (#[0-9A-F]{6})", WAITING.read_text())[:2]
    assert contrast(ground, ink) >= TEXT
    assert CONFIG["dark"]["backgroundColor"] in WAITING.read_text()


@pytest.mark.parametrize("name", THEMES)
def test_image_and_text_are_told_apart_by_those_who_see_few_colours(name: str) -> None:
    """Blue and orange differ in the blue channel, which the common forms of colour blindness keep."""
    image, text = CONFIG[name]["blueColor"], CONFIG[name]["orangeColor"]
    assert abs(channels(image)[2] - channels(text)[2]) > 0.5
