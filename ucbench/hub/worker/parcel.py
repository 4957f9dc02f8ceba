"""A run as lines of text, so that it can come home by way of a log.

    python -m ucbench.hub.worker.parcel OUT

A rented machine has no token, and needs none: what it prints is all that leaves it. A parcel is not trusted,
it is unpacked within limits, and then received like anything else that an evaluation left.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ucbench import runs
from ucbench.errors import StoreError

_MARK = "ucbench-run"
_WIDTH = 3000
_LINE = re.compile(rf"{_MARK} (\d+)/(\d+) ([A-Za-z0-9+/=]+)\s*")
_END = re.compile(rf"{_MARK} end ([0-9a-f]{{64}})\s*")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,250}/[0-9a-f]{16}")
_FILES = (runs.RECORD, runs.ANSWERS)
#: Bytes of a parcel as it is, and unpacked.
_PACKED, _UNPACKED = 128 << 20, 256 << 20


class ParcelError(ValueError):
    """Lines that hold no whole parcel."""


def pack(out: Path) -> Iterator[str]:
    """The lines of the one finished run below `out`. Raises `StoreError` when there is none, or several."""
    found = list(runs.find(out))
    if len(found) != 1:
        raise StoreError(f"{out} holds {len(found)} finished runs, and one is expected")
    folder = found[0].folder
    contents = {name: (folder / name).read_bytes() for name in _FILES}
    header = {
        "run": f"{folder.parent.name}/{folder.name}",
        "sizes": {name: len(content) for name, content in contents.items()},
    }
    whole = json.dumps(header).encode() + b"\n" + b"".join(contents.values())
    text = base64.b64encode(zlib.compress(whole, 9)).decode()
    parts = [text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH)]
    for number, part in enumerate(parts, start=1):
        yield f"{_MARK} {number}/{len(parts)} {part}"
    yield f"{_MARK} end {hashlib.sha256(text.encode()).hexdigest()}"


def is_line(text: str) -> bool:
    """Whether a line of a log belongs to a parcel."""
    return text.startswith(f"{_MARK} ")


def unpack(lines: Iterable[str], out: Path) -> Path:
    """Write the run that is in these lines, in any order, to a folder below `out`. Raises `ParcelError`."""
    parts: dict[int, str] = {}
    total, digest, size = 0, "", 0
    for line in lines:
        if match := _LINE.fullmatch(line):
            size += len(match[3])
            if size > _PACKED:
                raise ParcelError("the parcel is too large")
            parts[int(match[1])], total = match[3], int(match[2])
        elif match := _END.fullmatch(line):
            digest = match[1]
    text = "".join(parts.get(number, "") for number in range(1, total + 1)) if total <= len(parts) else ""
    if not text or hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ParcelError(f"{len(parts)} of {total} lines of the run have come")
    try:
        unpacker = zlib.decompressobj()
        whole = unpacker.decompress(base64.b64decode(text, validate=True), _UNPACKED)
        head, _, rest = whole.partition(b"\n")
        header = json.loads(head)
        name, sizes = header["run"], {name: int(header["sizes"][name]) for name in _FILES}
    except (binascii.Error, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ParcelError("the parcel is damaged") from error
    fits = unpacker.eof and min(sizes.values()) >= 0 and sum(sizes.values()) == len(rest)
    if not fits or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ParcelError("the parcel is damaged")
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in _FILES:
        (folder / file).write_bytes(rest[: sizes[file]])
        rest = rest[sizes[file] :]
    return folder


if __name__ == "__main__":
    for line in pack(Path(sys.argv[1])):
        print(line, flush=True)
