"""The record of a run as facts: what was run, how, on what, and from which code.

Pure functions of rows and records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ucbench.board import NO_RANKING
from ucbench.format import MISSING, absent, count, rank, seconds
from ucbench.provenance import REMOTE
from ucbench.record import RunRecord
from ucbench.site.columns import Row
from ucbench.site.data.run import Part
from ucbench.site.figures import tables
from ucbench.site.model import evidence
from ucbench.tracks.about import TEST_SPLIT, about

#: What each provenance says.
PROVENANCES = {
    "measured": "measured: answered and judged by this project's code",
    "self-reported": "self-reported: measured elsewhere, by whoever published it",
    "imported": "imported: answered elsewhere and saved, judged and scored here",
    "reported": "reported: a figure taken from a paper, not measured here",
}


def facts(row: Row, part: Part | None) -> list[tuple[str, Any]]:
    """What was run and how, as pairs; what is unknown stays out."""
    record = None if part is None else part.record
    reported = row["provenance"] == "reported"
    place = rank(row.get("rank_low"), row.get("rank_high"))
    unranked = None if row.get("unranked") == NO_RANKING else row.get("unranked")
    pairs_: list[tuple[str, Any]] = [
        ("Model", tables.name(row)),
        ("Rank", MISSING if place == MISSING else f"{place} of {count(row.get('ranked_among'))}"),
        ("Not ranked", unranked),
        ("Provenance", PROVENANCES.get(str(row["provenance"]), row["provenance"])),
        ("Source", row.get("source")),
        ("Track", f"{about(str(row['track'])).name}, version {row.get('track_version')}"),
        ("Split", TEST_SPLIT if tables.on_test_split(row) else row.get("split")),
    ]
    if not reported:
        pairs_ += [
            (
                "Asked",
                f"{count(row.get('n_questions'))} questions about {count(row.get('n_samples'))} images",
            ),
            ("Draw", row.get("draw") or None),
            ("Revision", row.get("revision")),
            ("Adapter", row.get("adapter")),
            ("Trained on", row.get("trained_on")),
            ("Number format", row.get("dtype")),
            ("Decoding", decoding(row)),
            ("System prompt", row.get("system_prompt")),
            ("Guard", guard(row)),
            ("Judge", row.get("judge")),
            ("How asked", None if absent(row.get("engine")) else evidence.way(str(row["engine"]))),
            ("Computing time", _seconds(row.get("seconds"))),
        ]
    if part is not None and record is not None and not reported:
        entry, engine, judge = record.entry, record.engine, record.judge
        pairs_ += [
            ("Chat template", entry.template),
            ("Attention", entry.attention),
            ("Pictures scaled to", entry.max_pixels and f"{count(entry.max_pixels)} pixels at most"),
            ("Judge's weights", judge and (judge.revision or judge.digest)),
            ("Batch", engine.batch_size and f"{count(engine.batch_size)} answers decoded together"),
            ("Processes", count(engine.processes) if engine.processes > 1 else None),
            ("Tokens", evidence.tokens(record.usage)),
            ("Cost", evidence.cost(record.usage)),
            ("Hardware", hardware(record.hardware)),
            ("Packages", ", ".join(f"{name} {version}" for name, version in record.packages.items())),
            ("Perception read by", evidence.read_by(part.counts.perception_read_by)),
            ("Ratings read by", evidence.read_by(part.counts.rated_by)),
            ("Code", code(record)),
            ("Begun", record.started_at and f"{record.started_at:%Y-%m-%d %H:%M} UTC"),
            ("Status", record.status),
            ("Record's schema", f"version {record.schema_version}"),
        ]
    return [*pairs_, ("Run", row["run_id"])]


def _seconds(value: Any) -> str:
    return "under 1 s" if not absent(value) and float(value) < 1 else seconds(value)


def decoding(row: Row) -> str:
    """How answers were drawn; nothing of answers that were given elsewhere."""
    if row["provenance"] == "imported" or absent(row.get("max_new_tokens")):
        return ""
    temperature = row.get("temperature")
    greedy = not absent(temperature) and float(temperature) == 0  # type: ignore[arg-type]
    sampled = f"temperature {temperature}, top-p {row.get('top_p')}, seed {row.get('seed')}"
    return f"{'greedy' if greedy else sampled}, at most {count(row.get('max_new_tokens'))} tokens"


def guard(row: Row) -> str:
    """What a guard is, with the format it was asked in."""
    if absent(row.get("guard")):
        return ""
    return (
        f"{row['guard']}: asked in its own format, its verdict on a picture stands for all safety questions "
        "about it"
    )


def code(record: RunRecord) -> str:
    """Version and commit of the code."""
    return f"{record.code_version} ({(record.code_revision or 'no revision')[:7]})"


def hardware(parts: Mapping[str, str]) -> str:
    """What the answers were computed on, in words; nothing of a service, which does not say."""
    if parts.get("device") == REMOTE:
        return ""
    units = {"cores": "cores", "threads": "threads", "gpus": "GPUs"}
    said = [
        f"{text} {units[key]}" if key in units else f"CUDA {text}" if key == "cuda" else text
        for key, text in parts.items()
        if not absent(text)
    ]
    return ", ".join(said)
