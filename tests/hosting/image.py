"""Does what each line of a Dockerfile says, without a Docker engine, and fails where the image would.

    with Image(dockerfile, context, folder, base=...) as image:
        image.build()
        process = image.start({"NAME": "value"})

The file system of the image is an overlay over this machine's: system folders are seen, everything else that
lies at the top is hidden, what the lines write lands in `folder`. Needs root (for the mounts and chroot); the
lines themselves run as the user that the Dockerfile names, with no environment but what it sets. Build
arguments of pip (PIP_INDEX_URL and the like) are handed to RUN, as `docker build --build-arg` would.

What it cannot tell: layers, the base image's own packages (the system's are seen instead), the network's
isolation. A folder that WORKDIR makes belongs to root, as with the older of Docker's two builders.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

#: The top folders of the machine that a base image has too.
SYSTEM = (
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc", "run",
    "sbin", "srv", "sys", "tmp", "usr", "var",
)  # fmt: skip
INSTRUCTIONS = ("FROM", "RUN", "USER", "ENV", "WORKDIR", "ARG", "COPY", "EXPOSE", "HEALTHCHECK", "CMD")
BUILD_ARGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_FIND_LINKS", "PIP_CERT")


class ImageError(Exception):
    """The image would not build, or not start."""


def lines(text: str) -> list[tuple[str, str]]:
    """The instructions and their arguments, in order; continued lines are joined, comments dropped."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\s*\n", " ", "\n".join(kept))
    found = []
    for line in joined.splitlines():
        if not line.strip():
            continue
        word, _, rest = line.strip().partition(" ")
        if word.upper() not in INSTRUCTIONS:
            raise ImageError(f"no such instruction here: {word}")
        found.append(
            (word.upper(), re.sub(r"\s+", " ", rest.strip()) if word.upper() != "RUN" else rest.strip())
        )
    return found


def ignored(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore keeps a path out: it, or a folder that it lies in, fits a pattern."""
    parts = path.split("/")
    heads = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    return any(fnmatch.fnmatchcase(head, pattern) for head in heads for pattern in patterns)


def context_of(clone: Path, into: Path) -> Path:
    """What `docker build` is sent of a fresh clone: the files that git tracks, less .dockerignore's."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=clone, capture_output=True, check=True)
    told = clone / ".dockerignore"
    patterns = [line.strip().rstrip("/") for line in told.read_text().splitlines() if line.strip()]
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (clone / name).is_file() and not ignored(name, patterns):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(clone / name, into / name)
    return into


def pip_settings() -> dict[str, str]:
    """Where pip of this machine gets packages from, as build arguments."""
    told = {}
    for name in BUILD_ARGS:
        option = name.removeprefix("PIP_").lower().replace("_", "-")
        asked = [sys.executable, "-m", "pip", "config", "get", f"global.{option}"]
        done = subprocess.run(asked, capture_output=True, text=True)
        value = os.environ.get(name) or (done.stdout.strip() if done.returncode == 0 else "")
        if value:
            told[name] = " ".join(value.split())
    return told


@dataclass
class Image:
    """An image that is built line by line in `folder`, which must be empty."""

    dockerfile: Path
    context: Path
    folder: Path
    say: bool = False
    user: str = "root"
    workdir: str = "/"
    env: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if os.geteuid() != 0:
            raise ImageError("mounts need root")
        if any(self.folder.iterdir()):
            raise ImageError(f"{self.folder} is not empty")
        for name in ("upper", "work", "merged"):
            (self.folder / name).mkdir()

    def build(self) -> None:
        """All lines, in order. Raises `ImageError` at the first that fails."""
        for word, rest in lines(self.dockerfile.read_text()):
            if self.say:
                print(f"{word} {rest}", file=sys.stderr, flush=True)
            getattr(self, f"_{word.lower()}")(rest)

    def start(self, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        """What the container runs; ends with its process group."""
        if not self.command:
            raise ImageError("no CMD")
        with log.open("wb") as stream:
            return subprocess.Popen(
                self._inside(f"exec {shlex.join(self.command)}", environment), stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip

    def is_healthy(self) -> bool:
        """What HEALTHCHECK finds."""
        return subprocess.run(self._inside(shlex.join(self.health)), capture_output=True).returncode == 0

    def run(
        self, command: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A shell command inside, as the user of the last line."""
        return subprocess.run(self._inside(command, environment), capture_output=True, text=True)

    # The instructions

    def _from(self, rest: str) -> None:
        wanted = re.fullmatch(r"python:(\d+\.\d+)(-slim.*)?", rest)
        if wanted is None:
            raise ImageError(f"no stand-in for the base image {rest}")
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        if wanted.group(1) != here:
            raise ImageError(f"{rest} wants Python {wanted.group(1)}, this is {here}")
        upper = self.folder / "upper"
        (upper / "etc").mkdir()
        (upper / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (upper / "etc" / "group").write_text("root:x:0:\n")
        (upper / "etc" / "shadow").write_text("root:*:19000:0:99999:7:::\n")
        (upper / "home").mkdir()
        # The interpreter where the base image has it, without what was installed beside it.
        local = upper / "usr" / "local"
        shutil.copytree(
            sys.base_prefix, local, symlinks=True, dirs_exist_ok=True,
            ignore=lambda place, names: [
                name for name in names
                if name in ("__pycache__", "test")
                or (Path(place).name == "site-packages" and not name.startswith("pip"))
            ],
        )  # fmt: skip
        for name in ("python", "python3"):
            link = local / "bin" / name
            link.unlink(missing_ok=True)
            link.symlink_to(f"python{here}")
        self._as_root("ldconfig")  # the interpreter's library, now that it lies elsewhere
        self.env["PATH"] = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

    def _run(self, rest: str) -> None:
        done = self.run(rest, {**pip_settings(), **self.arguments})
        if done.returncode:
            raise ImageError(
                f"RUN {rest}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )

    def _user(self, rest: str) -> None:
        if self.run(f"id -u {rest}").returncode:
            raise ImageError(f"USER {rest}: no such user")
        self.user = rest

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, sign, value = pair.partition("=")
            if not sign:
                raise ImageError(f"ENV {rest}: write NAME=value")
            self.env[name] = value

    def _workdir(self, rest: str) -> None:
        self.workdir = rest
        self._as_root(f"mkdir -p {shlex.quote(rest)}")

    def _arg(self, rest: str) -> None:
        name, sign, value = rest.partition("=")
        if sign:
            self.arguments[name] = value

    def _copy(self, rest: str) -> None:
        words = shlex.split(rest)
        owner = "root"
        while words[0].startswith("--"):
            option, _, value = words.pop(0).partition("=")
            if option != "--chown":
                raise ImageError(f"COPY {option}: not known here")
            owner = value
        *sources, target = words
        inside = target if target.startswith("/") else f"{self.workdir}/{target}"
        for source in sources:
            found = self.context / source
            if not found.exists():
                raise ImageError(f"COPY {source}: not in what is sent to the builder")
            # The content of a folder, a file by its name; ownership of folders that are there stays.
            what = f"{found}/." if found.is_dir() else str(found)
            self._as_root(f"COPY {source}", copy=(what, inside, owner))

    def _expose(self, rest: str) -> None:
        self.ports.append(int(rest))

    def _healthcheck(self, rest: str) -> None:
        self.health = json.loads(rest[rest.index("CMD") + 3 :])

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    # The file system

    def _mounts(self) -> str:
        f = shlex.quote(str(self.folder))
        merged = f"{f}/merged"
        hidden = [
            p.name for p in Path("/").iterdir() if p.is_dir() and not p.is_symlink() and p.name not in SYSTEM
        ]
        script = [
            "set -e",
            'PATH="$PATH:/usr/sbin:/sbin"',  # where chroot is, and not every user looks
            f"mount -t overlay overlay -o lowerdir=/,upperdir={f}/upper,workdir={f}/work {merged}",
            f"mkdir -p {merged}/home",
            *(f"mount -t tmpfs tmpfs {merged}/{name}" for name in hidden if name != "home"),
            f"mount -t tmpfs tmpfs {merged}/tmp",
            f"chmod 1777 {merged}/tmp",
            f"mount --rbind /proc {merged}/proc",
            f"mount --rbind /dev {merged}/dev",
        ]
        return "\n".join(script)

    def _inside(self, command: str, environment: dict[str, str] | None = None) -> list[str]:
        told = {"HOME": "/root", **self.env, **(environment or {})}
        pairs = " ".join(shlex.quote(f"{name}={value}") for name, value in told.items())
        inner = f"cd {shlex.quote(self.workdir)} && exec /bin/sh -c {shlex.quote(command)}"
        script = (
            f"{self._mounts()}\nexec chroot --userspec={shlex.quote(self.user)} "
            f"{shlex.quote(str(self.folder / 'merged'))} /usr/bin/env -i {pairs} "
            f"/bin/sh -c {shlex.quote(inner)}"
        )
        return ["unshare", "--mount", "/bin/sh", "-c", script]

    def _as_root(self, command: str, copy: tuple[str, str, str] | None = None) -> None:
        merged = self.folder / "merged"
        if copy is None:
            inner = f"chroot {shlex.quote(str(merged))} /bin/sh -c {shlex.quote(command)}"
        else:
            what, inside, owner = copy
            place = shlex.quote(str(merged) + inside)
            source = Path(what.removesuffix("/."))
            inner = (
                f"chroot {shlex.quote(str(merged))} mkdir -p {shlex.quote(inside)}\n"
                f"uid=$(chroot {shlex.quote(str(merged))} id -u {owner})\n"
                f"gid=$(chroot {shlex.quote(str(merged))} id -g {owner})\n"
            )
            where, names = (source, ".") if source.is_dir() else (source.parent, source.name)
            inner += (
                f"cd {shlex.quote(str(where))} && find {shlex.quote(names)} -type f -print0 | "
                f"tar --null --no-recursion -T - --owner=$uid --group=$gid --numeric-owner -cf - | "
                f"tar -C {place} --no-same-permissions --same-owner -xf -\n"
                # Folders that the copy made belong to the new owner, those that were there stay as they are.
                f"cd {shlex.quote(str(where))} && find {shlex.quote(names)} -mindepth 1 -type d -print0 | "
                f"(cd {place} && xargs -0 -r chown $uid:$gid)"
            )
        done = subprocess.run(
            ["unshare", "--mount", "/bin/sh", "-c", f"{self._mounts()}\n{inner}"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ImageError(f"{command}: {done.stderr[-2000:]}")

    def memory(self, process: subprocess.Popen[bytes]) -> int:
        """Bytes of memory that the container's processes hold now, shared pages counted once a process."""
        total = 0
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if os.getsid(int(folder.name)) == process.pid:
                    rollup = (folder / "smaps_rollup").read_text()
                    total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M).group(1)) * 1024  # type: ignore[union-attr]
            except (OSError, AttributeError):
                continue
        return total
