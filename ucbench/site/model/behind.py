"""What lies behind a model's row: its runs, other judges, people, parity.

`evidence_of` reads what lies beside a run; the rest are pure functions of it. Every outside text is escaped
in what these functions call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ucbench.errors import UcbenchError
from ucbench.joined import ABILITIES
from ucbench.parity import Parity
from ucbench.restricted import run_id_of
from ucbench.site.columns import Row
from ucbench.site.compare import pairs
from ucbench.site.data import loading
from ucbench.site.data import run as run_data
from ucbench.site.data.board import LoadedBoard
from ucbench.site.data.run import Agreement, Audit, Part
from ucbench.site.figures import charts
from ucbench.site.model import evidence
from ucbench.tracks.about import about


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
        problems.append(loading.told(error))
    for part in parts:
        judge, track = part.record.judge, part.record.track.id
        if judge is None:
            continue
        try:
            agreed[track] = run_data.agreement(part.run, judge.id)
        except UcbenchError as error:
            problems.append(loading.told(error))
        try:
            audits[track] = run_data.audits(part.record)
        except UcbenchError as error:
            problems.append(loading.told(error))
    if parts:
        try:
            measured = run_data.parity(parts[0].run)
        except UcbenchError as error:
            problems.append(loading.told(error))
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


def lead(row: Row, found: Evidence) -> Part | None:
    """The run that leads the row, where it is in this place."""
    parts = found.parts
    return parts[0] if parts and parts[0].record.run_id == run_id_of(str(row["run_id"])) else None
