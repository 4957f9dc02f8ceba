"""Streamlit's own scripts and rules, packed: a first visit loads some two megabytes of them.

Streamlit sends them as they are. Each is packed once, when it is first asked for, and kept.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_PLACE = re.compile(r"/static/(?P<kind>js|css)/(?P<name>[^/]+)$")
_TYPES = {"js": "text/javascript", "css": "text/css"}
#: Their names change with what is in them.
_KEPT = "public, immutable, max-age=31536000"


def _folder(kind: str) -> Traversable:
    return files("streamlit").joinpath("static", "static", kind)


@cache
def names(kind: str) -> frozenset[str]:
    """What there is to pack of a kind."""
    return frozenset(file.name for file in _folder(kind).iterdir() if file.name.endswith(f".{kind}"))


@cache
def pack(kind: str, name: str) -> bytes:
    """A file of those `names` as gzip."""
    return gzip.compress(_folder(kind).joinpath(name).read_bytes(), mtime=0)


def accepted(header: str) -> bool:
    """Whether an Accept-Encoding asks for gzip."""
    for told in header.lower().split(","):
        name, _, weight = told.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class Packed:
    """Sends those files packed to who takes them so; whatever else is asked goes on to Streamlit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let whoever comes next do it."""
        from starlette.concurrency import run_in_threadpool
        from starlette.datastructures import Headers
        from starlette.responses import Response

        found = _PLACE.match(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if (
            found is None
            or found["name"] not in names(found["kind"])
            or not accepted(Headers(scope=scope).get("accept-encoding", ""))
        ):
            await self._app(scope, receive, send)
            return
        response = Response(
            await run_in_threadpool(pack, found["kind"], found["name"]),
            media_type=_TYPES[found["kind"]],
            headers={"Content-Encoding": "gzip", "Vary": "Accept-Encoding", "Cache-Control": _KEPT},
        )
        await response(scope, receive, send)
