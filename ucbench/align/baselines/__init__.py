"""SFT, DPO, GRPO and RLOO through TRL: the methods that PPO is measured against.

All train the adapter that PPO trains, on the same items in the same order, with the same schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ucbench.align.baselines.plan import plan
from ucbench.align.data import TrainingSet
from ucbench.align.output import Output
from ucbench.align.reward import Reward
from ucbench.align.settings import DPOSettings, GRPOSettings, RLOOSettings, SFTSettings
from ucbench.align.trained import Trained
from ucbench.errors import UcbenchError

if TYPE_CHECKING:
    from ucbench.models.registry import Base

__all__ = ["train"]

#: Called after every step with (steps done, all steps, metrics).
Progress = Callable[[int, int, dict[str, float]], None]


def train(
    base: Base,
    data: TrainingSet,
    settings: SFTSettings | DPOSettings | GRPOSettings | RLOOSettings,
    *,
    out: Output,
    reward: Reward | None = None,
    resume: bool = False,
    progress: Progress = lambda _step, _steps, _metrics: None,
) -> Trained:
    """Align a model; the base's own modules carry the adapter afterwards.

    `reward` is what GRPO and RLOO maximise; SFT and DPO need none. With `resume` it goes on from the last
    whole checkpoint in `out`, if there is one. Writes checkpoints and `train.jsonl`, nothing else. Python's,
    NumPy's and torch's global generators are seeded. Raises `UcbenchError` for settings that do not fit
    together, `AlignmentStoppedError` when a number stops being finite, `StoreError` for a full disk.
    """
    planned = plan(settings, data)

    from ucbench.align.baselines import offline, online
    from ucbench.align.baselines.trainer import quiet, run

    with quiet():
        if isinstance(settings, SFTSettings | DPOSettings):
            make = offline.maker(base, data, settings, planned)
        elif reward is None:
            raise UcbenchError(f"{settings.method} needs a reward; give one with --judge")
        else:
            make = online.maker(base, data, settings, planned, reward)
        return run(
            make, base, data, settings, planned, out=out, reward=reward, resume=resume, progress=progress
        )
