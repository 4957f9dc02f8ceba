"""One run in a dialog: what was run, how, every score, why to rely on it, its record to download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import streamlit as st

from ucbench.board import NO_RANKING
from ucbench.errors import UcbenchError
from ucbench.format import MISSING, absent, count, fraction, interval, rank, seconds
from ucbench.joined import ABILITIES
from ucbench.metrics.keys import KEYS
from ucbench.provenance import REMOTE
from ucbench.record import RunRecord
from ucbench.restricted import run_id_of
from ucbench.site import charts, evidence, loading, tables
from ucbench.site.columns import Row
from ucbench.site.component import figure
from ucbench.site.loading import Agreement, Audit, Part
from ucbench.tracks.about import TEST_SPLIT, about

#: What each provenance says.
PROVENANCES = {
    "measured": "measured: answered and judged by this project's code",
    "self-reported": "self-reported: measured elsewhere, by whoever published it",
    "imported": "imported: answered elsewhere and saved, judged and scored here",
    "reported": "reported: a figure taken from a paper, not measured here",
}

Found = TypeVar("Found")


@st.dialog("Details of a run", width="medium")
def show(row: Row) -> None:
    """Open the dialog."""
    parts: list[Part] = _or_warning(lambda: loading.parts(row), [])
    lead = parts[0] if parts and parts[0].run.run_id == run_id_of(str(row["run_id"])) else None
    figure(tables.facts(facts(row, lead)), key="details_facts")
    if parts and row["provenance"] != "reported":
        _section("What became of the questions", evidence.outcomes(parts), key="outcomes")
    note = charts.note(joined_note(parts)) if len(parts) > 1 else ""
    _section("Scores", score_list(row) + note, key="scores")
    for part in parts:
        _judge(part, named=len(parts) > 1)
    if lead is not None:
        _parity(lead)
        said = evidence.notes(lead.record.engine)
        if said:
            _section("Notes of the engine", tables.listed(said), key="notes")
    with st.container(horizontal=True, gap="small"):
        for part in parts:
            name = "" if part is lead else f", {about(part.record.track.id).name}"
            st.download_button(
                f"Download record.json{name}", part.record.to_json(), f"{part.record.run_id}.json",
                "application/json", icon=":material/download:", on_click="ignore",
                key=f"record_{part.record.run_id}",
            )  # fmt: skip


def _section(title: str, html: str, *, key: str) -> None:
    """A part of the dialog; Streamlit's own headings are smaller than text there."""
    figure(tables.heading(title) + html, key=f"details_{key}")


def _or_warning(read: Callable[[], Found], otherwise: Found) -> Found:
    """What was read, or a sentence on the page about what is damaged."""
    try:
        return read()
    except UcbenchError as error:
        st.warning(str(error), icon=":material/broken_image:")
        return otherwise


def _judge(part: Part, *, named: bool) -> None:
    """Other judges that read the same answers, and people who audited the judge; nothing where nobody did."""
    judge = part.record.judge
    if judge is None:
        return
    agreed: list[Agreement] = _or_warning(lambda: loading.agreement(part.run, judge.id), [])
    audits: list[Audit] = _or_warning(lambda: loading.audits(part.record), [])
    if agreed or audits:
        where = f" about {about(part.record.track.id).name}" if named else ""
        note = charts.note(f"The answers{where} were read by the judge {judge.id}.")
        html = note + evidence.judges(judge.id, agreed, audits)
        _section("How well are the answers read?", html, key=f"judge_{part.record.track.id}")


def _parity(part: Part) -> None:
    """The fast way of asking against the slow one, which only our own engine has, decoding greedily."""
    found = _or_warning(lambda: loading.parity(part.run), None)
    entry = part.record.entry
    could_be = (
        part.record.engine.path in evidence.LOCAL and not entry.guard and not entry.decoding.temperature
    )
    if found is None and not could_be:
        return
    if found is None:
        html = charts.note(
            "Not measured for this run. The command ucbench parity asks some of the questions one at a time, "
            "in batches and with what the engine shares, and compares tokens, verdicts and scores."
        )
    else:
        html = evidence.parity(found) + charts.note(evidence.parity_note(found, part.record.engine))
    _section("Fast against slow", html, key="parity")


def joined_note(parts: Sequence[Part]) -> str:
    """Which scores come from which run, for a row that joins several."""
    names = {part.record.track.id: about(part.record.track.id).name for part in parts}
    told = []
    if "safe" in names:
        told.append(f"over-refusal comes from {names['safe']}, balanced accuracy from both sides")
    if names.keys() >= set(ABILITIES):
        told.append(f"general ability is the mean of {' and '.join(names[track] for track in ABILITIES)}")
    rest = f": {'; '.join(told)}" if told else ""
    return f"This row joins the runs of one model on {', '.join(names.values())}{rest}."


def facts(row: Row, part: Part | None) -> list[tuple[str, Any]]:
    """What was run and how, as pairs; what is unknown stays out."""
    record = None if part is None else part.record
    reported = row["provenance"] == "reported"
    place = rank(row.get("rank_low"), row.get("rank_high"))
    unranked = None if row.get("unranked") == NO_RANKING else row.get("unranked")
    pairs: list[tuple[str, Any]] = [
        ("Model", tables.name(row)),
        ("Rank", MISSING if place == MISSING else f"{place} of {count(row.get('ranked_among'))}"),
        ("Not ranked", unranked),
        ("Provenance", PROVENANCES.get(str(row["provenance"]), row["provenance"])),
        ("Source", row.get("source")),
        ("Track", f"{about(str(row['track'])).name}, version {row.get('track_version')}"),
        ("Split", TEST_SPLIT if tables.on_test_split(row) else None),
    ]
    if not reported:
        pairs += [
            (
                "Asked",
                f"{count(row.get('n_questions'))} questions about {count(row.get('n_samples'))} images",
            ),
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
        pairs += [
            ("Tokens", evidence.tokens(record.usage)),
            ("Cost", evidence.cost(record.usage)),
            ("Hardware", hardware(record.hardware)),
            ("Perception read by", evidence.read_by(part.counts.perception_read_by)),
            ("Ratings read by", evidence.read_by(part.counts.rated_by)),
            ("Code", code(record)),
        ]
    return [*pairs, ("Run", row["run_id"])]


def _seconds(value: Any) -> str:
    return "under 1 s" if not absent(value) and float(value) < 1 else seconds(value)


def decoding(row: Row) -> str:
    """How answers were drawn; nothing of answers that were given elsewhere."""
    if row["provenance"] == "imported":
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


def score_list(row: Row) -> str:
    """Every score of a row with interval, number of answers and coverage."""
    pairs = []
    for key, about_key in KEYS.items():
        value, low, high = (row.get(f"{key}{part}") for part in ("", "_low", "_high"))
        between = interval(low, high, signed=about_key.signed)
        if absent(value) and not between:
            continue
        if absent(value):
            pairs.append((about_key.title, f"{between} (range over several models)"))
            continue
        aside = [f"95% {between}" if between else ""]
        if not absent(row.get(f"{key}_n")) and int(row[f"{key}_n"]):
            aside.append(f"{count(row[f'{key}_n'])} answers")
        if not absent(row.get(f"{key}_coverage")):
            aside.append(f"coverage {fraction(row[f'{key}_coverage'])}")
        said = ", ".join(part for part in aside if part)
        figure_ = fraction(value, signed=about_key.signed)
        pairs.append((about_key.title, figure_ + (f"  ({said})" if said else "")))
    return tables.facts(pairs)
