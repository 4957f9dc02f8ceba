"""The folder of a training run.

OUT/
  adapter_config.json, adapter_model.safetensors    the adapter, as PEFT writes it
  align.json                                        what it is and how it was made
  train.jsonl                                       all metrics, a line a step
  README.md                                         the model card
  checkpoints/                                      to go on from; the last good ones
  merged/                                           the whole model, on request
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.align.record import RECORD, AlignRecord
from ucbench.align.settings import Settings
from ucbench.errors import StoreError
from ucbench.files import sync_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Output:
    """Paths and writing of one run's folder."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.folder / "checkpoints"

    @property
    def log(self) -> Path:
        """Metrics by step."""
        return self.folder / "train.jsonl"

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.folder / RECORD).exists()

    @property
    def begun(self) -> bool:
        """Whether there is anything that a new run would overwrite."""
        return self.finished or self.log.exists() or self.checkpoints.exists()

    @property
    def kept(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.checkpoints.is_dir() and any(self.checkpoints.iterdir())

    @property
    def foreign(self) -> bool:
        """Whether the folder holds anything that can be seen."""
        return self.folder.is_dir() and any(not path.name.startswith(".") for path in self.folder.iterdir())

    def write_adapter(self, model: Any) -> None:
        """Write the adapter of a PEFT model; file after file whole, `align.json` comes later."""
        with staged(self.folder / ".adapter") as stage:
            save_adapter(model, stage)
        for name in ADAPTER_FILES:
            (self.folder / ".adapter" / name).replace(self.folder / name)
        shutil.rmtree(self.folder / ".adapter")
        sync_folder(self.folder)

    def write_merged(self, model: Any, processor: Any, record: AlignRecord) -> None:
        """Write the whole model, the adapter added to its weights, with its processor and record.

        The PEFT model is of no use afterwards.
        """
        with staged(self.folder / "merged") as stage:
            model.merge_and_unload().save_pretrained(stage)
            processor.save_pretrained(stage)
            (stage / RECORD).write_text(record.to_json(), encoding="utf-8")

    def write_record(self, record: AlignRecord) -> None:
        """The last file of a run: its presence says that the run is finished."""
        write_text(self.folder / RECORD, record.to_json())


def default_folder(model: str, settings: Settings) -> Path:
    """`aligned/tiny-vlm-ppo-seed0`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", re.split(r"[/:]", model.rstrip("/"))[-1]).strip("-.") or "model"
    return Path("aligned") / f"{name}-{settings.method}-seed{settings.seed}".lower()


def save_adapter(model: Any, folder: Path) -> None:
    """PEFT's own format, safetensors, the policy's adapter alone."""
    # The embedding layers are never targets, and looking for that would ask the Hub.
    model.save_pretrained(
        folder, safe_serialization=True, save_embedding_layers=False, selected_adapters=["default"]
    )
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's template; ours comes with numbers


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`; when the block ends well it is synced and takes that name.

    Whatever lay at `target` is replaced only then. Raises `StoreError` when it cannot be written.
    """
    # Always the same name, so that what a killed process left is cleared by the next one.
    stage = target.with_name(f".{target.name.lstrip('.')}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir()
        yield stage
        for path in sorted(stage.rglob("*")):
            if path.is_file():
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())
        sync_folder(stage)
        if target.exists():
            shutil.rmtree(target)
        stage.rename(target)
        sync_folder(target.parent)
    except Exception as error:
        if is_disk_trouble(error):
            raise StoreError(
                f"cannot write {target}: {reason(error)}; what was written before is kept, make room or "
                "choose another folder with --out"
            ) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def is_disk_trouble(error: Exception) -> bool:
    """Whether a library's error means that a file could not be written."""
    from safetensors import SafetensorError

    # torch.save reports a failed write as a RuntimeError of its zip writer.
    return isinstance(error, OSError | SafetensorError) or "PytorchStreamWriter" in str(error)


def reason(error: Exception) -> str:
    """What the system said, on one line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:200]


class TrainLog:
    """`train.jsonl`: one JSON object a step, synced line by line; numbers that are not finite are null."""

    def __init__(self, path: Path, *, keep_steps: int = 0) -> None:
        """Opens the log and keeps its lines of the first `keep_steps` steps only."""
        self._path = path
        kept = [row for row in read_log(path) if int(row["step"]) <= keep_steps] if keep_steps else []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {error.strerror}; choose another folder with --out"
            ) from error
        write_text(path, "".join(_line(row) for row in kept))
        try:
            self._stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one step's metrics. Raises `StoreError`, e.g. on a full disk."""
        try:
            self._stream.write(_line(row))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror}; the last checkpoint is kept, make room and "
                "start the same command with --resume"
            ) from error

    def close(self) -> None:
        """Close the file."""
        try:
            self._stream.close()
        except OSError:  # what could not be written was reported by append
            return


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps({key: _finite(value) for key, value in row.items()}) + "\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a `train.jsonl`; none when there is no file. Raises `StoreError`."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path}: it is damaged; remove it") from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            rows.append({**row, "step": int(row["step"])})
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):
                break  # an interrupted write
            raise StoreError(f"{path} is damaged at line {number}; remove that line") from error
    return rows
