"""Writes the same folders as another process at the same time: `racing.py split|assemble SOURCE OUT ROUNDS`.

Waits for a line on its input before each round, and prints what came of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ucbench.compile.assemble import assemble
from ucbench.compile.split import write_split
from ucbench.errors import StoreError

what, source, out, rounds = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
for number in range(rounds):
    sys.stdin.readline()
    try:
        if what == "split":
            write_split(source, out / str(number))
        else:
            assemble(source, out / str(number), min_votes=2, seed=len(source.name))
        print("written", flush=True)
    except StoreError as error:
        print(f"refused: {error}", flush=True)
