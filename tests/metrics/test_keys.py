"""The table of score keys."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ucbench.errors import UnknownNameError
from ucbench.metrics.keys import KEYS, lookup
from ucbench.metrics.parts import LABELS, PARTS, TURNED
from ucbench.metrics.scores import TERMS


def test_every_key_is_computed_and_told_in_one_line() -> None:
    assert set(TERMS) | {"diversity", "llavabench"} == set(KEYS)
    for key, row in KEYS.items():
        assert row.key == key
        assert row.title
        assert row.definition.endswith(".")
        assert "\n" not in row.definition
        assert row.kinds
        assert set(row.kinds) <= set(LABELS)


def test_kinds_of_a_key_are_those_its_shares_read() -> None:
    for key, terms in TERMS.items():
        read = {PARTS[part].kind for _, part in terms}
        read |= {"perception"} if any(PARTS[part].recognised for _, part in terms) else set()
        read |= {TURNED[PARTS[part].kind] for _, part in terms if PARTS[part].pair}
        assert set(KEYS[key].kinds) == read, key


def test_directions() -> None:
    assert KEYS["balanced_accuracy"].higher_is_better is True
    assert KEYS["over_refusal"].higher_is_better is False
    assert KEYS["modality_gap"].higher_is_better is None
    assert KEYS["modality_gap"].signed
    assert not KEYS["perception"].signed


def test_unknown_key_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="choose one of balanced_accuracy"):
        lookup("beauty")


def test_metrics_import_neither_scipy_nor_torch() -> None:
    code = (
        "import sys, ucbench.metrics.compare, ucbench.metrics.scores;"
        "print(sorted({'scipy', 'torch', 'nltk', 'streamlit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
