"""The HTML and the pictures of the annotators' tool."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from ucbench.compile import queue
from ucbench.compile.annotations import Annotations, Vote
from ucbench.compile.candidates import Candidate
from ucbench.site.annotate import view


def test_time_left_is_an_estimate() -> None:
    assert [view.time_left(s) for s in (1, 95, 3540, 3570, 7260)] == [
        "about 1 min", "about 2 min", "about 59 min", "about 1 h 00 min", "about 2 h 01 min"
    ]  # fmt: skip


def test_html_of_outside_words_is_escaped() -> None:
    candidate = Candidate("hostile", "<img src=x onerror=1>", "<script>1</script>", 1, 0.1, "r", "s", 1)
    place = queue.place([candidate], Annotations("A", (), {("x", "y"): Vote("yes", 1)}))
    html = view.look(place, None, "<script>problem</script>", revealed=True, undo=True, grey=False)
    assert "<script>" not in html
    assert "<img" not in html


@pytest.mark.parametrize("size", [(4000, 1000), (30, 20), (1, 900), (5000, 1)])
def test_pictures_are_scaled_down_never_up(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (10, 200, 30))
    shown = view.picture(image, revealed=True)
    with Image.open(io.BytesIO(base64.b64decode(shown.uri.partition(",")[2]))) as seen:
        assert seen.size == (shown.width, shown.height)
        assert max(seen.size) == min(view.SIDE, max(size))
    assert image.size == size


def test_of_a_picture_that_nobody_asked_for_a_few_pixels_are_left() -> None:
    image = Image.effect_noise((600, 400), 90).convert("RGB")
    shown = view.picture(image, revealed=False)
    assert (shown.width, shown.height) == (600, 400)
    with Image.open(io.BytesIO(base64.b64decode(shown.uri.partition(",")[2]))) as seen:
        assert max(seen.size) <= view.BLURRED_SIDE
