"""What is said of a running training: the log, the live line, the look at held-back pictures."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback

from ucbench.align.baselines.checkpoints import newest
from ucbench.align.baselines.plan import Plan
from ucbench.align.output import Output, TrainLog
from ucbench.align.probe import Probe
from ucbench.align.settings import Common

#: TRL's names -> ours.
_NAMES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "entropy": "entropy",
    "mean_token_accuracy": "token_accuracy",
    "rewards/accuracies": "preferred",
    "rewards/margins": "margin",
    "reward": "reward",
}
#: Names that `online` logs itself.
_OWN = re.compile(r"reward_(?!std$)\w+|length|accuracy\w*")


class Report(TrainerCallback):  # type: ignore[misc]
    """Writes a line a step, looks at held-back pictures, stops on numbers that are not finite."""

    def __init__(
        self,
        settings: Common,
        plan: Plan,
        items: int,
        out: Output,
        probe: Probe | None,
        progress: Callable[[int, int, dict[str, float]], None],
        step: int,
        degenerate: int,
    ) -> None:
        self._settings, self._plan, self._items, self._out = settings, plan, items, out
        self._probe, self._progress = probe, progress
        self._done, self._since = step, 0.0
        self.degenerate = degenerate
        self.log: TrainLog | None = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **more: Any) -> None:
        """Called after every update, and once more at the end, then without a loss."""
        if not logs or "loss" not in logs:
            return
        self._done = state.global_step
        self._check(logs)
        now = time.perf_counter()
        metrics = self._metrics(logs, now - self._since)
        model = more["model"]
        if self._probe and state.is_world_process_zero and self._due(self._settings.probe_every):
            model.eval()
            metrics |= self._probe()
            model.train()
        if self.log:
            answers = self._done * self._plan.batch
            epoch = round(answers / self._items, 4)
            self.log.append({"step": self._done, "epoch": epoch, "answers": answers, **metrics})
        self._progress(self._done, self._plan.steps, metrics)
        self._since = time.perf_counter()

    def _due(self, every: int) -> bool:
        return self._done % every == 0 or self._done == self._plan.steps

    def _metrics(self, logs: Mapping[str, Any], seconds: float) -> dict[str, float]:
        metrics = {ours: float(logs[name]) for name, ours in _NAMES.items() if logs.get(name) is not None}
        metrics |= {name: float(value) for name, value in logs.items() if _OWN.fullmatch(name)}
        if "kl" in logs:
            # TRL gives the mean over tokens; ours is nats an answer.
            metrics["kl"] = float(logs["kl"]) * float(logs["completions/mean_length"])
        if "degenerate" in logs:
            self.degenerate += int(logs["degenerate"] > 0)
            metrics["degenerate_batches"] = float(self.degenerate)
        if "length" in metrics:
            metrics["tokens_per_second"] = metrics["length"] * self._plan.batch / seconds
        metrics["seconds"] = seconds
        return metrics

    def _check(self, logs: Mapping[str, Any]) -> None:
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(float(logs.get(name) or 0.0))]
        if not bad:
            return
        from ucbench.align.loop import AlignmentStoppedError

        last = newest(self._out.checkpoints)
        where = f"the last good checkpoint is {last}" if last else "no checkpoint was written yet"
        raise AlignmentStoppedError(
            f"stopped at step {self._done}: the {bad[0].replace('grad_norm', 'gradient')} is not finite; "
            f"lower --lr; {where}"
        )
