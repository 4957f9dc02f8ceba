"""One evaluation in a child that is not trusted: no tokens, no network, limits on what it may take."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ucbench.errors import UcbenchError
from ucbench.files import write_text
from ucbench.hub.worker import launch, processes

#: What a child inherits of the environment: no name that could hold a secret.
_INHERITED = (
    "PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_NUM_THREADS",
    "MKL_NUM_THREADS", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MODULE_LOADING",
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF",
)  # fmt: skip

_MOST_PROCESSES = 1024
MOST_DISK = 4 << 30

#: In a home, and of the machine: a container's daemon runs what it is told to, with a network.
_SECRETS = (
    ".netrc", ".git-credentials", ".ssh", ".aws", ".azure", ".docker", ".kube", ".gnupg", ".npmrc", ".pypirc",
    ".config/gcloud", ".config/gh", ".config/git",
)  # fmt: skip
_DOORS = (
    "/run/docker.sock", "/run/containerd", "/run/podman", "/run/crio", "/run/dbus", "/run/user",
    "/run/secrets",
)  # fmt: skip

Ending = Literal["ended", "timeout", "memory", "disk", "processes", "stopped"]


class StopError(Exception):
    """What a callback raises to have the child stopped; it comes out of `run` again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` of time; bytes of main memory (see `processes.Use`) and of disk that a child may take."""

    seconds: float
    memory: int | None = None
    disk: int = MOST_DISK


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended; `code` is its exit status, 128 + N for a signal N. `peak` in bytes of memory."""

    ending: Ending
    code: int | None
    seconds: float
    peak: int


@dataclass(frozen=True, slots=True)
class Isolation:
    """What keeps a child in: see `launch`."""

    network: str = "none"
    processes: str = "none"
    files: str = "none"

    def __str__(self) -> str:
        """For the worker's log."""
        network = {
            launch.NAMESPACE: "no network (a namespace of its own)",
            launch.FILTER: "no network (system calls are filtered)",
            launch.PYTHON: "no network within Python only: the kernel permits neither namespaces nor filters",
        }[self.network]
        files = "files read-only" if self.files == "read-only" else "files as this user"
        return f"{network}, {files}, processes by {self.processes}"


@dataclass(frozen=True, slots=True)
class Workshop:
    """The folder of one evaluation. Its child may write to `work` in it and to nothing else."""

    folder: Path
    #: Ways of isolation that are not to be used.
    without: tuple[str, ...] = ()

    @property
    def work(self) -> Path:
        """The child's own folder."""
        return self.folder / "work"

    @property
    def out(self) -> Path:
        """Where the child leaves its run."""
        return self.work / "out"

    @property
    def log(self) -> Path:
        """What the child printed."""
        return self.folder / "log.txt"

    @property
    def ended(self) -> Path:
        """A note that is here once the evaluation has come to a good end."""
        return self.folder / "ended.json"

    @property
    def models(self) -> Path:
        """The cache of the Hub that the child sees: nothing but what was pinned."""
        return self.folder / "models"

    @property
    def note(self) -> Path:
        """Which process the child is, as long as it runs."""
        return self.folder / "child.json"

    def prepare(self) -> None:
        """Make the folders; what an earlier attempt left in `out` stays, so that it goes on from there."""
        self.models.mkdir(parents=True, exist_ok=True)
        for name in ("home", "tmp", "cwd"):
            remove(self.work / name)
            (self.work / name).mkdir(parents=True)
        if self.out.is_symlink():
            self.out.unlink()
        self.out.mkdir(exist_ok=True)

    def environment(self) -> dict[str, str]:
        """The child's whole environment."""
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        work = self.work.resolve()
        return kept | {
            "HOME": str(work / "home"),
            "XDG_CACHE_HOME": str(work / "home" / ".cache"),
            "TMPDIR": str(work / "tmp"),
            "HF_HOME": str(work / "home" / "huggingface"),
            "HF_HUB_CACHE": str(self.models.resolve()),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "200",
        }


def remove(folder: Path) -> None:
    """Remove a folder that a child has written, whatever rights it gave its files; no link is followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    if not folder.is_dir():
        return
    for place, names, _ in os.walk(folder):
        for name in (".", *names):
            inner = Path(place, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(folder)


def run(
    command: Sequence[str],
    shop: Workshop,
    limits: Limits,
    *,
    watch: Callable[[], object] = lambda: None,
    extra: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a command in `shop` and wait until it and everything it started is gone.

    `watch` is called several times a second; when it raises, the child is stopped and the exception comes
    out here. Raises `UcbenchError` when the child cannot be started at all.
    """
    shop.prepare()
    begin = time.monotonic()
    process, _ = start(command, shop, limits, extra=extra)
    write_text(shop.note, json.dumps({"pid": process.pid, "started": processes.started(process.pid)}))
    ending: Ending = "ended"
    peak = looked = 0
    try:
        while process.poll() is None:
            watch()
            looked += 1
            used = processes.use(process.pid)
            peak = max(peak, used.memory)
            seconds = time.monotonic() - begin
            if seconds > limits.seconds:
                ending = "timeout"
            elif limits.memory is not None and used.memory > limits.memory:
                ending = "memory"
            elif used.processes > _MOST_PROCESSES:
                ending = "processes"
            elif looked % 4 == 0 and size_of(shop) > limits.disk:
                ending = "disk"
            if ending != "ended":
                break
            time.sleep(min(0.25, 0.05 + seconds / 20))
    finally:
        stop(process)
        shop.note.unlink(missing_ok=True)
    code = process.returncode if ending == "ended" else None
    return Outcome(ending, code, time.monotonic() - begin, peak)


def start(
    command: Sequence[str], shop: Workshop, limits: Limits, *, extra: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], Isolation]:
    """Start a command under the launcher; returns when it is known what keeps it in.

    Raises `UcbenchError` when it cannot be started.
    """
    reader, writer = os.pipe()
    work = shop.work.resolve()
    spec = {
        "command": list(command),
        "cwd": str(work / "cwd"),
        "work": str(work),
        "hidden": _credentials(),
        "file_size": limits.disk,
        "shared_memory": limits.memory or (16 << 30),
        "block": str(Path(launch.__file__).with_name("block")),
        "without": list(shop.without),
        "parent": os.getpid(),
    }
    with shop.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", launch.__file__, str(writer), json.dumps(spec)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=shop.environment() | dict(extra or {}),
            pass_fds=[writer],
            start_new_session=True,
        )
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        told = stream.read()
    if not told:
        stop(process)
        raise UcbenchError(f"a child process cannot be started here; {shop.log} says why")
    return process, Isolation(**json.loads(told))


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a child with everything below it."""
    if process.poll() is None:
        processes.kill(process.pid)
    process.wait()


def clean_up(shop: Workshop) -> None:
    """End what a worker that was killed left running in `shop`."""
    try:
        told = json.loads(shop.note.read_text(encoding="utf-8"))
        pid, since = int(told["pid"]), str(told["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if processes.started(pid) == since:
        processes.kill(pid)
    shop.note.unlink(missing_ok=True)


def isolation(shop: Workshop) -> Isolation:
    """Start a child that tries to reach this process over the network, and see what keeps it in.

    Raises `UcbenchError` when nothing does.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        shop.prepare()
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        process, found = start([sys.executable, "-c", program], shop, Limits(60))
        process.wait()
        if process.returncode == 0:
            raise UcbenchError(
                "a child process of this worker can reach the network, whatever is done; run it on Linux, in "
                "a container that permits user namespaces or seccomp"
            )
    shop.log.unlink(missing_ok=True)
    return found


def size_of(shop: Workshop) -> int:
    """Bytes on disk of what the child wrote, at least a block for each file, and of its log."""
    total = shop.log.stat().st_size
    for folder, _, files in os.walk(shop.work):
        for name in files:
            try:
                total += max(4096, os.lstat(os.path.join(folder, name)).st_blocks * 512)  # noqa: PTH118
            except OSError:
                continue
    return total


def _credentials() -> list[str]:
    """Files and folders with credentials of this user, and doors to services that would do more for it."""
    from huggingface_hub import constants

    return [
        constants.HF_TOKEN_PATH,
        constants.HF_STORED_TOKENS_PATH,
        *(str(Path.home() / name) for name in _SECRETS),
        *_DOORS,
    ]
