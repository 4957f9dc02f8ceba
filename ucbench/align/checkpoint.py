"""Checkpoints to go on from: written beside, synced, renamed; the last two are kept.

    checkpoints/step-000040/
      adapter_config.json, adapter_model.safetensors   the policy as PEFT writes it; can be evaluated
      learner.safetensors                              all that learns: adapters and value head
      optimiser.pt                                     AdamW's moments
      align.json                                       base and training data, for whoever evaluates it
      state.json                                       step, base, settings, data, normaliser, focus
      random.pt                                        generators of python, numpy and torch, by process

The order of the data and the sampling noise are functions of seed and step, so the step is their state.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.align.output import save_adapter, staged
from ucbench.align.record import RECORD
from ucbench.errors import StoreError, UcbenchError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ucbench.align.data import TrainingSet
    from ucbench.align.policy import Policy
    from ucbench.align.settings import Common
    from ucbench.models.registry import Base

KEPT = 2
_NAME = re.compile(r"step-(\d{6,})")
#: Settings that may differ when a run goes on: they change no number that is learned.
FREE = ("micro_batch_size", "checkpoint_every", "probe_every", "gradient_checkpointing")


@dataclass(frozen=True, slots=True)
class State:
    """`step` steps are done. `identity` says what run this is: base, data, settings."""

    step: int
    answers: int
    seconds: float
    degenerate: int
    normaliser: dict[str, Any]
    focus: dict[str, Any]
    identity: dict[str, Any]


def found(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def save(folder: Path, policy: Policy, optimiser: Any, state: State, accelerator: Accelerator) -> Path:
    """Write a checkpoint; then drop those before the last two. Call it in every process.

    Raises `StoreError` in the main process; the checkpoints before stay as they are.
    """
    import torch
    from accelerate.utils import gather_object
    from safetensors.torch import save_file

    generators = gather_object([_generators()])
    path = folder / f"step-{state.step:06d}"
    if accelerator.is_main_process:
        with staged(path) as stage:
            save_adapter(policy.peft, stage)
            learner = {name: p.detach().cpu().contiguous() for name, p in policy.trainable().items()}
            save_file(learner, stage / "learner.safetensors")
            torch.save(optimiser.state_dict(), stage / "optimiser.pt")
            torch.save(generators, stage / "random.pt")
            text = json.dumps({field: getattr(state, field) for field in State.__slots__}, indent=1)
            (stage / "state.json").write_text(text + "\n", encoding="utf-8")
            (stage / RECORD).write_text(
                json.dumps(_reference(state.identity), indent=1) + "\n", encoding="utf-8"
            )
        for old in found(folder)[:-KEPT]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return path


def restore(path: Path, policy: Policy, optimiser: Any, identity: dict[str, Any], rank: int) -> State:
    """Put policy, optimiser and generators into a checkpoint's state.

    Raises `UcbenchError` when the checkpoint belongs to another model, other data or other settings,
    `StoreError` when it is damaged.
    """
    import torch
    from safetensors.torch import load_file

    try:
        state = State(**json.loads((path / "state.json").read_text(encoding="utf-8")))
        compare(path, state.identity, identity)
        learner = load_file(path / "learner.safetensors")
        moments = torch.load(path / "optimiser.pt", map_location=policy.device, weights_only=True)
        generators = torch.load(path / "random.pt", weights_only=True)
        named = policy.trainable()
        if learner.keys() != named.keys():
            raise ValueError("its parameters are others")
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(learner[name])
        optimiser.load_state_dict(moments)
        # More processes than before: those without a state of their own keep their fresh one.
        if rank < len(generators):
            _set_generators(generators[rank])
    except UcbenchError:
        raise
    except Exception as error:  # Anything can be wrong with damaged files.
        raise StoreError(
            f"the checkpoint {path} is damaged; remove it and start the same command again, which goes on "
            "from the one before, if there is one"
        ) from error
    return state


def _reference(identity: dict[str, Any]) -> dict[str, Any]:
    """What an evaluation of a checkpoint has to know: its base, and what it has seen."""
    return {"base": identity["base"], "trained_on": identity["data"]["trained_on"]}


def identity_of(base: Base, data: TrainingSet, settings: Common) -> dict[str, Any]:
    """What a checkpoint belongs to: base, data, settings."""
    return {
        "base": {"model": base.name, "revision": base.revision},
        "data": {
            "track": data.track_id,
            "version": data.track_version,
            "items": len(data.items),
            "trained_on": list(data.trained_on),
        },
        "settings": settings.model_dump(mode="json"),
    }


def compare(path: Path, kept: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise `UcbenchError` when a checkpoint belongs to another base, other data or other settings."""
    for part in ("base", "data"):
        if kept[part] != wanted[part]:
            raise UcbenchError(
                f"{path} is a checkpoint of {_words(kept[part])}, not of {_words(wanted[part])}; "
                "choose another folder with --out"
            )
    old, new = kept["settings"], wanted["settings"]
    changed = sorted(key for key in {*old, *new} if key not in FREE and old.get(key) != new.get(key))
    if changed:
        key = changed[0]
        raise UcbenchError(
            f"{path} was written with {key} {old.get(key)}, not {new.get(key)}; give the same settings to "
            "resume, or choose another folder with --out"
        )


def _words(part: dict[str, Any]) -> str:
    return " ".join(str(value) for value in part.values() if isinstance(value, str | int))


def _generators() -> dict[str, Any]:
    import numpy as np
    import torch

    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, [int(key) for key in keys], int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_generators(state: dict[str, Any]) -> None:
    import numpy as np
    import torch

    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
