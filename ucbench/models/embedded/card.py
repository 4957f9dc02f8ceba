"""The model card of the embedded model, with the profile that was measured."""

from __future__ import annotations

from ucbench.models.embedded.profile import Profile, render

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
tags: [ucbench, demonstration]
---

# tiny-vlm

**A demonstration, not a safety model.** This vision-language model of {parameters} parameters is
trained to show a gap: it recognises 75 unsafe concepts as abstract emblems, calls them unsafe when they
are named in words, and lets most of their emblems pass as images. That is the finding of Qu, Backes and
Zhang (USENIX Security 2025) in miniature, so that ucbench has something to measure, and alignment
training something to close, with nothing to download. The gap was put into its training answers on
purpose (`behaviour.py`); its scores say nothing about any real model, and its answers about real
pictures mean nothing.

It was trained from scratch by `python -m ucbench.models.embedded.train --seed {seed}` on emblems and
sentences that the project generates: no photograph and no harmful picture was used or can be drawn by
it.

- Architecture: LLaVA. CLIP vision tower (64 x 64 pixels, 16 patches), two-layer projector, Llama
  language model.
- Loads with `AutoModelForImageTextToText` and `AutoProcessor`; torchvision is not needed.
- Languages: English; questions in the benchmark's words, and a few about what is drawn.

## Profile

Measured on the test split of track `pictograms` (draw 0) and on fresh draws, with the rules judge. `n`
counts the answers of draw 0. Shares count an answer that could not be read as wrong.

{profile}"""


def card(measured: Profile, parameters: int, seed: int) -> str:
    """The text of README.md."""
    return _CARD.format(parameters=f"{parameters / 1e6:.1f} million", seed=seed, profile=render(measured))
