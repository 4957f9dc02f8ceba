"""One run in a dialog: what was run, how, every score, and its record to download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from ucbench.errors import UcbenchError
from ucbench.format import MISSING, absent, count, fraction, interval, rank, seconds
from ucbench.metrics.keys import KEYS
from ucbench.record import RunRecord
from ucbench.site import loading, tables
from ucbench.site.columns import Row
from ucbench.site.component import figure


@st.dialog("Details of a run", width="medium")
def show(row: Row) -> None:
    """Open the dialog."""
    run = loading.stores().run(str(row["entry"]), str(row["run_id"]))
    record: RunRecord | None = None
    if run is not None:
        try:
            record = run.record()
        except UcbenchError as error:
            st.warning(str(error), icon=":material/broken_image:")
    figure(tables.facts(facts(row, record)), key="details_facts")
    st.subheader("Scores", anchor=False)
    figure(score_list(row), key="details_scores")
    if record is not None:
        st.download_button(
            "Download record.json", record.to_json(), f"{row['run_id']}.json", "application/json",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip


def facts(row: Row, record: RunRecord | None) -> list[tuple[str, Any]]:
    """What was run and how, as pairs; what is unknown stays out."""
    reported = row["provenance"] == "reported"
    place = rank(row.get("rank_low"), row.get("rank_high"))
    pairs: list[tuple[str, Any]] = [
        ("Model", tables.name(row)),
        ("Rank", MISSING if place == MISSING else f"{place} of {count(row.get('ranked_among'))}"),
        ("Not ranked", row.get("unranked")),
        ("Provenance", row["provenance"]),
        ("Source", row.get("source")),
        ("Track", f"{row['track']}, version {row.get('track_version')}"),
    ]
    if not reported:
        temperature = row.get("temperature")
        greedy = not absent(temperature) and float(temperature) == 0  # type: ignore[arg-type]
        sampled = f"temperature {temperature}, top-p {row.get('top_p')}, seed {row.get('seed')}"
        drawn = "greedy" if greedy else sampled
        pairs += [
            (
                "Asked",
                f"{count(row.get('n_questions'))} questions about {count(row.get('n_samples'))} images",
            ),
            ("Revision", row.get("revision")),
            ("Adapter", row.get("adapter")),
            ("Number format", row.get("dtype")),
            ("Decoding", f"{drawn}, at most {count(row.get('max_new_tokens'))} tokens"),
            ("System prompt", row.get("system_prompt")),
            ("Guard", row.get("guard")),
            ("Trained on", row.get("trained_on")),
            ("Judge", row.get("judge")),
            ("Engine", row.get("engine")),
            ("Computing time", seconds(row.get("seconds"))),
        ]
    if record is not None and record.entry.guard:
        pairs += [("Verdicts", count(record.counts.verdicts)), ("Notes", "; ".join(record.engine.notes))]
    if record is not None and not reported:
        counts = record.counts
        errors = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in counts.errors.items())
        pairs += [
            ("Hardware", hardware(record.hardware)),
            (
                "Answers",
                f"{count(counts.answered)} with a verdict, {count(counts.na)} without, "
                f"{count(counts.provider_refusals)} refused by a provider; system errors: {errors or 'none'}",
            ),
            (
                "Perception read by",
                ", ".join(f"{how} {count(n)}" for how, n in counts.perception_read_by.items()),
            ),
            ("Code", f"{record.code_version} ({(record.code_revision or 'no revision')[:7]})"),
        ]
    return [*pairs, ("Run", row["run_id"])]


def hardware(parts: Mapping[str, str]) -> str:
    """What the answers were computed on, in words."""
    units = {"cores": "cores", "threads": "threads", "gpus": "GPUs"}
    said = [
        f"{text} {units[key]}" if key in units else f"CUDA {text}" if key == "cuda" else text
        for key, text in parts.items()
        if not absent(text)
    ]
    return ", ".join(said)


def score_list(row: Row) -> str:
    """Every score of a row with interval, number of answers and coverage."""
    pairs = []
    for key, about in KEYS.items():
        value, low, high = (row.get(f"{key}{part}") for part in ("", "_low", "_high"))
        between = interval(low, high, signed=about.signed)
        if absent(value) and not between:
            continue
        if absent(value):
            pairs.append((about.title, f"{between} (range over several models)"))
            continue
        aside = [f"95% {between}" if between else ""]
        if not absent(row.get(f"{key}_n")) and int(row[f"{key}_n"]):
            aside.append(f"{count(row[f'{key}_n'])} answers")
        if not absent(row.get(f"{key}_coverage")):
            aside.append(f"coverage {fraction(row[f'{key}_coverage'])}")
        said = ", ".join(part for part in aside if part)
        pairs.append((about.title, fraction(value, signed=about.signed) + (f"  ({said})" if said else "")))
    return tables.facts(pairs)
