from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from ucbench.judges import fit, phrases, train_tiny
from ucbench.judges.roberta import Reader

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("task", list(train_tiny.TASKS))
def test_answers_are_seeded_and_carry_every_label(task: str) -> None:
    draw, labels = train_tiny.TASKS[task]
    answers = phrases.corpus(draw, 2000, seed=1)
    assert answers == phrases.corpus(draw, 2000, seed=1)
    assert {label for _, label in answers} == set(labels)
    assert not any("{" in text for text, _ in answers)
    kept = phrases.corpus(draw, 200, seed=1, exclude=frozenset(text for text, _ in answers[:100]))
    assert not {text for text, _ in kept} & {text for text, _ in answers[:100]}


def test_training_is_seeded_learns_and_is_read_back(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    draw, labels = train_tiny.TASKS["perception"]
    words = train_tiny.tokenizer([draw(Random(i))[0] for i in range(2000)])
    fit.write_companions(tmp_path, words, fit.tiny_config(words.get_vocab_size()))
    shares, digests = [], []
    for run, steps in enumerate((2, 2, 150)):
        model, seen = train_tiny.train("perception", words, steps, seed=3)
        fit.save_weights(model, tmp_path / f"{run}.safetensors", half=True)
        reader = Reader(tmp_path / f"{run}.safetensors", labels, device="cpu")
        share, wrong = train_tiny.accuracy(reader, phrases.corpus(draw, 300, seed=9, exclude=seen))
        assert share == pytest.approx(1 - sum(wrong.values()) / 300)
        shares.append(share)
        digests.append(reader.digest)
    assert digests[0] == digests[1] != digests[2]
    assert shares[2] > shares[0]
