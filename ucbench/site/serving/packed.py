"""Streamlit's own scripts and rules, packed: a first visit loads some two megabytes of them.

Streamlit sends them as they are. Each is packed once, when it is first asked for, and kept.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PLACE = re.compile(r"/static/(?P<kind>js|css)/(?P<name>[^/]+)$")
_NEVER = re.compile(r"q=0(\.0*)?")
#: Bytes.
_SMALL = 256
_TYPES = {"js": "text/javascript", "css": "text/css"}
#: Their names change with what is in them.
_KEPT = "public, immutable, max-age=31536000"


def _folder(kind: str) -> Traversable:
    return files("streamlit").joinpath("static", "static", kind)


@cache
def names(kind: str) -> frozenset[str]:
    """What there is to pack of a kind: the smallest would only grow."""
    return frozenset(
        name
        for name in (file.name for file in _folder(kind).iterdir())
        if name.endswith(f".{kind}") and len(_folder(kind).joinpath(name).read_bytes()) > _SMALL
    )


@dataclass(frozen=True, slots=True)
class Pack:
    """A packed file and the tag that names this form of it."""

    content: bytes
    tag: str


@cache
def pack(kind: str, name: str) -> Pack:
    """A file of those `names` as gzip."""
    content = gzip.compress(_folder(kind).joinpath(name).read_bytes(), mtime=0)
    return Pack(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def accepted(header: str) -> bool:
    """Whether an Accept-Encoding takes gzip: what is said of it by name counts before what is of all."""
    said = {}
    for told in header.lower().split(","):
        name, _, weight = told.partition(";")
        said[name.strip()] = _NEVER.fullmatch(weight.replace(" ", "")) is None
    return said.get("gzip", said.get("*", False))


class Packed:
    """Sends those files packed to who takes them so; whatever else is asked goes on to Streamlit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let whoever comes next do it."""
        from starlette.concurrency import run_in_threadpool
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import Response

        read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        found = _PLACE.match(scope["path"]) if read else None
        if found is None or found["name"] not in names(found["kind"]):
            await self._app(scope, receive, send)
            return

        async def either_way(message: Message) -> None:
            # A cache between must not give the one form to who asked for the other.
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Accept-Encoding")
            await send(message)

        asked = Headers(scope=scope)
        if not accepted(asked.get("accept-encoding", "")):
            await self._app(scope, receive, either_way)
            return
        packed = await run_in_threadpool(pack, found["kind"], found["name"])
        known = [tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")]
        headers = {"Content-Encoding": "gzip", "Cache-Control": _KEPT, "ETag": packed.tag}
        if packed.tag in known:
            response = Response(status_code=304, headers=headers)
        else:
            response = Response(packed.content, media_type=_TYPES[found["kind"]], headers=headers)
        await response(scope, receive, either_way)
