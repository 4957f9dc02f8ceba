"""The shared-prefix engine against the naive loop, on the same questions about the same pictures.

    python benchmarks/shared_prefix.py                  the embedded model
    python benchmarks/shared_prefix.py --mid-size       random weights, about 60 million parameters

The naive loop (naive.py) is what evaluation code usually does: one question at a time, the picture
processed and encoded anew for each, the whole prompt through `generate`. Prints one line for RESULTS.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from checkpoints import mid_size
from naive import OneAtATime

from ucbench.models import registry
from ucbench.models.base import VLM
from ucbench.record import Decoding
from ucbench.tracks import registry as tracks
from ucbench.types import Sample

Texts = dict[tuple[str, str], str]


def shared(vlm: VLM, samples: list[Sample], batch_size: int) -> tuple[Texts, float]:
    start = time.perf_counter()
    answers = [answer for batch in vlm.plan(samples, batch_size) for answer in vlm.answer(batch)]
    seconds = time.perf_counter() - start
    return {(answer.sample_id, answer.question_id): answer.text for answer in answers}, seconds


def naive(folder: Path, samples: list[Sample], device: str, max_new_tokens: int) -> tuple[Texts, float]:
    ask = OneAtATime(folder, max_new_tokens=max_new_tokens, device=device)
    start = time.perf_counter()
    texts = {key: reply.text for key, reply in ask(samples).items()}
    return texts, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="shared prefix against one question at a time")
    parser.add_argument("--mid-size", action="store_true", help="random weights, about 60 M parameters")
    parser.add_argument("--samples", type=int, default=20, help="pictures, the blank one among them")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    import torch

    samples = tracks.load("pictograms").samples(limit=options.samples)
    questions = sum(len(sample.questions) for sample in samples)
    with tempfile.TemporaryDirectory() as scratch:
        folder = mid_size(Path(scratch)) if options.mid_size else registry.EMBEDDED["embedded:tiny-vlm"]
        vlm = registry.load(
            str(folder),
            decoding=Decoding(max_new_tokens=options.max_new_tokens),
            dtype="float32",
            device=options.device,
        )
        fast_texts, fast = shared(vlm, samples, options.batch_size)
        slow_texts, slow = naive(folder, samples, options.device, options.max_new_tokens)
    identical = sum(fast_texts[key] == text for key, text in slow_texts.items())
    model = "mid-size random" if options.mid_size else "embedded:tiny-vlm"
    setting = f"fp32, batch {options.batch_size}, {options.device}, {torch.get_num_threads()} threads"
    print(
        f"| shared prefix against naive loop | {model} "
        f"| {len(samples)} pictures, {questions} questions, {setting} "
        f"| {slow:.1f} s -> {fast:.1f} s | {slow / fast:.1f}x "
        f"| {identical} of {questions} answers identical |"
    )


if __name__ == "__main__":
    main()
