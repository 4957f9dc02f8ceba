"""The board for programs: `/api/v1/board.json`, its schema, and what all such answers have in common.

The shape of version 1 stays: fields may be added, none is renamed, removed or given another meaning. A caller
who sends back the `ETag` gets 304 and no content while the board is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ucbench import board as boards
from ucbench.errors import StoreError
from ucbench.metrics.keys import KEYS, Better
from ucbench.record import Provenance, RunRecord
from ucbench.site.columns import Row
from ucbench.site.data.board import LoadedBoard, joined_runs
from ucbench.site.shared import known_tracks

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

#: Seconds for which an answer may be used again without asking: the site itself looks for news as often.
MAX_AGE = 60
_ANYBODY = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "ETag"}
_PREFLIGHT = {
    **_ANYBODY,
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "If-None-Match",
    "Access-Control-Max-Age": "86400",
}


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class ScoreKind(_Told):
    """What a score is."""

    title: str = Field(description="Its name for people.")
    definition: str
    better: Better = Field(description="Which way it gets better; `zero`: the nearer to zero the better.")


class RowScore(_Told):
    """A score of a row: a fraction in [0, 1], for gaps in [-1, 1], with its 95% interval."""

    value: float | None = Field(description="null when nothing was answered, or only a range was reported.")
    low: float | None
    high: float | None
    coverage: float | None = Field(description="Share of the questions asked that got a verdict.")
    n_items: int


class Rank(_Told):
    """The places that a row may have: it is better than none before `low`, worse than none after `high`."""

    low: int
    high: int
    among: int = Field(description="How many rows are ranked together.")


class BoardRow(_Told):
    """One model, as it was set up, on one suite of tracks."""

    run_id: str
    model: str
    entry: str = Field(description="Name of the model's folder in the results.")
    revision: str | None
    dtype: str | None
    adapter: str | None
    system_prompt: str | None
    temperature: float | None
    top_p: float | None
    max_new_tokens: int | None
    seed: int | None
    trained_on: str | None = Field(description="Items that it was aligned on; it is scored on others.")
    guard: str | None = Field(description="The format of a guard model, which gives verdicts, not answers.")
    template: str | None
    max_pixels: int | None
    family: str | None
    parameters: float | None = Field(description="In billions.")
    weights: str | None = Field(description="open, gated or closed.")
    track: str
    track_version: str
    split: str
    draw: int
    n_samples: int
    n_questions: int
    judge: str | None
    provenance: Provenance
    source: str | None
    status: str
    engine: str | None
    measured_at: datetime | None
    seconds: float | None
    code_version: str | None
    joined: dict[str, str] = Field(description="Track -> id of a run on it whose scores stand in this row.")
    rank: Rank | None
    unranked: str | None = Field(description="Why there is no rank.")
    scores: dict[str, RowScore] = Field(description="By key; those that the row's runs have.")


class Board(_Told):
    """The board of the site: every row, with every score and its interval."""

    version: Literal[1]
    digest: str = Field(description="Changes when anything of the board does.")
    as_of: datetime | None = Field(description="When the newest run was measured.")
    revision: str | None = Field(description="Which revision of the results store this is, if one is used.")
    note: str | None = Field(description="A sentence when runs had to be left out.")
    track: str | None = Field(description="The one track that was asked for.")
    tracks: list[str] = Field(description="What `?track=` takes.")
    rank_key: str = Field(description="The score by which rows are ranked.")
    scores: dict[str, ScoreKind]
    rows: list[BoardRow]


@dataclass(frozen=True, slots=True)
class Content:
    """What is answered, and the tag by which a caller says that it has it."""

    body: bytes
    media_type: str

    @property
    def etag(self) -> str:
        """Weak: the bytes on the way may be compressed."""
        return f'W/"{hashlib.sha256(self.body).hexdigest()[:32]}"'


_IDENTITY = [name for name in BoardRow.model_fields if name not in ("joined", "rank", "scores")]


def row(told: Row) -> dict[str, Any]:
    """A row of the board as `BoardRow` has it."""
    at = told["measured_at"]
    rank = None
    if told["rank_low"] is not None:
        rank = {end: told[column] for end, column in (
            ("low", "rank_low"), ("high", "rank_high"), ("among", "ranked_among"),
        )}  # fmt: skip
    return {
        **{name: told.get(name) for name in _IDENTITY},
        "measured_at": at.isoformat() if at is not None else None,
        "joined": joined_runs(told),
        "rank": rank,
        "scores": {key: score for key in KEYS if (score := _score(told, key))},
    }


def _score(told: Row, key: str) -> dict[str, Any] | None:
    parts = {part: told[f"{key}_{part}"] for part in ("low", "high", "coverage")}
    value = told[key]
    if value is None and all(part is None for part in parts.values()):
        return None
    return {"value": value, **parts, "n_items": told[f"{key}_n"] or 0}


def whole(board: LoadedBoard, track: str | None = None) -> Content:
    """The board, or one track of it, as JSON of the shape of `Board`."""
    return _whole(board, track, board.note, board.source.revision if board.source else "")


@lru_cache(maxsize=16)
def _whole(board: LoadedBoard, track: str | None, note: str, revision: str) -> Content:
    told = {
        "version": 1,
        "digest": board.digest,
        "as_of": board.manifest.get("as_of"),
        "revision": revision or None,
        "note": note or None,
        "track": track,
        "tracks": known_tracks(board),
        "rank_key": boards.RANK_KEY,
        "scores": {
            key: {"title": kind.title, "definition": kind.definition, "better": kind.better}
            for key, kind in KEYS.items()
        },
        "rows": [row(one) for one in (board.of_track(track) if track else board.rows)],
    }
    return _json(told)


def _json(told: Any) -> Content:
    text = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Content(text.encode("utf-8"), "application/json")


def of_board(make: Callable[[Request, LoadedBoard, str | None], Content]) -> Callable[[Request], Response]:
    """A route that answers with something made of the board, or of the one track in `?track=`.

    404 with a sentence where there is no board or no such track.
    """

    def route(request: Request) -> Response:
        from starlette.responses import JSONResponse

        from ucbench.site.data import loading

        if request.method == "OPTIONS":
            return _preflight()
        problem = ""
        try:
            board = loading.board()
            track = request.query_params.get("track") or None
            known = known_tracks(board)
            if track is None or track in known:
                return answer(request, make(request, board, track))
            problem = f"there is no track of that name; track takes one of {', '.join(known)}"
        except StoreError as error:
            problem = loading.told(error)
        headers = {**_ANYBODY, "Cache-Control": "no-store"}
        return JSONResponse({"error": problem}, status_code=404, headers=headers)

    return route


def answer(request: Request, content: Content) -> Response:
    """The content; 304 without it for a caller who has it."""
    from starlette.responses import Response

    tag = content.etag
    headers = {**_ANYBODY, "ETag": tag, "Cache-Control": f"public, max-age={MAX_AGE}"}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(content.body, media_type=content.media_type, headers=headers)


def _has(told: str, tag: str) -> bool:
    """Whether `If-None-Match` names this tag, weakly compared as RFC 9110 has it."""
    named = [one.strip().removeprefix("W/") for one in told.split(",")]
    return "*" in named or tag.removeprefix("W/") in named


def _preflight() -> Response:
    from starlette.responses import Response

    return Response(status_code=204, headers=_PREFLIGHT)


@lru_cache(maxsize=2)
def _schema(of: type[BaseModel], mode: Literal["validation", "serialization"]) -> Content:
    told = of.model_json_schema(mode=mode)
    if of is Board:
        told = {"$schema": "https://json-schema.org/draft/2020-12/schema", **told}
    return _json(told)


def _board_schema(request: Request) -> Response:
    if request.method == "OPTIONS":
        return _preflight()
    return answer(request, _schema(Board, "serialization"))


def _record_schema(request: Request) -> Response:
    return answer(request, _schema(RunRecord, "validation"))


@lru_cache(maxsize=4)
def _flat(board: LoadedBoard, track: str | None, note: str, revision: str) -> Content:
    """The board's rows as its table has them: a field a column, empty ones too."""
    from ucbench.site.data.loading import public_rows

    return _json(
        {
            "as_of": board.manifest.get("as_of"),
            "digest": board.digest,
            "note": note or None,
            "revision": revision or None,
            "rows": public_rows(board.of_track(track) if track else board.rows),
        }
    )


def routes() -> list[BaseRoute]:
    """The routes of the API. Plain functions: Starlette runs them off the event loop.

    `/api/board` gives the rows as the board's table has them, `/api/schema` the contract of `record.json`;
    both are older than version 1.
    """
    from starlette.routing import Route

    def versioned(_: Request, board: LoadedBoard, track: str | None) -> Content:
        return whole(board, track)

    def flat(_: Request, board: LoadedBoard, track: str | None) -> Content:
        return _flat(board, track, board.note, board.source.revision if board.source else "")

    methods = ["GET", "OPTIONS"]
    return [
        Route("/api/v1/board.json", of_board(versioned), methods=methods),
        Route("/api/v1/schema.json", _board_schema, methods=methods),
        Route("/api/board", of_board(flat)),
        Route("/api/schema", _record_schema),
    ]
