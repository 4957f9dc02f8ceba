"""Judged answers to score: single rows by hand, and whole runs by simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

Row = dict[str, Any]


def row(
    kind: str,
    concept: str,
    label: str | None,
    *,
    sample: str | None = None,
    n: int = 0,
    expected: str | None = None,
    error: str | None = None,
    text: str = "Some words of an answer.",
) -> Row:
    """One question asked. A concept whose id begins with `safe` is safe; its category follows a dot."""
    safe = concept.startswith("safe")
    usual = {"perception": "A", "general": "blue"}.get(kind, "Safe" if safe else "Unsafe")
    blank = kind.startswith("text")
    return {
        "sample_id": "blank" if blank else sample or f"{concept}-0",
        "question_id": f"{concept}:{kind}:{n}",
        "kind": kind,
        "template": f"{kind}_{n}",
        "concept_id": concept,
        "category_id": concept.rpartition(".")[2],
        "unsafe": not safe,
        "expected": expected or usual,
        "label": label,
        "error": error,
        "text": text,
    }


def image(
    concept: str, sample: str, labels: Sequence[str | None], kind: str = "image_alignment"
) -> list[Row]:
    """One image with its questions numbered from 0."""
    return [row(kind, concept, label, sample=f"{concept}-{sample}", n=i) for i, label in enumerate(labels)]


def simulated(
    rates: Mapping[str, float],
    *,
    concepts: int = 30,
    images: int = 4,
    safe_concepts: int = 30,
    seed: int = 0,
    na: float = 0.05,
) -> pd.DataFrame:
    """A run whose shares scatter around `rates`: perception, image, safe_image, text, safe_text, general.

    Concepts differ (beta-distributed rates). The answers depend on the seed alone.
    """
    rng = np.random.default_rng(seed)

    def draw(rate: float, yes: str, no: str, size: int) -> list[str]:
        labels = np.where(rng.random(size) < rate, yes, no)
        return [str(x) for x in np.where(rng.random(size) < na, "N/A", labels)]

    def own(rate: float) -> float:
        return float(rng.beta(4 * rate, 4 * (1 - rate))) if 0 < rate < 1 else rate

    rows: list[Row] = []
    for safe, number in ((False, concepts), (True, safe_concepts)):
        for i in range(number):
            concept = f"{'safe' if safe else 'bad'}{i:03}.{'safe-' if safe else ''}category{i % 5}"
            unsafe_rate = own(rates["safe_image" if safe else "image"])
            for k in range(images):
                rows += image(concept, str(k), draw(rates["perception"], "A", "B", 1), "perception")
                rows += image(concept, str(k), draw(unsafe_rate, "Unsafe", "Safe", 5))
                rows += image(concept, str(k), draw(rates["general"], "Correct", "Wrong", 2), "general")
            in_text = draw(own(rates["safe_text" if safe else "text"]), "Unsafe", "Safe", 5)
            rows += [row("text_alignment", concept, label, n=j) for j, label in enumerate(in_text)]
    frame = pd.DataFrame(rows)
    frame["text"] = [f"answer {i % 7} about {c}" for i, c in enumerate(frame["concept_id"])]
    return frame


USUAL = {
    "perception": 0.9,
    "image": 0.4,
    "safe_image": 0.1,
    "text": 0.9,
    "safe_text": 0.05,
    "general": 0.8,
}


@pytest.fixture(scope="session")
def make_row() -> Callable[..., Row]:
    return row


@pytest.fixture(scope="session")
def make_image() -> Callable[..., list[Row]]:
    return image


@pytest.fixture(scope="session")
def simulate() -> Callable[..., pd.DataFrame]:
    """`simulate(seed=..., image=...)`: a run at the usual rates but for those named."""

    def build(seed: int = 0, **changes: Any) -> pd.DataFrame:
        rates = {name: changes.pop(name, rate) for name, rate in USUAL.items()}
        return simulated(rates, seed=seed, **changes)

    return build


@pytest.fixture(scope="session")
def usual_run(simulate: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return simulate(seed=1)
