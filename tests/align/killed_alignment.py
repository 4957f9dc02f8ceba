"""Run `ucbench align` and be killed by SIGKILL at a given step.

python killed_alignment.py STEP between|middle [align arguments...]

`middle` dies while the checkpoint of that step is being written, `between` right after it was.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from ucbench import cli
from ucbench.align import checkpoint

STEP, MIDDLE = int(sys.argv[1]), sys.argv[2] == "middle"
real_save, real_adapter = checkpoint.save, checkpoint.save_adapter
writing = 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def save(folder: Path, policy: Any, optimiser: Any, state: checkpoint.State, accelerator: Any) -> Path:
    """Write the checkpoint, and die behind it."""
    global writing
    writing = state.step
    path = real_save(folder, policy, optimiser, state, accelerator)
    if state.step == STEP and not MIDDLE:
        die()
    return path


def save_adapter(model: Any, folder: Path) -> None:
    """Write the first files of the checkpoint, and die before the others."""
    real_adapter(model, folder)
    if writing == STEP and MIDDLE:
        die()


checkpoint.save, checkpoint.save_adapter = save, save_adapter
sys.argv = ["ucbench", "align", *sys.argv[3:]]
cli.main()
