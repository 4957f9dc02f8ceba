"""Run `ucbench judge train` and be killed by SIGKILL while the state of a given epoch is being written.

python killed_training.py EPOCH [judge train arguments...]
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import torch

from ucbench import cli

EPOCH = int(sys.argv[1])
real_save, written = torch.save, 0


def save(state: Any, path: Any) -> None:
    """Write half of the file, and die behind it."""
    global written
    written += 1
    real_save(state, path)
    if written == EPOCH:
        os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202
        os.kill(os.getpid(), signal.SIGKILL)


torch.save = save
sys.argv = ["ucbench", "judge", "train", *sys.argv[2:]]
cli.main()
