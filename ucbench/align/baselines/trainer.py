"""What the four TRL trainers share: arguments, order, schedule, log, checkpoints."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.utils import logging as transformers_logging

from ucbench.align import lora
from ucbench.align.baselines import checkpoints
from ucbench.align.baselines.plan import Plan
from ucbench.align.baselines.report import Report
from ucbench.align.checkpoint import identity_of
from ucbench.align.data import TrainingSet
from ucbench.align.output import Output, TrainLog, is_disk_trouble, reason, save_adapter
from ucbench.align.probe import Probe
from ucbench.align.reward import Reward
from ucbench.align.schedule import rate
from ucbench.align.settings import Common
from ucbench.align.trained import Trained
from ucbench.errors import StoreError
from ucbench.models.registry import Base

#: Makes a trainer from the arguments and callbacks that all methods share.
Maker = Callable[[dict[str, Any], list[TrainerCallback]], Trainer]


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
                checkpoints.finish(folder, {"step": self.state.global_step, **self.kept()})
        except Exception as error:
            if not (is_disk_trouble(error) or isinstance(error, StoreError)):
                raise
            raise StoreError(
                f"cannot write a checkpoint to {self.args.output_dir}: {reason(error)}; the one before is "
                "kept, make room and start the same command with --resume"
            ) from error

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
    identity = identity_of(base, data, settings)
    last = checkpoints.newest(out.checkpoints) if resume else None
    step, degenerate = 0, 0
    if last:
        state = checkpoints.read(last, identity)
        step, degenerate = int(state["step"]), int(state["degenerate"])
        if reward:
            reward.normaliser.restore(state["normaliser"])
    try:
        out.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot write {out.checkpoints}: {error.strerror}; choose another folder with --out"
        ) from error
    probe = Probe(base, data.probe, settings.max_new_tokens) if settings.probe_every else None
    report = Report(settings, plan, len(data.items), out, probe, progress, step, degenerate)
    trainer: Any = make(arguments(base, settings, plan, out), [report])
    trainer.remove_callback(PrinterCallback)
    trainer.settings = settings
    trainer.kept = lambda: {
        "degenerate": report.degenerate,
        "normaliser": reward.normaliser.state() if reward else {},
        "identity": identity,
    }
    if trainer.is_world_process_zero():
        checkpoints.clear(out.checkpoints)
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
