"""How a batch is cut, and which question stands at which place of the training."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ucbench.align.data import Draw, TrainingSet
from ucbench.align.settings import Common, OnlineSettings
from ucbench.errors import UcbenchError


@dataclass(frozen=True, slots=True)
class Plan:
    """`batch` answers (pairs, for DPO) a step = `micro` x `accumulation` x `processes`.

    `questions` of them differ: all for SFT and DPO, one a group for the methods that sample groups.
    """

    steps: int
    batch: int
    questions: int
    micro: int
    accumulation: int
    processes: int
    seed: int

    def draws(self, data: TrainingSet) -> list[Draw]:
        """The questions of the whole training: step k asks those of `TrainingSet.batch(k)`, in its order."""
        batches = (data.batch(step, self.questions, self.seed) for step in range(self.steps))
        return [draw for batch in batches for draw in batch]


def plan(settings: Common, data: TrainingSet) -> Plan:
    """Cut the batches. Raises `UcbenchError` for sizes that do not divide."""
    batch, processes = settings.batch_size, int(os.environ.get("WORLD_SIZE", "1"))
    generations = settings.generations if isinstance(settings, OnlineSettings) else 1
    if batch % generations:
        raise UcbenchError(
            f"--batch-size {batch} counts answers, so it must be a multiple of the {generations} generations "
            "that each question gets"
        )
    if batch % processes:
        raise UcbenchError(f"--batch-size {batch} must be a multiple of the {processes} processes")
    each = batch // processes
    micro = min(settings.micro_batch_size, each)
    if each % micro:
        share = f" (--batch-size {batch} on {processes} processes)" if processes > 1 else ""
        raise UcbenchError(
            f"--micro-batch-size {micro} does not divide the {each} answers{share} of a step; "
            f"choose a divisor of {each}"
        )
    steps = data.steps(batch, settings.epochs)
    return Plan(
        steps=min(steps, settings.max_steps or steps),
        batch=batch,
        questions=batch // generations,
        micro=micro,
        accumulation=each // micro,
        processes=processes,
        seed=settings.seed,
    )
