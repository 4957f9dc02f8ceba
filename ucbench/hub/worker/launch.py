"""Starts a command that is not trusted, shut in, and takes down all that it leaves behind.

    python -I launch.py FD SPEC

A program of its own that needs the standard library alone. SPEC is a JSON object (see `main`); what is in
force is written to the file descriptor FD as JSON before the command begins. Its exit status is that of the
command, 128 + N when a signal N ended it. SIGTERM stops everything, and so does the death of its parent.

Where the kernel permits, the command lives in namespaces of its own: no network but a loopback that is down,
no sight of other processes, every file read-only but those of its work folder, credentials out of sight, no
capabilities. Elsewhere a system call filter takes sockets away, and where that is not to be had either, a
block within Python (which holds for Python programs that do not try to get around it).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from types import FrameType
from typing import Any, NoReturn

NAMESPACE, FILTER, PYTHON = "namespace", "filter", "python"

_libc = ctypes.CDLL(None, use_errno=True)

_NEWNS, _NEWIPC, _NEWUSER = 0x00020000, 0x08000000, 0x10000000
_NEWPID, _NEWNET, _NEWUTS = 0x20000000, 0x40000000, 0x04000000
_ALL = _NEWNS | _NEWIPC | _NEWPID | _NEWNET | _NEWUTS
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 22, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _RDONLY = 442, -100, 0x8000, 1

#: machine -> (audit architecture, numbers of socket, ptrace, process_vm_readv, process_vm_writev)
_CALLS = {
    "x86_64": (0xC000003E, 41, 101, 310, 311),
    "aarch64": (0xC00000B7, 198, 117, 270, 271),
}
_IO_URING_SETUP = 425
_AF_UNIX, _AF_NETLINK = 1, 16

#: Threads and processes within a namespace.
_MOST_PROCESSES = 8192


def _call(name: str, *arguments: Any) -> None:
    """A function of the C library. Raises `OSError`."""
    if getattr(_libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _prctl(option: int, value: int, more: Any = 0) -> None:
    _call("prctl", option, ctypes.c_ulong(value), more, 0, 0)


def _unshare() -> None:
    """Namespaces of its own. Raises `OSError` where the kernel does not permit them."""
    uid, gid = os.getuid(), os.getgid()
    try:
        _call("unshare", _ALL | _NEWUSER)
    except OSError:
        _call("unshare", _ALL)  # root within a container that has no user namespaces
        return
    # The same numbers inside as outside, so that files have the right owner.
    for path, text in (
        ("/proc/self/setgroups", "deny"),
        ("/proc/self/uid_map", f"{uid} {uid} 1"),
        ("/proc/self/gid_map", f"{gid} {gid} 1"),
    ):
        with open(path, "w") as stream:  # noqa: PTH123
            stream.write(text)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), None if data is None else data.encode())


def _mount_setattr(path: str, flags: int, *, on: int = 0, off: int = 0) -> None:
    attributes = struct.pack("QQQQ", on, off, 0, 0)
    _call("syscall", _SYS_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, attributes, len(attributes))


def _arrange_files(spec: dict[str, Any]) -> str:
    """Credentials out of sight, and everything read-only but the work folder, as far as permitted."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    for path in spec["hidden"]:
        if os.path.isdir(path):  # noqa: PTH112
            _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4k")
        elif os.path.exists(path):  # noqa: PTH110
            _mount("/dev/null", path, None, _MS_BIND)
    work = spec["work"]
    try:
        _mount(work, work, None, _MS_BIND | _MS_REC)
        _mount_setattr("/", _AT_RECURSIVE, on=_RDONLY)
        _mount_setattr(work, 0, off=_RDONLY)
    except OSError:  # a kernel older than 5.12
        return "open"
    if os.path.isdir("/dev/shm"):  # noqa: PTH112
        _mount("tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={spec['shared_memory']}")
    with contextlib.suppress(OSError):  # not within most containers
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    os.chdir(spec["cwd"])  # into the mount that can be written to
    return "read-only"


def _namespaces_work(spec: dict[str, Any]) -> bool:
    """Whether all of it works, tried by a process that then is gone: half of it would be worse than none."""
    process = os.fork()
    if process:
        return _status(os.waitpid(process, 0)[1]) == 0
    with contextlib.suppress(OSError):
        _unshare()
        first = os.fork()
        if first:
            os._exit(_status(os.waitpid(first, 0)[1]))
        _arrange_files(spec)
        os._exit(0)
    os._exit(1)


def _filter_calls() -> None:
    """Take sockets but local ones away, and the memory of other processes. Raises `OSError`."""
    if platform.machine() not in _CALLS:
        raise OSError(f"no filter for {platform.machine()}")
    architecture, socket, *memory = _CALLS[platform.machine()]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    allow, kill, denied, unknown = 0x7FFF0000, 0x80000000, 0x00050000 | 13, 0x00050000 | 38
    lines: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, kill),
        (load, 0, 0, 0), (at_least, 0, 1, 0x40000000), (give, 0, 0, unknown),
        (equal, 0, 1, _IO_URING_SETUP), (give, 0, 0, unknown),
    ]  # fmt: skip
    for number in memory:
        lines += [(equal, 0, 1, number), (give, 0, 0, denied)]
    lines += [
        (equal, 0, 4, socket), (load, 0, 0, 16), (equal, 2, 0, _AF_UNIX), (equal, 1, 0, _AF_NETLINK),
        (give, 0, 0, denied), (give, 0, 0, allow),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code)))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECCOMP, 2, program)


def _drop_rights() -> None:
    for capability in range(64):
        with contextlib.suppress(OSError):
            _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _limit(spec: dict[str, Any], *, processes: bool) -> None:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:  # noqa: PTH123
        stream.write("900")  # when memory runs out, this goes and not its parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (spec["file_size"], spec["file_size"]))
    if processes:  # counted for this namespace alone
        resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_PROCESSES, _MOST_PROCESSES))


def _descendants() -> list[int]:
    """Processes that this one started, by whatever way."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = open(f"/proc/{name}/stat", "rb").read()  # noqa: PTH123, SIM115
                parents[int(name)] = int(stat.rpartition(b")")[2].split()[1])
    found: list[int] = []
    level = {os.getpid()}
    while level:
        level = {process for process, parent in parents.items() if parent in level}
        found += level
    return found


def _kill_descendants() -> None:
    while left := _descendants():
        for sign in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, lest they multiply
            for process in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, sign)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _start(spec: dict[str, Any], environment: dict[str, str]) -> int:
    process = os.fork()
    if process:
        return process
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(spec["command"][0], spec["command"], environment)
    except OSError as error:
        print(f"cannot start {spec['command'][0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)


def _wait_for(process: int) -> int:
    """Reap whatever ends until that one does."""
    while True:
        ended, status = os.wait()
        if ended == process:
            return _status(status)


def _report(descriptor: int, found: dict[str, str]) -> None:
    os.write(descriptor, json.dumps(found).encode())
    os.close(descriptor)


def _in_namespaces(descriptor: int, spec: dict[str, Any]) -> NoReturn:
    """The rest of the work where `_unshare` succeeded: this process waits, its child is process 1."""
    first = os.fork()
    if first:
        os.close(descriptor)

        def stop(_number: int, _frame: FrameType | None) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)  # the kernel ends everything in its namespace with it

        signal.signal(signal.SIGTERM, stop)
        sys.exit(_wait_for(first))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    files = _arrange_files(spec)
    _limit(spec, processes=True)
    _drop_rights()
    _report(descriptor, {"network": NAMESPACE, "processes": NAMESPACE, "files": files})
    os._exit(_wait_for(_start(spec, dict(os.environ))))


def _in_the_open(descriptor: int, spec: dict[str, Any]) -> NoReturn:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    environment = dict(os.environ)
    network = FILTER
    try:
        if FILTER in spec["without"]:
            raise OSError("not to be used")
        _filter_calls()
    except OSError:
        network = PYTHON
        paths = [spec["block"], environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    _limit(spec, processes=False)

    def stop(_number: int, _frame: FrameType | None) -> None:
        _kill_descendants()
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    _report(descriptor, {"network": network, "processes": "group", "files": "open"})
    status = _wait_for(_start(spec, environment))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _kill_descendants()
    sys.exit(status)


def main(descriptor: int, spec: dict[str, Any]) -> NoReturn:
    """Start `spec["command"]` in `cwd`.

    Of the others: `work`, the one folder it may write to; `hidden`, paths it may not see; `file_size` and
    `shared_memory`, the most bytes of a file and of /dev/shm; `block`, a folder with the `sitecustomize.py`
    that takes sockets away in Python; `without`, ways that are not to be used; `parent`, who started this.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != spec["parent"]:  # died before it could be noticed
        sys.exit(1)
    os.chdir(spec["cwd"])
    if NAMESPACE in spec["without"] or not _namespaces_work(spec):
        _in_the_open(descriptor, spec)
    _unshare()
    _in_namespaces(descriptor, spec)


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
