"""The benchmark of the engine: its floor and its table, checked without running it."""

from __future__ import annotations

import engine
import pytest
from checkpoints import llava_shape
from engine import HEAD, NAIVE, Cost, Timing
from hypothesis import given
from hypothesis import strategies as st

from ucbench.models.families.base import BATCHED, SHARED_PREFIX
from ucbench.models.local import LocalVLM
from ucbench.record import Entry


@pytest.fixture(scope="module")
def cost() -> Cost:
    """Of LLaVA-1.5-7B's shape in bfloat16; no weight is held."""
    loaded = llava_shape("meta", "7b", "bfloat16")
    return Cost.of(LocalVLM(loaded, Entry(model="llava")), engine.work(1)[0])


def test_the_counts_are_those_of_the_published_architecture(cost: Cost) -> None:
    width, mlp, layers, vocabulary = 4096, 11_008, 32, 32_064
    language = layers * (4 * width**2 + 3 * width * mlp + 2 * width) + width
    projector = 1024 * width + width + width**2 + width
    assert cost.layers == language + projector
    assert cost.language == cost.layers + vocabulary * width
    assert cost.language * cost.element == pytest.approx(13.2e9, rel=0.01)
    assert cost.token_bytes == 2 * layers * width * 2 == 524_288
    assert cost.attended == 2 * layers * width
    assert cost.picture == pytest.approx(2 * 0.304e9 * 577, rel=0.01)
    assert cost.prefix > 576
    assert cost.prompt > cost.prefix


def test_six_questions_take_the_arithmetic_worked_out_by_hand(cost: Cost) -> None:
    """By a plain sum over tokens: each passes the layers and looks at itself and those before it."""

    def passed(start: int, end: int) -> float:
        return sum(2 * cost.layers + 2 * cost.attended * (place + 0.5) for place in range(start, end))

    prompt = round(cost.prompt)
    even = Cost(**{**{name: getattr(cost, name) for name in cost.__dataclass_fields__}, "prompt": prompt})
    naive = 6 * (even.picture + passed(0, prompt))
    shared = even.picture + passed(0, even.prefix) + 6 * passed(even.prefix, prompt)
    assert even.asking(BATCHED, 1, 6) == even.asking(NAIVE, 1, 6) == pytest.approx(naive, rel=1e-9)
    assert even.asking(SHARED_PREFIX, 1, 6) == pytest.approx(shared, rel=1e-9)
    assert 45e12 < naive < 60e12
    assert 8e12 < shared < 14e12


def test_steps_read_the_weights_once_a_batch_and_each_row_its_own(cost: Cost) -> None:
    weights = cost.language * cost.element
    row = (cost.prompt + 16) * cost.token_bytes
    assert cost.reading(1, 1, 32) == pytest.approx(31 * (weights + row))
    assert cost.reading(130, 64, 32) == pytest.approx(31 * (3 * weights + 130 * row))
    assert cost.reading(64, 64, 1) == 0


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 128), st.integers(1, 512))
def test_sharing_and_batching_never_cost_more(images: int, each: int, batch: int, new: int) -> None:
    cost = Cost(1000, 1200, 8, 5000, 2, 64, 40.0, 30)
    rows = images * each
    assert cost.asking(SHARED_PREFIX, images, rows) <= cost.asking(NAIVE, images, rows) * (1 + 1e-12)
    assert cost.reading(rows, batch, new) <= cost.reading(rows, 1, new)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", (989e12, 4.8e12)),
        ("NVIDIA H100 80GB HBM3", (989e12, 3.35e12)),
        ("NVIDIA H100 PCIe", (756e12, 2.0e12)),
        ("NVIDIA A100-SXM4-80GB", (312e12, 2.0e12)),
        ("NVIDIA A100-PCIE-40GB", (312e12, 1.555e12)),
        ("NVIDIA L40S", (362e12, 0.864e12)),
        ("NVIDIA L4", (121e12, 0.3e12)),
        ("NVIDIA GeForce RTX 4090", None),
        ("NVIDIA GH200 480GB", None),
    ],
)
def test_the_peak_of_a_device_by_its_name(name: str, peak: tuple[float, float] | None) -> None:
    assert engine.stated_peaks(name) == peak


def test_a_row_of_the_table() -> None:
    naive = Timing(NAIVE, 5, 30, 960, 50.0, 15_000_000_000, 10.0)
    shared = Timing(SHARED_PREFIX, 200, 1200, 38_400, 100.0, None, 20.0)
    cells = [cell.strip() for cell in engine.row(shared, naive).strip("|").split("|")]
    assert cells == [
        "shared_prefix", "200 images, 1200 answers", "100.0 s", "2 images/s", "384 tokens/s", "not measured",
        "20.0x", "5.0x of 20.00 s",
    ]  # fmt: skip
    assert "15.0 GB" in engine.row(naive, naive)
    assert {line.count("|") for line in (*HEAD.splitlines(), engine.row(naive, naive))} == {9}


def test_the_work_is_that_of_the_official_track() -> None:
    samples = engine.work(3)
    assert [len(sample.questions) for sample in samples] == [6, 6, 6]
    assert len({sample.image.load().tobytes() for sample in samples}) == 3
