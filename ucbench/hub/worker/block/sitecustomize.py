"""Takes network sockets away from a Python process, where the kernel has nothing better to offer."""

from __future__ import annotations

import socket
import sys
from typing import Any

_LOCAL = {getattr(socket, name) for name in ("AF_UNIX",) if hasattr(socket, name)}


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.__new__" and arguments[1] not in _LOCAL:
        raise PermissionError("an evaluation has no network")
    if event in ("socket.connect", "socket.sendto", "socket.bind") and arguments[0].family not in _LOCAL:
        raise PermissionError("an evaluation has no network")
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise PermissionError("an evaluation has no network")


# An audit hook cannot be taken away again.
sys.addaudithook(_refuse)
