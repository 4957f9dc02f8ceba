"""What the four TRL trainers share: arguments, order, schedule, log, checkpoints."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from PIL.Image import Image
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.utils import logging as transformers_logging

from ucbench.align import lora
from ucbench.align.baselines.plan import Plan
from ucbench.align.data import TrainingSet
from ucbench.align.output import Output, TrainLog, save_adapter
from ucbench.align.probe import Probe
from ucbench.align.reward import Reward
from ucbench.align.schedule import rate
from ucbench.align.settings import Common
from ucbench.align.trained import Trained
from ucbench.errors import BadImageError, StoreError, UcbenchError
from ucbench.files import sync_folder, write_text
from ucbench.models.registry import Base
from ucbench.types import Sample

#: Makes a trainer from the arguments and callbacks that all methods share.
Maker = Callable[[dict[str, Any], list[TrainerCallback]], Trainer]
#: The last file of a checkpoint: its presence says that the checkpoint is whole.
STATE = "state.json"
_NAME = re.compile(r"checkpoint-(\d+)")
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


def arguments(base: Base, settings: Common, plan: Plan, out: Output) -> dict[str, Any]:
    """The arguments of every TRL configuration."""
    model = base.loaded.model
    on_cpu = model.device.type == "cpu"
    return {
        "output_dir": str(out.checkpoints),
        "per_device_train_batch_size": plan.micro,
        "gradient_accumulation_steps": plan.accumulation,
        "max_steps": plan.steps,
        "learning_rate": settings.lr,
        "max_grad_norm": settings.grad_clip,
        "weight_decay": settings.weight_decay,
        "optim": "adamw_torch",
        "seed": settings.seed % 2**31,  # numpy's global generator takes no more
        "data_seed": settings.seed % 2**31,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "dataloader_pin_memory": not on_cpu,
        "bf16": not on_cpu and model.dtype == torch.bfloat16,
        "fp16": False,
        "use_cpu": on_cpu,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "ddp_find_unused_parameters": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }


def places(plan: Plan) -> datasets.Dataset:
    """What TRL iterates over: the places of the order. The collators turn them into pictures and words.

    The empty column says that there are pictures.
    """
    n = plan.steps * plan.questions
    return datasets.Dataset.from_dict({"place": range(n), "image": [None] * n})


class Images:
    """Opened pictures, kept in memory as long as they are few. Raises `UcbenchError` for a broken one."""

    #: Bytes of pixels.
    LIMIT = 512 << 20

    def __init__(self) -> None:
        self._kept: dict[str, Image] = {}
        self._bytes = 0

    def __call__(self, sample: Sample) -> Image:
        """The sample's picture."""
        image = self._kept.get(sample.id)
        if image is None:
            try:
                image = sample.image.load()
            except BadImageError as error:
                raise UcbenchError(
                    f"the picture of {sample.id} cannot be read ({error}); remove it from the training data"
                ) from error
            size = image.width * image.height * 3
            if self._bytes + size <= self.LIMIT:
                self._kept[sample.id], self._bytes = image, self._bytes + size
        return image


class Ours:
    """Mixed into a TRL trainer: our schedule, our checkpoints, nothing sent or written beside them."""

    settings: Common
    #: What goes into the checkpoint's last file, beside the step.
    kept: Callable[[], Mapping[str, Any]]

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        """Rates as in the PPO loop: the first step of the warm-up is not lost at rate zero."""
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: rate(step, num_training_steps, self.settings)
            )
        return self.lr_scheduler

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        try:
            Trainer._save_checkpoint(self, model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
                _finish(folder, {"step": self.state.global_step, **self.kept()})
        except Exception as error:
            if isinstance(error, OSError | StoreError) or "PytorchStreamWriter" in str(error):
                reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
                raise StoreError(
                    f"cannot write a checkpoint to {self.args.output_dir}: {reason}; the one before is kept, "
                    "make room and start the same command with --resume"
                ) from error
            raise

    def _save(self: Any, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        """The adapter alone; base and processor are where they were."""
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_adapter(self.accelerator.unwrap_model(self.model), folder)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None of TRL's; ours comes with numbers."""

    def _send_telemetry(self) -> None:
        """Nothing is sent."""


def _finish(folder: Path, state: Mapping[str, Any]) -> None:
    """Sync a checkpoint's files, then say that it is whole."""
    for path in sorted(folder.iterdir()):
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    sync_folder(folder)
    write_text(folder / STATE, json.dumps(state, indent=1) + "\n")


def newest(folder: Path) -> Path | None:
    """The last whole checkpoint of a run."""
    steps = {
        int(match[1]): path
        for path in folder.glob("checkpoint-*")
        if (match := _NAME.fullmatch(path.name)) and (path / STATE).is_file()
    }
    return steps[max(steps)] if steps else None


def run(
    make: Maker,
    base: Base,
    data: TrainingSet,
    settings: Common,
    plan: Plan,
    *,
    out: Output,
    reward: Reward | None,
    resume: bool,
    progress: Callable[[int, int, dict[str, float]], None],
) -> Trained:
    """Train to the end. Raises as `baselines.train` does."""
    from ucbench.align import checkpoint

    identity = _identity(base, data, settings)
    last = newest(out.checkpoints) if resume else None
    step, degenerate = 0, 0
    if last:
        try:
            state = json.loads((last / STATE).read_text(encoding="utf-8"))
            kept, step, degenerate = state["identity"], int(state["step"]), int(state["degenerate"])
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"the checkpoint {last} is damaged; remove it and start the same command again"
            ) from error
        checkpoint._compare(last, kept, identity)
        if reward:
            reward.normaliser.restore(state["normaliser"])

    try:
        out.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot write {out.checkpoints}: {error.strerror}; choose another folder with --out"
        ) from error
    probe = Probe(base, data.probe, settings.max_new_tokens) if settings.probe_every else None
    report = _Report(settings, plan, len(data.items), out, probe, progress, step, degenerate)
    trainer: Any = make(arguments(base, settings, plan, out), [report])
    trainer.remove_callback(PrinterCallback)
    trainer.settings = settings
    trainer.kept = lambda: {
        "degenerate": report.degenerate,
        "normaliser": reward.normaliser.state() if reward else {},
        "identity": identity,
    }
    if trainer.is_world_process_zero():
        # A run that was killed while it wrote one leaves a part of it behind.
        for path in out.checkpoints.glob("checkpoint-*"):
            if path.is_dir() and not (path / STATE).is_file():
                shutil.rmtree(path)
        report.log = TrainLog(out.log, keep_steps=step)
    trainer.accelerator.wait_for_everyone()
    n_trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    try:
        if step < plan.steps:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        elif last:
            trainer._load_from_checkpoint(str(last))
    finally:
        if report.log:
            report.log.close()
    return Trained(_released(trainer, base), plan.steps, plan.steps * plan.batch, n_trainable)


def _identity(base: Base, data: TrainingSet, settings: Common) -> dict[str, Any]:
    """What a checkpoint belongs to, as PPO's say it."""
    return {
        "base": {"model": base.name, "revision": base.revision},
        "data": {"track": data.track_id, "version": data.track_version, "items": len(data.items)},
        "settings": settings.model_dump(mode="json"),
    }


def _released(trainer: Any, base: Base) -> Any:
    """The PEFT model without what TRL and accelerate put around it for training."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    model.get_base_model().__dict__.pop("forward", None)
    if trainer.args.gradient_checkpointing:
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()
    # PEFT puts the path that the base was loaded from in the place of its name.
    model.peft_config["default"].base_model_name_or_path = lora.base_of(base)
    return model.eval()


class _Report(TrainerCallback):  # type: ignore[misc]
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


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' bars, notes and warnings out of the command line's output."""
    names = ("trl", "accelerate", "datasets", "peft", "torch")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    verbosity = transformers_logging.get_verbosity()
    with warnings.catch_warnings(action="ignore"):
        transformers_logging.set_verbosity_error()
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
