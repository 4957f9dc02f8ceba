"""The card of a results store: what is in it, how to load it, what the columns mean."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from ucbench import board as boards
from ucbench.format import absent, fraction, interval, model_name, rank
from ucbench.hub.cards.markdown import block, escaped, front_matter, parted, table
from ucbench.hub.store import HUB
from ucbench.metrics.keys import KEYS
from ucbench.restricted import is_restricted
from ucbench.tracks.suites import SUITES

if TYPE_CHECKING:
    from ucbench.board import Board

_HERE = Path(__file__).parent
#: Our part of the card stands between these; what others write around it stays.
BEGIN, END = "<!-- ucbench: begin -->", "<!-- ucbench: end -->"
#: Rows of each track that the card shows.
LEADING = 10
_SHOWN = ("balanced_accuracy", "image_alignment", "text_alignment", "over_refusal")
_KINDS = {"t": "text", "f": "number", "i": "whole number", "w": "time"}

_LOAD = """from datasets import load_dataset

board = load_dataset({source!r}, "board", split="train").to_pandas()
print(board[["model", "track", "provenance", "balanced_accuracy", "rank_low", "rank_high"]])
"""
_LOAD_RUN = """import pandas as pd

run = board[board["provenance"] != "reported"].iloc[0]
folder = f"{root}{{run['entry']}}/{{run['run_id'].partition('@')[0]}}"
answers = pd.read_parquet(f"{{folder}}/answers.parquet")
verdicts = pd.read_parquet(f"{{folder}}/judgements/{{run['judge']}}.parquet")
read = answers.merge(verdicts, on=["sample_id", "question_id"])
print(read[["sample_id", "question_id", "text", "label"]].head().to_string())
"""


def render(address: str, board: Board, existing: str = "") -> str:
    """The text of README.md, made new within `existing`: what others wrote into it is kept.

    A card whose head cannot be read is left as it is.
    """
    found = parted(existing)
    if found is None:
        return existing
    head, body = found
    ours = f"{BEGIN}\n{_body(address, board)}\n{END}"
    before, begun, rest = body.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if begun and ended:
        body = before + ours + after
    elif body.strip():
        body = f"{body.rstrip()}\n\n{ours}\n"
    else:
        body = f"\n{ours}\n"
    return front_matter({**_head(), **head, "configs": _head()["configs"]}) + body


def tasks() -> str:
    """The text of `eval.yaml`: a task a suite, its rows those of the board."""
    told = {
        "name": "ucbench",
        "description": "Whether vision-language models recognise unsafe concepts as image and as text.",
        "tasks": [{"id": suite.tracks[0], "config": "board", "split": "train"} for suite in SUITES],
    }
    return yaml.safe_dump(told, sort_keys=False, width=1000)


def _head() -> dict[str, Any]:
    return {
        "pretty_name": "ucbench results",
        "language": ["en"],
        "tags": [
            "ucbench",
            "safety",
            "evaluation",
            "leaderboard",
            "vision-language",
            "not-for-all-audiences",
        ],
        "configs": [
            {"config_name": "board", "data_files": boards.BOARD, "default": True},
            {"config_name": "breakdowns", "data_files": boards.BREAKDOWNS},
            {"config_name": "ranks", "data_files": boards.RANKS},
        ],
    }


def _body(address: str, board: Board) -> str:
    on_hub = address.startswith(HUB)
    # A path of somebody's machine is nobody else's business.
    named = address if on_hub else "."
    runs, models = len(board.manifest["runs"]), board.rows["model"].nunique()
    columns = _columns()
    scores = [[f"`{key}`", escaped(about.definition, 500)] for key, about in KEYS.items()]
    return Template((_HERE / "dataset.md").read_text(encoding="utf-8")).substitute(
        n_runs=_counted(runs, "run"),
        n_models=_counted(models, "model"),
        as_of=board.manifest["as_of"] or "today",
        address=named,
        load=block(_LOAD.format(source=address.removeprefix(HUB) if on_hub else "."), "python"),
        load_run=block(_LOAD_RUN.format(root=f"{address}/" if on_hub else ""), "python"),
        leading=_leading(board),
        board_columns=_described(columns["board"], boards.IDENTITY_TYPES),
        scores=table(["score", "meaning"], scores),
        rank_columns=_described(columns["ranks"], boards.RANK_TYPES),
        breakdown_columns=_described(columns["breakdowns"], boards.BREAKDOWN_TYPES),
        answer_columns=_described(columns["answers"]),
        judgement_columns=_described(columns["judgements"]),
    ).strip()  # fmt: skip


@cache
def _columns() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load((_HERE / "columns.yaml").read_text(encoding="utf-8"))
    return found


def _described(columns: dict[str, str], types: dict[str, str] | None = None) -> str:
    head = ["column", "type", "meaning"] if types else ["column", "meaning"]
    return table(
        head,
        [
            [f"`{name}`", *([_KINDS[types[name]]] if types else []), meaning]
            for name, meaning in columns.items()
        ],
    )


def _leading(board: Board) -> str:
    parts: list[str] = []
    told: Any = board.rows.to_dict("records")
    own: list[dict[str, Any]] = [row for row in told if not is_restricted(row["run_id"])]
    for track in sorted({row["track"] for row in own}):
        rows = [row for row in own if row["track"] == track]
        head = ["rank", "model", "provenance", *(KEYS[key].title.lower() for key in _SHOWN)]
        shown = [
            [
                rank(row["rank_low"], row["rank_high"]),
                escaped(model_name(row["model"], row["adapter"])),
                escaped(row["provenance"]),
                *(_figure(row, key) for key in _SHOWN),
            ]
            for row in rows[:LEADING]
        ]
        more = f"\n\n... and {len(rows) - LEADING:,} more." if len(rows) > LEADING else ""
        parts.append(f"**{escaped(track)}**\n\n{table(head, shown)}{more}")
    return "\n\n".join(parts) or "There is no row yet."


def _figure(row: dict[str, Any], key: str) -> str:
    if absent(row[key]):
        return fraction(row[key])
    ends = interval(row[f"{key}_low"], row[f"{key}_high"])
    return f"{fraction(row[key])} [{ends}]" if ends else fraction(row[key])


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
