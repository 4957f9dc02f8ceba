"""What a fitting goes on from: the state after its last whole epoch, in a folder beside the one to come.

    OUT.unfinished/epoch-0003/
      model.safetensors     the weights after that epoch, best.safetensors those of the best one before
      learner.pt            optimiser, schedule, generators
      state.json            what fitting this is, epochs so far, the best of them

An epoch's folder is written beside, synced and renamed, then the one before is removed. Resumed on the same
kind of device, a fitting ends with the weights of an undisturbed one; on a CPU to the bit.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ucbench import files
from ucbench.errors import StoreError

if TYPE_CHECKING:
    import torch

    from ucbench.judges.fit import Fitter

_NAME = re.compile(r"epoch-(\d{4,})")
Weights = dict[str, "torch.Tensor"]


@dataclass(slots=True)
class Progress:
    """How far a fitting is. `score` is that of the best epoch: macro F1 on dev, minus the loss there."""

    curve: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    score: tuple[float, float] = (-1.0, 0.0)

    def ended(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are run, or as many without a better one as patience allows."""
        done = len(self.curve)
        return done >= epochs or (done > 0 and done - self.best_epoch >= patience)


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of an unfinished fitting; see the module's docstring."""

    folder: Path

    def kept(self) -> list[Path]:
        """The states that are there, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out; a folder without a state in it is gone afterwards.

        Raises `StoreError` when there is another one, or the folder cannot be written.
        """
        busy = f"another process is training in {self.folder}; wait for it to end, or choose another --out"
        advice = "make the folder writable or choose another --out"
        with files.alone(self.folder, busy, advice, folder=True):
            try:
                yield
            finally:
                if self.folder.is_dir() and not any(self.folder.iterdir()):
                    self.folder.rmdir()

    def save(
        self,
        model: torch.nn.Module,
        best: Weights,
        fitter: Fitter,
        order: Random,
        progress: Progress,
        identity: Mapping[str, Any],
    ) -> None:
        """Write the state after an epoch, and remove those before. Raises `StoreError`."""
        import torch
        from safetensors.torch import save_file

        from ucbench.align.output import staged

        done = len(progress.curve)
        before = self.kept()
        with staged(self.folder / f"epoch-{done:04d}") as stage:
            save_file(weights(model), stage / "model.safetensors")
            if progress.best_epoch != done:
                save_file(best, stage / "best.safetensors")
            generators = {
                "order": order.getstate(),
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            }
            torch.save({**fitter.state(), "generators": generators}, stage / "learner.pt")
            state = {"identity": dict(identity), **asdict(progress)}
            (stage / "state.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        for old in before:
            shutil.rmtree(old, ignore_errors=True)

    def restore(
        self, model: torch.nn.Module, fitter: Fitter, order: Random, identity: Mapping[str, Any]
    ) -> tuple[Progress, Weights]:
        """Put everything into the last state; returns how far it is, and the best epoch's weights.

        Raises `StoreError` for a state of another fitting, or a damaged one.
        """
        import torch
        from safetensors.torch import load_file

        path = self.kept()[-1]
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            self._compare(path, state["identity"], json.loads(json.dumps(identity)))
            progress = Progress(state["curve"], int(state["best_epoch"]), tuple(state["score"]))
            model.load_state_dict(load_file(path / "model.safetensors"))
            later = progress.best_epoch != len(progress.curve)
            best = load_file(path / "best.safetensors") if later else weights(model)
            # The optimiser takes its moments to where the weights are.
            learner = torch.load(path / "learner.pt", map_location="cpu", weights_only=True)
            fitter.restore(learner)
            generators = learner["generators"]
            order.setstate(generators["order"])
            torch.set_rng_state(generators["torch"])
            if torch.cuda.is_available() and len(generators["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(generators["cuda"])
        except StoreError:
            raise
        except Exception as error:  # Anything can be wrong with damaged files.
            raise StoreError(f"{path} is damaged; remove {self.folder} and start again") from error
        return progress, best

    def _compare(self, path: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for key in wanted:
            if kept.get(key) != wanted[key]:
                raise StoreError(
                    f"{path} is of a training with {key} {kept.get(key)}, not {wanted[key]}; give the same "
                    f"again, remove {self.folder}, or choose another --out"
                )


def weights(model: torch.nn.Module) -> Weights:
    """A copy of the weights, on the CPU."""
    return {key: value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}
