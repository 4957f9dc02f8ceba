"""Assembles slowly until it is killed: `killed_assembly.py FOLDER OUT`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ucbench.compile.assemble import assemble

assemble(Path(sys.argv[1]), Path(sys.argv[2]), min_votes=2, progress=lambda _done, _total: time.sleep(0.5))
