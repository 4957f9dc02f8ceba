"""Run `ucbench evaluate` and be killed by SIGKILL after N answers reached the journal.

    python killed_evaluation.py N between|middle [evaluate arguments...]

`middle` dies in the middle of a write: half of the next answer's line is in the file.
"""

from __future__ import annotations

import os
import signal
import sys

from ucbench import cli, journal

LIMIT, MIDDLE = int(sys.argv[1]), sys.argv[2] == "middle"
real_write = os.write
written = 0


def write(handle: int, payload: bytes) -> int:
    """Pass whole lines on until the limit; then write the part that the kill leaves behind, and die."""
    global written
    if not payload.startswith(b'{"sample_id"'):
        return real_write(handle, payload)
    lines = payload.splitlines(keepends=True)
    room = LIMIT - written
    if len(lines) < room or (len(lines) == room and MIDDLE):
        written += len(lines)
        return real_write(handle, payload)
    part = b"".join(lines[:room])
    if MIDDLE:
        part += lines[room][: len(lines[room]) // 2]
    real_write(handle, part)
    os.fsync(handle)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed processes do not get here")


os.write = write  # type: ignore[assignment]
assert journal.os.write is write
sys.argv = ["ucbench", "evaluate", *sys.argv[3:]]
cli.main()
