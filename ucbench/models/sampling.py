"""Sampling whose noise belongs to the question, not to the batch.

The Gumbel-max trick: the arg max of `log p + Gumbel noise` is a draw from p. The noise comes from a
counter-based generator (Philox, Salmon et al. 2011) keyed by (seed, sample, question) and counted by
step, so that an answer is the same whoever shares the batch and wherever a run was resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ucbench.record import Decoding

if TYPE_CHECKING:
    from torch import Tensor


def row_key(seed: int, sample_id: str, question_id: str) -> tuple[int, int]:
    """128 bits that name a row's noise, as two unsigned 64-bit words."""
    text = f"{seed}\x00{sample_id}\x00{question_id}"
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def uniforms(key: tuple[int, int], step: int, n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`n` uniform numbers in [0, 1) of a row at a step; shape [n], float32."""
    # Word 2 of the 256-bit counter is the step: 2^128 numbers lie between two steps.
    counter = np.array([0, 0, step, 0], dtype=np.uint64)
    generator = np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter))
    return generator.random(n, dtype=np.float32)


class GumbelSampling:
    """A logits processor that makes greedy search draw from softmax(logits / T) cut to top-p.

    `rows` holds one (sample id, question id) a row, in batch order; rows that drew one of `stop_ids` have
    ended. Use one instance a `generate` call.
    """

    def __init__(
        self, decoding: Decoding, rows: Sequence[tuple[str, str]], stop_ids: Collection[int] = ()
    ) -> None:
        from transformers import TopPLogitsWarper

        self._temperature = decoding.temperature
        self._top_p = TopPLogitsWarper(decoding.top_p) if decoding.top_p < 1 else None
        self._keys = [row_key(decoding.seed, *row) for row in rows]
        self._step = 0
        self._stop_ids = sorted(stop_ids)
        self._ended = np.zeros(len(self._keys), dtype=bool)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return noisy scores; shapes [rows, length] and [rows, vocabulary]."""
        import torch

        if self._step and self._stop_ids:
            # What is drawn for a row that has ended is thrown away, so it needs no noise.
            self._ended |= np.isin(input_ids[:, -1].cpu().numpy(), self._stop_ids)

        scores = scores / self._temperature
        if self._top_p is not None:
            scores = self._top_p(input_ids, scores)
        noise = np.full(scores.shape, 0.5, dtype=np.float32)
        for row in np.flatnonzero(~self._ended):
            noise[row] = uniforms(self._keys[row], self._step, scores.shape[-1])
        self._step += 1
        # A uniform of exactly 0 gives noise of -inf: that token is not drawn, at odds of 2^-24.
        return scores - torch.log(-torch.log(torch.from_numpy(noise).to(scores.device)))
