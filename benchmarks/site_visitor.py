"""A visitor without a browser: speaks Streamlit's protocol over a real websocket and draws nothing.

It sends what the page in a browser sends (`ClientState`), keeps the hashes of cacheable messages as a browser
does, so that they are not sent twice, and reads all that comes until the script has ended.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

#: Element types of a table: ours is HTML in the custom element, the bare one a data frame.
_TABLES = ("bidi_component", "dataframe", "arrow_data_frame", "table")


@dataclass
class Answer:
    """What a run of a page gave: seconds from asking to the first table and to the end, bytes, problems."""

    seconds: float = 0.0
    table: float | None = None
    size: int = 0
    problems: list[str] = field(default_factory=list)
    #: Bytes by type of element.
    sizes: dict[str, int] = field(default_factory=dict)


class Visitor:
    """One session: `async with await Visitor(host).enter() as visitor: await visitor.ask("concepts")`."""

    def __init__(self, host: str, patience: float = 60) -> None:
        self._host, self._patience = host, patience
        self._socket: Any = None
        self._kept: set[str] = set()

    async def enter(self) -> Visitor:
        """Connect. Raises `OSError` when nobody listens."""
        self._socket = await websockets.connect(
            f"ws://{self._host}/_stcore/stream", max_size=None, open_timeout=self._patience, compression=None,
            subprotocols=["streamlit"],  # type: ignore[list-item]
        )  # fmt: skip
        return self

    async def leave(self) -> None:
        await self._socket.close()

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def ask(self, page: str = "", query: str = "") -> Answer:
        """Run a page, new or again in the same session."""
        told = BackMsg()
        state = told.rerun_script
        state.page_name, state.query_string = page, query
        state.context_info.url = f"http://{self._host}/{page}{f'?{query}' if query else ''}"
        state.context_info.timezone, state.context_info.locale = "UTC", "en-GB"
        state.cached_message_hashes.extend(self._kept)
        answer, start = Answer(), time.perf_counter()
        await self._socket.send(told.SerializeToString())
        try:
            async with asyncio.timeout(self._patience):
                while not self._read(await self._socket.recv(), answer, start):
                    pass
        except (TimeoutError, websockets.ConnectionClosed) as error:
            answer.problems.append(f"{page or 'leaderboard'}?{query}: {type(error).__name__}")
        answer.seconds = time.perf_counter() - start
        return answer

    def _read(self, content: bytes, answer: Answer, start: float) -> bool:
        """Take a message in; True when it is the last one of a run."""
        message = ForwardMsg.FromString(content)
        answer.size += len(content)
        kind = message.WhichOneof("type")
        if message.metadata.cacheable and message.hash:
            self._kept.add(message.hash)
        if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            kind = element.WhichOneof("type")
            if answer.table is None and kind in _TABLES and (kind != _TABLES[0] or b"<table" in content):
                answer.table = time.perf_counter() - start
            if kind == "exception":
                answer.problems.append(element.exception.message)
            elif kind == "alert" and "error of ours" in element.alert.body:
                answer.problems.append(element.alert.body)
        answer.sizes[kind or ""] = answer.sizes.get(kind or "", 0) + len(content)
        if kind == "page_not_found":
            answer.problems.append("page not found")
        # A page that leads to another one ends early, and that one follows.
        return kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN
