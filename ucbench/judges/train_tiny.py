"""Train the tiny classifiers that are shipped in `ucbench/judges/tiny`.

`python -m ucbench.judges.train_tiny [--out FOLDER] [--seed N] [--steps N]`: about three minutes on one CPU
thread. Both are RoBERTa of the official shape, only small (two layers of 64), on answers made from
`ucbench.judges.phrases`. Prints accuracy on made answers that were not trained on. They prove the
classifier path and let it run with nothing to download; they are no match for the authors' classifiers on
real models' answers.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from ucbench.judges import phrases
from ucbench.judges.classifier import ALIGNMENT_LABELS, PERCEPTION_LABELS, tiny_folder
from ucbench.judges.fit import POOL, Fitter, Row, encode, pooled, save_weights, tiny_config, write_companions
from ucbench.judges.roberta import Reader, build

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

VOCABULARY = 1500
TASKS: dict[str, tuple[Callable[[Random], tuple[str, str]], tuple[str, ...]]] = {
    "perception": (phrases.perception_answer, PERCEPTION_LABELS),
    "alignment": (phrases.alignment_answer, ALIGNMENT_LABELS),
}


def tokenizer(texts: Sequence[str]) -> Tokenizer:
    """A byte-level BPE tokenizer with RoBERTa's special tokens at RoBERTa's ids."""
    from tokenizers import ByteLevelBPETokenizer, Tokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        texts,
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    return Tokenizer.from_str(trained.to_str())


def train(
    task: str, words: Tokenizer, steps: int, seed: int, *, report: Callable[[str], object] = print
) -> tuple[torch.nn.Module, frozenset[str]]:
    """Train one classifier on fresh answers; returns the network in float32 and all answers it has seen."""
    import torch

    draw, labels = TASKS[task]
    torch.manual_seed(seed)
    model = build(tiny_config(words.get_vocab_size()), len(labels)).train()
    fitter = Fitter(model, lr=1.5e-3, steps=steps, pad=words.get_vocab()["<pad>"], device="cpu")
    random = Random(seed)
    total = 0.0
    seen: set[str] = set()
    batches: list[list[Row]] = []
    for step in range(steps):
        if not batches:
            made = [draw(random) for _ in range(POOL * 64)]
            seen.update(text for text, _ in made)
            ids = encode(words, [text for text, _ in made])
            rows = list(zip(ids, (labels.index(label) for _, label in made), strict=True))
            batches = pooled(rows, 64, random)
        total += fitter.step(batches.pop(0))
        if (step + 1) % 500 == 0:
            report(f"{task:<11} step {step + 1:>5} of {steps}  loss {total / 500:.4f}")
            total = 0.0
    return model.eval(), frozenset(seen)


def accuracy(reader: Reader, answers: Sequence[tuple[str, str]]) -> tuple[float, Counter[tuple[str, str]]]:
    """Share of labels met, and the confusions (right, read)."""
    rows = reader.probabilities([text for text, _ in answers])
    read = [reader.labels[max(range(len(row)), key=row.__getitem__)] for row in rows]
    wrong = Counter((label, got) for (_, label), got in zip(answers, read, strict=True) if label != got)
    return 1 - sum(wrong.values()) / len(answers), wrong


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both classifiers and write them."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=tiny_folder())
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--steps", type=int, default=2200)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    made = {task: phrases.corpus(draw, 20_000, options.seed) for task, (draw, _) in TASKS.items()}
    words = tokenizer([text for rows in made.values() for text, _ in rows])
    write_companions(options.out, words, tiny_config(words.get_vocab_size()))
    for offset, (task, (draw, labels)) in enumerate(TASKS.items()):
        model, seen = train(task, words, options.steps, options.seed + offset)
        path = options.out / f"{task}.safetensors"
        save_weights(model, path, half=True)
        held_out = phrases.corpus(draw, 3000, options.seed + 1000, exclude=seen)
        reader = Reader(path, labels, device="cpu")
        share, wrong = accuracy(reader, held_out)
        print(f"{task:<11} accuracy {share:.4f} on {len(held_out):,} unseen answers; wrong: {dict(wrong)}")


if __name__ == "__main__":
    main()
