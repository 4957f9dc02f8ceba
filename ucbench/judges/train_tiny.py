"""Train the tiny classifiers that are shipped in `ucbench/judges/tiny`.

`python -m ucbench.judges.train_tiny [--out FOLDER] [--seed N] [--steps N]`: about three minutes on one CPU
thread. Both are RoBERTa of the official shape, only small (two layers of 64), on answers made from
`ucbench.judges.phrases`. Prints accuracy on made answers that were not trained on. They prove the
classifier path and let it run with nothing to download; they are no match for the authors' classifiers on
real models' answers.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ucbench.files import atomic_path, write_text
from ucbench.judges import phrases
from ucbench.judges.classifier import ALIGNMENT_LABELS, PERCEPTION_LABELS, tiny_folder
from ucbench.judges.roberta import Reader, build

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import RobertaConfig

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


def config(vocabulary: int) -> RobertaConfig:
    """The tiny shape; positions and special ids are roberta-base's."""
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )


def train(
    task: str, words: Tokenizer, steps: int, seed: int, *, report: Callable[[str], object] = print
) -> tuple[torch.nn.Module, frozenset[str]]:
    """Train one classifier on fresh answers; returns the network in float32 and all answers it has seen."""
    import torch

    draw, labels = TASKS[task]
    torch.manual_seed(seed)
    model = build(config(words.get_vocab_size()), len(labels)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=steps, pct_start=0.1)
    random = Random(seed)
    vocabulary = words.get_vocab()
    start, end, pad = vocabulary["<s>"], vocabulary["</s>"], vocabulary["<pad>"]
    total = 0.0
    seen: set[str] = set()
    pool: list[tuple[list[int], int]] = []
    for step in range(steps):
        if not pool:
            # 20 batches at a time, each of like length, in random order.
            made = [draw(random) for _ in range(20 * 64)]
            seen.update(text for text, _ in made)
            ids = [[start, *e.ids[:510], end] for e in words.encode_batch([text for text, _ in made])]
            pool = sorted(
                zip(ids, (labels.index(label) for _, label in made), strict=True), key=lambda row: len(row[0])
            )
            chunks = [pool[i : i + 64] for i in range(0, len(pool), 64)]
            random.shuffle(chunks)
            pool = [row for chunk in chunks for row in chunk]
        batch, pool = pool[:64], pool[64:]
        width = max(len(row) for row, _ in batch)
        inputs = torch.tensor([row + [pad] * (width - len(row)) for row, _ in batch])
        logits = model(inputs, inputs.ne(pad).long())
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label for _, label in batch]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if (step + 1) % 500 == 0:
            report(f"{task:<11} step {step + 1:>5} of {steps}  loss {total / 500:.4f}")
            total = 0.0
    return model.eval(), frozenset(seen)


def save(model: torch.nn.Module, path: Path) -> None:
    """Weights in half precision; they are read back as float32."""
    import torch
    from safetensors.torch import save_file

    state = {key: value.to(torch.float16).contiguous() for key, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def config_text(shape: RobertaConfig) -> str:
    """What `config.json` says: the sizes and special ids, nothing else."""
    kept = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "type_vocab_size",
        "layer_norm_eps",
        "hidden_act",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
    )
    full: dict[str, Any] = shape.to_dict()
    return json.dumps({"model_type": "roberta", **{key: full[key] for key in kept}}, indent=1) + "\n"


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
    write_text(options.out / "tokenizer.json", words.to_str())
    write_text(options.out / "config.json", config_text(config(words.get_vocab_size())))
    for offset, (task, (draw, labels)) in enumerate(TASKS.items()):
        model, seen = train(task, words, options.steps, options.seed + offset)
        path = options.out / f"{task}.safetensors"
        save(model, path)
        held_out = phrases.corpus(draw, 3000, options.seed + 1000, exclude=seen)
        reader = Reader(path, labels, device="cpu")
        share, wrong = accuracy(reader, held_out)
        print(f"{task:<11} accuracy {share:.4f} on {len(held_out):,} unseen answers; wrong: {dict(wrong)}")


if __name__ == "__main__":
    main()
