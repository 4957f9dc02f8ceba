"""What compiling tells in the terminal."""

from __future__ import annotations

from ucbench.compile.assemble import Assembly
from ucbench.compile.candidates import UNREADABLE, Compilation
from ucbench.compile.kappa import Kappa
from ucbench.compile.votes import Judged
from ucbench.format import MISSING, count, fraction, interval
from ucbench.terminal import new_table, say

#: Names shown before the rest is only counted; the files name all.
SHOWN = 5


def print_candidates(compilation: Compilation) -> None:
    """How many pictures were ranked and what is next."""
    counts = compilation.manifest["counts"]
    say(
        f"{counts['pictures']:,} pictures: {counts['distinct']:,} distinct, {counts['duplicates']:,} exact "
        f"duplicates collapsed, {counts['unreadable']:,} unreadable"
        + (f" (named in {compilation.folder / UNREADABLE})" if counts["unreadable"] else "")
    )
    say(
        f"{len(compilation.candidates):,} candidates for {len(compilation.concepts):,} concepts written to "
        f"{compilation.folder}; next: ucbench dataset annotate {compilation.folder} --annotator NAME"
    )


def print_assembly(assembly: Assembly) -> None:
    """Kept images and agreement by concept, and what was left out, named."""
    from rich.console import Console
    from rich.markup import escape

    outcome = assembly.outcome
    table = new_table("Agreement of annotators")
    for name in ("concept", "kept", "judged", "Fleiss' kappa", "95% interval"):
        table.add_column(name, justify="left" if name == "concept" else "right", overflow="fold")
    names = {j.candidate.concept_id: j.candidate.concept for j in outcome.voted}
    for id_, kappa in assembly.by_concept.items():
        if id_ in names:
            kept = sum(j.candidate.concept_id == id_ for j in outcome.kept)
            table.add_row(escape(names[id_]), count(kept), *_cells(kappa))
    table.add_section()
    table.add_row("all", count(len(outcome.kept)), *_cells(assembly.overall), style="bold")
    Console().print(table)
    for what, rows in (("tie", outcome.ties), ("have too few votes", outcome.too_few)):
        if rows:
            say(f"{len(rows):,} {what} and are left out: {_named(rows)}")
    if outcome.withheld:
        say(f"{len(outcome.withheld):,} candidates were withheld by an annotator and are left out")
    if outcome.strangers:
        say(f"{outcome.strangers:,} decisions are about pictures that are no candidates and do not count")
    if assembly.no_options:
        say(f"perception_metadata.jsonl was not written: {assembly.no_options}")
    judges = f"{assembly.annotators:,} annotator{'s' if assembly.annotators > 1 else ''}"
    say(f"{len(outcome.kept):,} images, judged by {judges}, written to {assembly.folder}")


def _cells(kappa: Kappa) -> tuple[str, str, str]:
    bounds = interval(kappa.low, kappa.high) or MISSING
    return count(kappa.items), fraction(kappa.value), bounds


def _named(rows: list[Judged]) -> str:
    shown = ", ".join(f"{j.candidate.reference} ({j.candidate.concept})" for j in rows[:SHOWN])
    more = len(rows) - SHOWN
    return shown + (f" and {more:,} more, all in assembly.json" if more > 0 else "")
