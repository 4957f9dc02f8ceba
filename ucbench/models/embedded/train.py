"""Train `embedded:tiny-vlm` from scratch: `python -m ucbench.models.embedded.train [--out DIR] [--seed N]`.

Takes about 20 minutes on two CPU cores: vision 3, language 12, profile 5. The model is a demonstration:
it is trained to show a gap between image and text, so that the benchmark has something to find.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

CHECKPOINT = Path(__file__).parent / "tiny-vlm"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much training: pictures a concept for each stage, and question-answer pairs."""

    vision_pictures: int = 170
    vision_epochs: int = 3
    language_pictures: int = 80
    examples: int = 100_000


def train(out: Path, seed: int = 0, sizes: Sizes | None = None) -> int:
    """Both stages, then the checkpoint: configuration, weights (fp32 safetensors), processor.

    Returns the number of parameters.
    """
    import torch

    from ucbench.models.embedded import corpus
    from ucbench.models.embedded.architecture import build_model, build_processor, build_tokenizer
    from ucbench.models.embedded.language import draw_pictures, train_language
    from ucbench.models.embedded.vision import train_vision

    sizes = sizes or Sizes()
    torch.manual_seed(seed)
    begun = time.perf_counter()
    tokenizer = build_tokenizer(corpus.tokenizer_texts(Random(seed)))
    model = build_model(tokenizer)
    parameters: int = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters", flush=True)
    generator = torch.Generator().manual_seed(seed)
    accuracy = train_vision(model, generator, sizes.vision_pictures, epochs=sizes.vision_epochs)
    print(f"a single patch names the concept of a fresh picture: {accuracy:.3f}", flush=True)
    pictures = draw_pictures(model, sizes.language_pictures)
    train_language(model, tokenizer, pictures, Random(seed), sizes.examples)
    model.eval()
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    build_processor(tokenizer).save_pretrained(out)
    print(f"saved to {out} after {(time.perf_counter() - begun) / 60:.1f} minutes", flush=True)
    return parameters


def main() -> None:
    """Command line; exits with 1 when the profile misses a requirement."""
    from ucbench.models.embedded.card import card
    from ucbench.models.embedded.profile import profile, render

    parser = argparse.ArgumentParser(description="Train the embedded demonstration model from scratch.")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    parameters = train(arguments.out, arguments.seed)
    measured = profile(str(arguments.out))
    print(render(measured))
    (arguments.out / "README.md").write_text(card(measured, parameters, arguments.seed), encoding="utf-8")
    for miss in measured.misses():
        print(f"MISSED {miss}")
    raise SystemExit(1 if measured.misses() else 0)


if __name__ == "__main__":
    main()
