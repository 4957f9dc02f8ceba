"""What the `judge` commands show in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ucbench.format import MISSING
from ucbench.judges.agreement import Comparison, Disagreement
from ucbench.judges.audit_terminal import visible
from ucbench.terminal import new_table

#: Characters of a text that an example shows.
SHOWN = 400


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return MISSING if value is None else f"{value:.3f}"


def bounds(low: float | None, high: float | None) -> str:
    """The ends of an interval, or nothing."""
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def print_comparisons(rows: Sequence[Comparison]) -> None:
    """Agreement and Cohen's kappa of every two judges: all answers, by kind of question, by label."""
    from rich.console import Console
    from rich.markup import escape

    table = new_table("")
    for name in ("judges", "answers", "agreement", "Cohen's kappa", "95% interval"):
        table.add_column(name, justify="left" if name == "judges" else "right", overflow="fold")
    for row in rows:
        if row.by == "all":
            table.add_section()
        names = {
            "all": f"{row.first} and {row.second}",
            "kind": f"  {row.group}",
            "label": f"  label {row.group}",
        }
        table.add_row(
            escape(names[row.by]),
            f"{row.n:,}",
            number(row.agreement) if row.n else MISSING,
            number(row.kappa),
            bounds(row.low, row.high),
            style="bold" if row.by == "all" else None,
        )
    Console().print(table)


def print_disagreements(found: Sequence[Disagreement]) -> None:
    """Answers that judges read differently, cut where they are long."""
    for example in found:
        said = ", ".join(f"{judge}: {label}" for judge, label in example.labels.items())
        print(f"\n{example.kind}; {visible(said)}")
        print(f"  asked     {_one_line(example.prompt)}")
        print(f"  answered  {_one_line(example.text)}")


def print_training(card: Mapping[str, Any], out: str) -> None:
    """What a fitted classifier reads rightly on the held-out answers."""
    from rich.console import Console

    held = card["held_out"]
    table = new_table(f"{card['kind']} classifier on {held['n']:,} answers that it has not seen")
    for name in ("", "value", "95% interval", "answers"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    figures = [("accuracy", held["accuracy"]), ("macro F1", held["macro_f1"])]
    figures += [(f"F1, {label}", figure) for label, figure in held["f1"].items()]
    for name, figure in figures:
        n = figure.get("n", held["n"])
        table.add_row(name, number(figure["value"]), bounds(figure["low"], figure["high"]), f"{n:,}")
    console = Console()
    console.print(table)
    print_confusion("right label by row, label read by column", held["confusion"])
    console.print(
        f"epoch {card['best_epoch']} of {card['epochs_run']}; written to {out}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def print_confusion(title: str, confusion: Mapping[str, Mapping[str, float]]) -> None:
    """A matrix of counts."""
    from rich.console import Console

    print(title)
    table = new_table("")
    table.add_column("")
    for label in confusion:
        table.add_column(label, justify="right")
    for label, row in confusion.items():
        table.add_row(label, *(f"{count:,.10g}" for count in row.values()))
    Console().print(table)


def print_audit(found: Mapping[str, Any], path: str) -> None:
    """The judge's accuracy by model family, and who labelled."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    table = new_table(escape(f"{found['judge']['id']} against people"))
    for name in ("model family", "accuracy", "95% interval", "labelled", "of answers"):
        table.add_column(name, justify="left" if name == "model family" else "right", overflow="fold")
    for name, own in found["families"].items():
        _audit_row(table, escape(name), own, f"{own['population']:,}")
        if len(own["kinds"]) > 1:
            for kind, part in own["kinds"].items():
                _audit_row(table, f"  {kind}", part, "")
    if len(found["families"]) > 1:
        _audit_row(
            table, "all", found["overall"], f"{sum(f['population'] for f in found['families'].values()):,}"
        )
    console.print(table)
    for kinds, matrix in found["confusion"].items():
        print_confusion(f"{kinds}: label of people by row, verdict by column", _rounded(matrix["counts"]))
    for pair in found["agreement"]:
        console.print(
            f"{' and '.join(pair['annotators'])}: kappa {number(pair['kappa'])} "
            f"({bounds(pair['low'], pair['high']) or 'no interval'}) on {pair['n']:,} answers",
            markup=False,
            highlight=False,
        )
    left = found["drawn"] - found["labelled"]
    console.print(
        f"{found['labelled']:,} of {found['drawn']:,} drawn answers labelled"
        + (f", {left:,} to go" if left else "")
        + f"; strata with labels hold {found['represented']:.0%} of the answers; written to {path}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _audit_row(table: Any, name: str, part: Mapping[str, Any], population: str) -> None:
    interval = bounds(part["low"], part["high"])
    table.add_row(name, number(part["accuracy"]), interval, f"{part['labelled']:,}", population)


def _rounded(matrix: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {x: {y: round(n, 2) for y, n in row.items()} for x, row in matrix.items()}


def _one_line(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."
