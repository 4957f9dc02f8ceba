"""What the processes under one process use, and their end. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class Use:
    """`memory` are bytes that cannot be reclaimed: anonymous and shared pages.

    Files mapped into memory, as weights are, do not count: the kernel drops them when it needs the room. A
    page that two processes share counts twice.
    """

    processes: int
    memory: int


def memory_of_machine() -> int:
    """Bytes of main memory that this process and all others of its container may take together."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):  # of control groups, new and old
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int((_CGROUP / limit).read_text()))
    return total


def tree(root: int) -> list[int]:
    """The process `root` and all that descend from it, without those that have ended."""
    children: dict[int, list[int]] = {}
    for name in os.listdir(_PROC):  # noqa: PTH208
        if name.isdigit() and (fields := _stat(int(name))) and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(name))
    found, level = [], [root] if _stat(root) else []
    while level:
        found += level
        level = [child for process in level for child in children.get(process, [])]
    return found


def use(root: int) -> Use:
    """What `root` and its descendants use now."""
    found = tree(root)
    return Use(len(found), sum(_memory(process) for process in found))


def started(process: int) -> str | None:
    """When a process began, by the kernel's clock: with its number, this names it for good."""
    fields = _stat(process)
    return fields[19] if fields else None


def kill(root: int, *, patience: float = 10.0) -> None:
    """End a launcher (see `launch`) with everything below it.

    It is asked first, since it knows best how; then all are killed that are left.
    """
    below = tree(root)
    _send(root, signal.SIGTERM)
    # A process that was stopped cannot be asked.
    _send(root, signal.SIGCONT)
    deadline = time.monotonic() + patience
    while any(_alive(process) for process in below):
        if time.monotonic() > deadline:
            for process in {*below, *tree(root)}:
                _send(process, signal.SIGKILL)
            deadline = time.monotonic() + patience
        time.sleep(0.02)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory and environment."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _alive(process: int) -> bool:
    fields = _stat(process)
    return fields is not None and fields[0] != "Z"


def _stat(process: int) -> list[str] | None:
    """The fields of /proc/N/stat behind the name: state, parent, ..."""
    try:
        text = (_PROC / str(process) / "stat").read_bytes()
    except OSError:
        return None
    return text.rpartition(b")")[2].decode().split()


def _memory(process: int) -> int:
    try:
        text = (_PROC / str(process) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    kilobytes = (fields.get(name, "0").split() for name in ("RssAnon", "RssShmem", "VmSwap"))
    return 1024 * sum(int(words[0]) for words in kilobytes if words)
