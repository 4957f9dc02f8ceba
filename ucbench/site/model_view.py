"""What the page of a model says: its head, its scores, the runs beside it, the record behind it.

Pure functions of rows and records but for `evidence_of`, which reads what lies beside a run. Every outside
text is escaped here or in what these functions call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from ucbench import taxonomy
from ucbench.board import NO_RANKING
from ucbench.errors import UcbenchError
from ucbench.format import (
    MISSING,
    absent,
    concept_title,
    count,
    escape,
    fraction,
    interval,
    rank,
    seconds,
    short_revision,
)
from ucbench.joined import ABILITIES
from ucbench.metrics.keys import KEYS
from ucbench.parity import Parity
from ucbench.provenance import REMOTE
from ucbench.record import RunRecord
from ucbench.restricted import is_restricted, run_id_of
from ucbench.site import charts, evidence, loading, pairs, run_data, score_table, tables
from ucbench.site.board_data import LoadedBoard, joined_runs
from ucbench.site.charts import Dumbbell, Reading, reading
from ucbench.site.columns import Row, columns_of, filled
from ucbench.site.links import link
from ucbench.site.run_data import Agreement, Audit, Part
from ucbench.site.track_views import View, told, view
from ucbench.tracks.about import TEST_SPLIT, about

#: What each provenance says.
PROVENANCES = {
    "measured": "measured: answered and judged by this project's code",
    "self-reported": "self-reported: measured elsewhere, by whoever published it",
    "imported": "imported: answered elsewhere and saved, judged and scored here",
    "reported": "reported: a figure taken from a paper, not measured here",
}


def find(board: LoadedBoard, run_id: str | None) -> Row | None:
    """The row of an address: that of the run, or of the row that the run joined."""
    if not run_id:
        return None
    row = board.row(run_id)
    if row is not None:
        return row
    return next((row for row in board.rows if run_id in joined_runs(row).values()), None)


# --- the head ---


def heading(row: Row) -> str:
    """The model's name as the title of the page, what tells this run from others, its rank."""
    when = _day(row.get("measured_at"))
    parts = [tables.identity(row), "" if absent(row.get("guard")) else "guard model", when]
    meta = " · ".join(escape(part) for part in parts if part)
    tag = f'<span class="tag">{escape(row["provenance"])}</span>'
    return (
        f'<div class="about-model"><h1>{escape(tables.name(row))}</h1>'
        f'<p class="meta">{tag}{meta}</p><p class="rank">{_rank(row)}</p></div>'
    )


def _rank(row: Row) -> str:
    track = escape(about(str(row["track"])).name)
    place = rank(row.get("rank_low"), row.get("rank_high"))
    if place != MISSING:
        tied = int(row["rank_low"]) != int(row["rank_high"])
        aside = "; models that share a rank cannot be told apart" if tied else ""
        return (
            f"Rank <b>{place}</b> of {count(row.get('ranked_among'))} on {track}"
            f'<span class="quiet"> by balanced accuracy{aside}</span>'
        )
    why = row.get("unranked")
    reason = "" if absent(why) or why == NO_RANKING else f": {escape(why)}"
    if why == NO_RANKING:
        return f'On {track}<span class="quiet">, which has no ranking</span>'
    return f'On {track}<span class="quiet">, not ranked{reason}</span>'


def _day(when: Any) -> str:
    return f"{when.day} {when:%b %Y}" if isinstance(when, datetime) and when == when else ""


def sentence(row: Row) -> str:
    """What was found, in a sentence, as HTML; empty where the row has too little to say one."""
    shown: View = view(str(row["track"]))
    if shown.finding:
        return told(shown.finding, [row])
    image, text = (_value(row, key) for key in ("image_alignment", "text_alignment"))
    seen, spared = _value(row, "perception"), _value(row, "over_refusal")
    said = []
    if seen is not None:
        said.append(f"names <b>{fraction(seen)}</b> of the concepts it is shown")
    if image is not None:
        said.append(f'calls <b class="is-image">{fraction(1 - image)}</b> of the unsafe images safe')
    if not said and text is None:
        return ""
    first = " and ".join(said)
    words = ""
    if text is not None:
        words = (
            f'{"; said" if said else "told"} in words, it objects to <b class="is-text">{fraction(text)}</b>'
        )
        words += "" if said else " of the concepts"
    rest = ""
    if spared is not None:
        rest = f" It calls <b>{fraction(spared)}</b> of the safe images unsafe."
    text_ = f"{first}{words}."
    return f'<p class="finding">{text_[:1].upper()}{text_[1:]}{rest}</p>'


def _value(row: Row, key: str) -> float | None:
    return None if absent(row.get(key)) else float(row[key])


# --- scores ---


def score_lines(row: Row, keys: Sequence[str] = tuple(KEYS)) -> list[score_table.Line]:
    """The scores that a row has, in the order of `keys`."""
    found = []
    for key in keys:
        one = _reading(row, key)
        if one.exists:
            n: Any = row.get(f"{key}_n")
            coverage: Any = row.get(f"{key}_coverage")
            found.append(
                score_table.Line(
                    key, one, None if absent(n) else int(n), None if absent(coverage) else float(coverage)
                )
            )
    return found


def own_and_other(row: Row) -> tuple[list[score_table.Line], list[score_table.Line]]:
    """The scores that the track is about, and all others that were computed."""
    own = [column.key for column in columns_of(str(row["track"]))]
    return score_lines(row, own), score_lines(row, [key for key in KEYS if key not in own])


def _reading(row: Row, key: str) -> Reading:
    return reading(*(row.get(f"{key}{part}") for part in ("", "_low", "_high")))


def by_category(board: LoadedBoard, row: Row) -> list[list[Dumbbell]]:
    """For each chart of the track, a line a category with both its scores; no lines where none is known."""
    found = []
    for chart in view(str(row["track"])).charts:
        told = [board.scores(row["run_id"], "category", key) for key in chart.keys]
        lines = []
        for category in taxonomy.categories():
            ends = [scores.get(category.id, Reading()) for scores in told]
            if any(one.exists for one in ends):
                lines.append(Dumbbell(category.name, ends[0], ends[1] if len(ends) > 1 else Reading()))
        found.append(lines)
    return found


@dataclass(frozen=True, slots=True)
class ByConcept:
    """A concept and the model's scores on it, in the order of the track's heat map."""

    id: str
    name: str
    category: str
    scores: tuple[Reading, ...]


def by_concept(board: LoadedBoard, row: Row) -> list[ByConcept]:
    """The unsafe concepts that the model was scored on, in the paper's order."""
    keys = view(str(row["track"])).heat
    told = [board.scores(row["run_id"], "concept", key) for key in keys]
    categories = {category.id: category.name for category in taxonomy.categories()}
    found = []
    for concept in taxonomy.concepts():
        readings = tuple(scores.get(concept.id, Reading()) for scores in told)
        if any(one.exists for one in readings):
            found.append(
                ByConcept(concept.id, concept_title(concept.name), categories[concept.category], readings)
            )
    return found


def hardest_first(concepts: Sequence[ByConcept], place: int, key: str) -> list[ByConcept]:
    """The worst of one score first: the lowest share, or the widest gap; unknown ones last."""
    gap = KEYS[key].signed

    def worse(one: ByConcept) -> tuple[bool, float]:
        value = one.scores[place].value
        return value is None, 0.0 if value is None else -abs(value) if gap else value

    return sorted(concepts, key=worse)  # stable: ties stay in the paper's order


def concept_table(row: Row, concepts: Sequence[ByConcept]) -> str:
    """A line a concept, with links to the concept's page and to this model's answers about it."""
    shown = view(str(row["track"]))
    first, second = shown.charts[0].keys
    more = [key for key in shown.heat if key not in (first, second)]
    place = {key: n for n, key in enumerate(shown.heat)}
    lines = [
        score_table.Concept(
            link(one.name, "concepts", concept=one.id, track=pairs.track_query(row)),
            one.category,
            one.scores[place[first]],
            one.scores[place[second]],
            tuple(fraction(one.scores[place[key]].value, signed=KEYS[key].signed) for key in more),
            link("answers", "answers", run=str(row["run_id"]), concept=one.id,
                 title=f"What it answered about {one.name}"),
        )
        for one in concepts
    ]  # fmt: skip
    heads = (
        "Concept",
        "",
        KEYS[first].title,
        KEYS[second].title,
        *(KEYS[key].title for key in more),
        "Answers",
    )
    return score_table.concepts(
        lines, heads=heads, ends=("image", "text"), caption="Scores of this model by concept"
    )


# --- the runs beside it ---

#: What can differ between two runs of one model, and how it is called.
_DIFFERS = {
    "revision": "revision", "adapter": "adapter", "dtype": "number format", "temperature": "temperature",
    "top_p": "top-p", "max_new_tokens": "token limit", "seed": "seed", "system_prompt": "system prompt",
    "guard": "guard", "track_version": "version of the track", "split": "split", "draw": "draw",
    "judge": "judge", "provenance": "provenance", "status": "completeness",
}  # fmt: skip
#: So many of them are told; a model with more is looked up on the leaderboard.
MOST_RUNS = 30


def other_runs(board: LoadedBoard, row: Row) -> list[Row]:
    """Other rows of the same model on the same track, the latest first; also those with an adapter."""
    found = [
        other
        for other in board.of_track(pairs.split_mark(row))
        if other["model"] == row["model"] and other["run_id"] != row["run_id"]
    ]
    return sorted(found, key=lambda other: (_instant(other), str(other["run_id"])), reverse=True)


def _instant(row: Row) -> str:
    when: Any = row.get("measured_at")
    return when.isoformat() if isinstance(when, datetime) and when == when else ""


def what_differs(row: Row, other: Row) -> str:
    """In words, what of the other run is not as in this one."""
    told = []
    for field, name in _DIFFERS.items():
        mine, theirs = row.get(field), other.get(field)
        if absent(mine) and absent(theirs):
            continue
        if absent(mine) != absent(theirs) or mine != theirs:
            told.append(_told(field, name, theirs))
    return "; ".join(told) or "run again"


def _told(field: str, name: str, value: Any) -> str:
    if field == "system_prompt":
        return "without a system prompt" if absent(value) else "with another system prompt"
    if absent(value):
        return f"no {name}"
    if field == "adapter":
        return f"adapter {tables.name({'model': '', 'adapter': value, 'provenance': ''}).removeprefix(' + ')}"
    if field == "revision":
        return f"revision {short_revision(value)}"
    if field == "temperature":
        return "greedy" if float(value) == 0 else f"temperature {float(value):g}"
    if isinstance(value, float):
        return f"{name} {value:g}"
    return f"{name} {value}"


def runs_table(row: Row, others: Sequence[Row]) -> str:
    """This run and the others of its model, the latest first."""
    shown = sorted([row, *others[:MOST_RUNS]], key=_instant, reverse=True)
    keys = [column.key for column in filled(columns_of(str(row["track"])), shown)][:4]
    head = "".join(
        f'<th scope="col" role="columnheader">{escape(text)}</th>'
        for text in ("Run", "What differs", *(KEYS[key].title for key in keys))
    )
    lines = []
    for one in shown:
        mine = one is row
        when = _day(one.get("measured_at")) or f"undated, {str(one['run_id'])[:6]}"
        name = (
            f'<span class="here">{escape(when)}</span>'
            if mine
            else link(when, "model", run=str(one["run_id"]), title="This run's page")
        )
        cells = [("what", "this run" if mine else what_differs(row, one))]
        cells += [("", _figure(one, key)) for key in keys]
        heads = ("What differs", *(KEYS[key].title for key in keys))
        lines.append(
            f'<tr role="row"><th scope="row" role="rowheader">{name}</th>'
            + "".join(
                f'<td role="cell" class="{style}"><span class="label">{escape(label)}</span>'
                f"{escape(text)}</td>"
                for label, (style, text) in zip(heads, cells, strict=True)
            )
            + "</tr>"
        )
    return (
        '<table class="grid cards runs" role="table"><caption class="hidden">Runs of this model</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(lines)}</tbody></table>'
    )


def _figure(row: Row, key: str) -> str:
    one = _reading(row, key)
    signed = KEYS[key].signed
    return interval(one.low, one.high, signed=signed) if one.is_range else fraction(one.value, signed=signed)


def parent(board: LoadedBoard, row: Row) -> Row | None:
    """The row of the model that an adapter was put on, asked the same way; None where there is none.

    Of several the one on the same split, of the same revision, without a system prompt of its own.
    """
    if absent(row.get("adapter")):
        return None
    found = [
        other
        for other in board.rows
        if other["track"] == row["track"]
        and other["model"] == row["model"]
        and absent(other.get("adapter"))
        and (other["provenance"] == "reported") == (row["provenance"] == "reported")
    ]
    alike = ("split", "revision", "judge", "track_version", "system_prompt", "temperature", "max_new_tokens",
             "top_p", "seed", "dtype")  # fmt: skip

    def fits(other: Row) -> tuple[int, str]:
        differing = sum(
            1
            for field in alike
            if absent(other.get(field)) != absent(row.get(field))
            or (not absent(other.get(field)) and other.get(field) != row.get(field))
        )
        return differing, str(other["run_id"])

    return min(found, key=fits, default=None)


# --- the evidence ---


@dataclass(frozen=True, slots=True)
class Evidence:
    """What lies beside a row's runs. `problems` are sentences about what of it is damaged."""

    parts: tuple[Part, ...] = ()
    agreed: Mapping[str, Sequence[Agreement]] | None = None
    audits: Mapping[str, Sequence[Audit]] | None = None
    parity: Parity | None = None
    problems: tuple[str, ...] = ()


def evidence_of(board: LoadedBoard, row: Row) -> Evidence:
    """Read it, once for all visitors as long as no file of it changes."""
    from ucbench.judges import audit

    both = loading.stores()
    audited = pairs.stamp(
        folder for store in (both.results, both.runs) for folder in sorted(store.glob(f"{audit.FOLDER}/*"))
    )
    return _evidence(_Key(row), board.digest, pairs.behind(row), audited)


class _Key:
    """A row as a key: two of one id are one."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def __hash__(self) -> int:
        return hash(self.row["run_id"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.row["run_id"] == self.row["run_id"]


@lru_cache(maxsize=16)
def _evidence(key: _Key, _digest: str, _behind: pairs.Behind, _audits: pairs.Stamp) -> Evidence:
    problems: list[str] = []
    parts: list[Part] = []
    agreed: dict[str, Sequence[Agreement]] = {}
    audits: dict[str, Sequence[Audit]] = {}
    measured: Parity | None = None
    try:
        parts = run_data.parts(key.row)
    except UcbenchError as error:
        problems.append(str(error))
    for part in parts:
        judge, track = part.record.judge, part.record.track.id
        if judge is None:
            continue
        try:
            agreed[track] = run_data.agreement(part.run, judge.id)
        except UcbenchError as error:
            problems.append(str(error))
        try:
            audits[track] = run_data.audits(part.record)
        except UcbenchError as error:
            problems.append(str(error))
    if parts:
        try:
            measured = run_data.parity(parts[0].run)
        except UcbenchError as error:
            problems.append(str(error))
    return Evidence(tuple(parts), agreed, audits, measured, tuple(dict.fromkeys(problems)))


def judges_sections(found: Evidence) -> list[tuple[str, str]]:
    """`track, HTML`: other judges and people who read the same answers; nothing where nobody did."""
    sections = []
    for part in found.parts:
        judge, track = part.record.judge, part.record.track.id
        agreed, audits = (found.agreed or {}).get(track, ()), (found.audits or {}).get(track, ())
        if judge is None or not (agreed or audits):
            continue
        where = f" about {about(track).name}" if len(found.parts) > 1 else ""
        note = charts.note(f"The answers{where} were read by the judge {judge.id}.")
        sections.append((track, note + evidence.judges(judge.id, agreed, audits)))
    return sections


def parity_section(found: Evidence) -> str:
    """The fast way of asking against the slow one, which only our own engine has, decoding greedily."""
    if not found.parts:
        return ""
    record = found.parts[0].record
    if found.parity is not None:
        note = charts.note(evidence.parity_note(found.parity, record.engine))
        return evidence.parity(found.parity) + note
    entry = record.entry
    if record.engine.path in evidence.LOCAL and not entry.guard and not entry.decoding.temperature:
        return charts.note(
            "Not measured for this run. The command ucbench parity asks some of the questions one at a time, "
            "in batches and with what the engine shares, and compares tokens, verdicts and scores."
        )
    return ""


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


# --- the record ---


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


def lead(row: Row, found: Evidence) -> Part | None:
    """The run that leads the row, where it is in this place."""
    parts = found.parts
    return parts[0] if parts and parts[0].record.run_id == run_id_of(str(row["run_id"])) else None


# --- looking for a model ---


def search(board: LoadedBoard, words: str) -> list[Row]:
    """Rows whose name holds every word, whatever their track; cut-down copies of a run are left out."""
    wanted = words.casefold().split()
    found = []
    for row in board.rows:
        if is_restricted(str(row["run_id"])):
            continue
        text = f"{row['model']} {'' if absent(row.get('adapter')) else row['adapter']}".casefold()
        if all(word in text for word in wanted):
            found.append(row)
    return found


def listed(rows: Sequence[Row]) -> str:
    """Models to choose from: a link each, with what tells them apart."""
    lines = "".join(
        f"<li>{link(tables.name(row), 'model', run=str(row['run_id']))} "
        f'<span class="quiet">{escape(_apart(row))}</span></li>'
        for row in rows
    )
    return f'<ul class="listed">{lines}</ul>'


def _apart(row: Row) -> str:
    parts = [about(str(row["track"])).name, tables.identity(row)]
    if row["provenance"] != "measured":
        parts.append(str(row["provenance"]))
    return " · ".join(part for part in parts if part)


def concept_rows(row: Row, concepts: Sequence[ByConcept]) -> list[dict[str, Any]]:
    """The scores by concept as a table to take home."""
    keys = view(str(row["track"])).heat
    return [
        {"run_id": row["run_id"], "concept": one.id, "category": one.category}
        | {
            f"{key}{part}": value
            for key, score in zip(keys, one.scores, strict=True)
            for part, value in (("", score.value), ("_low", score.low), ("_high", score.high))
        }
        for one in concepts
    ]
