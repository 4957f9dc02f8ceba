"""Ranks slowly, in parts of a few pictures, until it is killed: `killed_candidates.py PICTURES CLIP OUT`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from ucbench.compile import candidates, clip, embed
from ucbench.compile.concepts import ListedConcept
from ucbench.compile.sources import open_source

embed.PART_PICTURES = 8
source = open_source(sys.argv[1])
encoder = clip.load(sys.argv[2], device="cpu")
prepare = clip.Encoder.prepare


def slowly(self: clip.Encoder, image: Any) -> Any:
    time.sleep(0.1)
    return prepare(self, image)


clip.Encoder.prepare = slowly  # type: ignore[method-assign]
concepts = [ListedConcept("red-circle", "red circle", "Round", "red circle")]
candidates.compile_candidates(source, concepts, encoder, Path(sys.argv[3]), top=5, batch_size=4)
