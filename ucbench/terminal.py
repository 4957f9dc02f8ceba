"""What the command line shows: progress with time left, and tables of scores."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from ucbench.errors import UnknownNameError
from ucbench.format import MISSING, absent, count, fraction, interval, model_name, rank
from ucbench.record import RunRecord, ScoreMap
from ucbench.restricted import is_restricted
from ucbench.tracks.about import about as about_track

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from ucbench.align.record import AlignRecord
    from ucbench.board import Board
    from ucbench.comparison import Comparison
    from ucbench.doctor import Check
    from ucbench.metrics.paired import Contrast
    from ucbench.parity import Parity
    from ucbench.types import Split
    from ucbench.verify import Check as RunCheck

#: Without a terminal, a line of progress at most this often (seconds).
LINE_EVERY = 10.0


def say(text: str) -> None:
    """Print a plain line of information to standard error, without codes that others may have put into it."""
    from ucbench.hub.redact import readable

    print(readable(text), file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) drawn as a bar with time left, or as lines when there is no terminal."""
    if quiet:
        yield lambda _done, _total: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield _lines(label)


def _lines(label: str) -> Callable[[int, int], None]:
    begin = time.monotonic()
    first: list[int] = []
    last = [float("-inf")]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        first.append(done)
        if done < total and now - last[0] < LINE_EVERY:
            return
        last[0] = now
        fresh = done - first[0]
        left = ""
        if fresh and done < total:
            seconds = round((now - begin) / fresh * (total - done))
            left = f", {seconds // 60}:{seconds % 60:02d} left"
        say(f"{label}: {done:,} of {total:,}{left}")

    return show


@contextmanager
def training(label: str, *, quiet: bool = False) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """A callback (step, steps, metrics): one live line, or lines now and then when there is no terminal."""
    if quiet:
        yield lambda _step, _steps, _metrics: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(label, total=None, metrics="")
            yield lambda step, steps, metrics: bar.update(
                task, completed=step, total=steps, metrics=_training_line(metrics)
            )
    else:
        yield _training_lines(label)


#: Metric -> (word on the live line, format).
_LIVE = {
    "reward": ("reward", ".2f"),
    "loss": ("loss", ".3f"),
    "accuracy": ("accuracy", ".2f"),
    "kl": ("KL", ".2f"),
    "entropy": ("entropy", ".2f"),
    "length": ("length", ".1f"),
    "tokens_per_second": ("tokens/s", ",.0f"),
    "probe_image_unsafe": ("probe: unsafe", ".2f"),
    "probe_image_safe": ("safe", ".2f"),
}


def _training_line(metrics: Mapping[str, float]) -> str:
    return ", ".join(
        f"{word} {metrics[name]:{form}}"
        for name, (word, form) in _LIVE.items()
        if name in metrics and not (name == "loss" and "reward" in metrics)
    )


def _training_lines(label: str) -> Callable[[int, int, Mapping[str, float]], None]:
    begin = last = time.monotonic()
    first: list[int] = []

    def show(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        nonlocal last
        now = time.monotonic()
        first.append(step)
        if step < steps and len(first) > 1 and now - last < LINE_EVERY and "probe_image_safe" not in metrics:
            return
        last = now
        fresh = step - first[0]
        seconds = round((now - begin) / max(1, fresh) * (steps - step))
        left = f", {seconds // 60}:{seconds % 60:02d} left" if fresh and step < steps else ""
        say(f"{label}: step {step} of {steps}, {_training_line(metrics)}{left}")

    return show


def print_alignment(record: AlignRecord) -> None:
    """What a training run changed on the pictures of its probe."""
    from rich.console import Console
    from rich.markup import escape

    if record.probe:
        console = Console()
        pictures = "held-back pictures" if record.probe.held_back else "some of the pictures learned from"
        console.print(escape(f"{record.base.model} aligned by {record.method}, on {pictures}"))
        table = new_table("")
        for name in ("share of right answers", "before", "after", "n"):
            table.add_column(name, justify="left" if name.startswith("share") else "right", no_wrap=True)
        for key, n in record.probe.n.items():
            before, after = record.probe.before.get(key), record.probe.after.get(key)
            name = key.removeprefix("probe_").replace("_", ", ")
            table.add_row(name, fraction(before), fraction(after), count(n))
        console.print(table)
    say(
        f"{record.steps:,} steps, {record.answers:,} answers, {record.seconds / 60:.1f} minutes, "
        f"{record.trainable_parameters:,} trainable parameters"
    )


_SIGNS = {"ok": "[green]ok[/]    ", "lack": "[yellow]lack[/]  ", "broken": "[red]broken[/]"}


def print_check(check: Check) -> None:
    """What was found of one thing, and below it what its lack means."""
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    console = Console(highlight=False)
    console.print(f"{_SIGNS[check.outcome]} [bold]{check.name}[/]")
    for text in (check.found, check.means):
        if text:
            console.print(Padding(escape(text), (0, 0, 0, 7)))


def new_table(title: str) -> Table:
    """An empty table in the house style: hairlines, no frame, so that 80 columns hold it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def scores_table(title: str, scores: ScoreMap) -> Table:
    """Overall scores with interval, n and coverage."""
    from rich.markup import escape

    from ucbench.metrics.keys import KEYS

    table = new_table(escape(title))
    for name in ("score", "value", "95% interval", "answers", "clusters", "coverage"):
        table.add_column(name, justify="left" if name == "score" else "right", no_wrap=True)
    for key in KEYS:
        if key in scores:
            score = scores[key]
            table.add_row(
                key,
                fraction(score.value),
                interval(score.low, score.high),
                count(score.n_items),
                count(score.n_clusters),
                fraction(score.coverage),
            )
    return table


def print_record(record: RunRecord) -> None:
    """The profile of a run: all overall scores, subsets apart, and what became of the questions."""
    from rich.console import Console

    console = Console()
    track, counts = record.track, record.counts
    model = model_name(record.entry.model, record.entry.adapter)
    console.print(scores_table(f"{model} on {track.id} ({track.split})", record.scores.overall))
    for name, scores in record.scores.by_subset.items():
        if not scores:
            continue
        console.print(scores_table(f"{name}: these concepts apart", scores))
    read = ", ".join(f"{n:,} by {how}" for how, n in sorted(counts.perception_read_by.items()))
    errors = ", ".join(f"{n:,} {code}" for code, n in sorted(counts.errors.items())) or "none"
    seconds = f"{record.seconds:.0f} s answering" if record.seconds is not None else ""
    judge = record.judge.id if record.judge else "none"
    used = record.usage
    spent = "" if used is None else (
        f"{used.input_tokens:,} tokens in, {used.output_tokens:,} out"
        + ("" if used.cost is None else f", cost {used.cost:,.2f} at the prices given")
    )  # fmt: skip
    told = used is not None or record.entry.guard
    notes = "; ".join(record.engine.notes if told else ())
    for line in (
        f"{counts.questions:,} questions, {counts.answered:,} answered with a label, {counts.na:,} N/A, "
        f"{counts.provider_refusals:,} refused by a provider; errors: {errors}; "
        f"cut at the token limit: {counts.truncated:,}",
        f"perception options read: {read or 'none'}",
        f"judge {judge}; engine {record.engine.path}; {seconds}; run {record.run_id} ({record.status})",
        *(line for line in (spent, notes) if line),
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_comparison(found: Comparison, first: RunRecord, second: RunRecord, most: int) -> None:
    """Every score of two runs with its paired difference, and the concepts that differ most where told."""
    from rich.console import Console
    from rich.markup import escape

    from ucbench.comparison import furthest, told_apart
    from ucbench.metrics.keys import KEYS

    names = [model_name(record.entry.model, record.entry.adapter) for record in (first, second)]
    console = Console()

    def table(title: str, contrasts: Mapping[str, Contrast], key: str | None = None) -> None:
        shown = new_table(escape(title))
        for head in ("score" if key is None else "concept", "A", "B", "B - A", "95% interval", "apart"):
            justify: Literal["left", "right"] = "left" if head in ("score", "concept", "apart") else "right"
            shown.add_column(head, justify=justify, no_wrap=True)
        apart = told_apart(contrasts)
        for name, one in contrasts.items():
            signed = KEYS[key or name].signed
            difference = one.difference
            told = apart.get(name)
            shown.add_row(
                name,
                *(fraction(value, signed=signed) for value in (one.first, one.second)),
                fraction(difference.value, signed=True),
                interval(difference.low, difference.high, signed=True),
                MISSING if told is None else "yes" if told else "cannot be told",
            )
        console.print(shown)

    table(f"A: {names[0]}, B: {names[1]}, on {found.track}", found.scores)
    for key, contrasts in found.by_concept.items():
        table(f"{key} by concept, the {most} largest differences", dict(furthest(contrasts)[:most]), key)
    asked = ", ".join(f"{n:,} questions of {track}" for track, n in found.questions.items())
    read = ", ".join(sorted(set(found.judges.values())))
    for line in (f"asked of both: {asked}; read by {read}", *found.notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


#: The columns of `board show`, most telling first; as many are shown as the terminal has room for.
BOARD_KEYS = (
    "balanced_accuracy", "perception", "image_alignment", "text_alignment", "modality_gap", "over_refusal",
    "general_ability", "diversity",
)  # fmt: skip
_MODEL_WIDTH, _SCORE_WIDTH = 18, 10


def print_board(board: Board, track: str | None, order: str, split: Split | None = None) -> None:
    """The board as a table, one track after the other; reported rows last and without a rank.

    `split` keeps the rows of one split; without it, runs cut down to the test items are left out.

    Under each value stands its interval, under each model its provenance and decoding.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    joined = board.rows["joined"].map(_joined)
    known = sorted({*board.rows["track"], *(name for runs in joined for name in runs)})
    if track and track not in known:
        raise UnknownNameError(f"the board has no track {track!r}; it has {', '.join(known) or 'none'}")
    restricted = board.rows["run_id"].map(is_restricted).astype(bool)
    kept = board.rows[~restricted if split is None else board.rows["split"] == split]
    hidden: set[str] = set()
    for name in [track] if track else sorted(kept["track"].unique()):
        # A run that joined several others is one row.
        own = kept["run_id"].where(kept["track"] == name, joined.map(lambda runs: runs.get(name)))  # noqa: B023
        rows = kept[own.notna() & ~own.duplicated() if track else kept["track"] == name]
        keys = (
            list(about_track(name).scores)
            if track and order not in about_track(name).scores
            else [order, *BOARD_KEYS]
        )
        keys = list(dict.fromkeys(keys))
        room = (console.width - _MODEL_WIDTH - 9) // (_SCORE_WIDTH + 2)
        shown = keys[: max(room, 1)]
        hidden |= set(keys) - set(shown)
        ranked = "balanced_accuracy" in about_track(name).scores
        table = new_table(f"Track {escape(str(name))}, by {keys[0]}")
        table.add_column("rank", justify="right", no_wrap=True)
        table.add_column("model", overflow="fold", min_width=_MODEL_WIDTH)
        for key in shown:
            table.add_column(key.replace("_", " "), justify="right", width=_SCORE_WIDTH)
        measured_first = rows.assign(reported=rows["provenance"] == "reported")
        apart = _told_apart(rows[(rows["provenance"] != "reported") & (rows["track"] == name)])
        for row in measured_first.sort_values(
            ["reported", keys[0]], ascending=[True, False], na_position="last", kind="stable"
        ).to_dict("records"):
            model = escape(model_name(row["model"], row["adapter"]))
            said = [str(row["provenance"])]
            if not row["reported"]:
                said += [_decoding(row), *(f"{column} {row[column]}" for column in apart)]
            table.add_row(
                rank(row["rank_low"], row["rank_high"]) if ranked else MISSING,
                f"{model}{'' if absent(row['guard']) else ' [dim](guard)[/dim]'}\n"
                f"[dim]{escape(', '.join(said))}[/dim]",
                *(_cell(row, key) for key in shown),
                style="italic" if row["reported"] else None,
            )
        console.print(table)
        if apart:
            console.print(
                "rows that were asked otherwise are not comparable; ranks hold among equals", style="dim"
            )
    if hidden:
        more = [key for key in dict.fromkeys((*BOARD_KEYS, *sorted(hidden))) if key in hidden]
        console.print(f"a wider terminal shows {', '.join(more)} as well", style="dim")


def _joined(note: object) -> dict[str, str]:
    """Track -> run id of the runs that joined a row."""
    if not isinstance(note, str):
        return {}
    return dict(part.split("=", 1) for part in note.split(", ") if "=" in part)


def _told_apart(rows: pd.DataFrame) -> list[str]:
    """What of the questions or their reading differs between rows of one track."""
    return [name for name in ("track_version", "split", "draw", "judge") if rows[name].nunique() > 1]


def _decoding(row: Mapping[Any, Any]) -> str:
    drawn = f"T {row['temperature']:g}/{row['top_p']:g}" if row["temperature"] else "greedy"
    return drawn if absent(row["system_prompt"]) else f"{drawn}, with a system prompt"


def _cell(row: Mapping[Any, Any], key: str) -> str:
    bounds = interval(row[f"{key}_low"], row[f"{key}_high"])
    if absent(row[key]):
        return bounds or MISSING
    return f"{fraction(row[key])}\n[dim]{bounds}[/dim]"


def print_models(rows: Sequence[Mapping[str, Any]]) -> None:
    """The known models (see models/listing.py): how each runs and what it needs."""
    from rich.console import Console
    from rich.markup import escape

    table = new_table("Known models; memory is that of the weights in bfloat16")
    table.add_column("model", overflow="fold")
    for name in ("runs", "size", "memory", "access"):
        justify: Any = "right" if name in ("size", "memory") else "left"
        table.add_column(name, justify=justify, no_wrap=True)
    for row in rows:
        paper = f"{row['paper']} in the paper" if row["paper"] else None
        guard = f"guard, asked as {row['guard']}" if row["guard"] else None
        licence = f"licence {row['licence'] or 'not known'}{_mark(row, 'licence')}"
        commit = f"commit {row['commit'][:8]}" if row["commit"] else None
        about = (paper, guard, row["family"], licence, commit, row["note"])
        size, memory = row["parameters"], row["memory_gb"]
        table.add_row(
            f"{escape(row['id'])}\n[dim]{escape('; '.join(part for part in about if part))}[/dim]",
            row["runs"],
            MISSING if size is None else f"{size:g} B{_mark(row, 'parameters')}",
            MISSING if size is None else f"{memory:.3g} GB{_mark(row, 'parameters')}",
            f"{row['access']}{_mark(row, 'access')}",
        )
    console = Console()
    console.print(table)
    console.print(
        "native: in this process. endpoint: behind a server, --endpoint URL. saved: ucbench import-answers.\n"
        "Any other model that AutoModelForImageTextToText loads is asked one question at a time.\n"
        "A known model is loaded at its commit unless --revision names another. ?: not checked.",
        style="dim",
    )


def _mark(row: Mapping[str, Any], field: str) -> str:
    return "?" if field in row["unverified"] else ""


def print_families(rows: Sequence[Mapping[str, Any]]) -> None:
    """The families of models (see models/listing.py): how each is asked."""
    from rich.console import Console
    from rich.markup import escape

    table = new_table("Families, and how each is asked at best")
    table.add_column("family", no_wrap=True)
    table.add_column("model types", overflow="fold")
    table.add_column("asked by", no_wrap=True)
    table.add_column("because", overflow="fold")
    for row in rows:
        why = escape(row["why"] or "")
        table.add_row(row["family"], ", ".join(row["model_types"]), row["ways"][0], why)
    Console().print(table)


def print_checks(checks: list[RunCheck]) -> None:
    """What `board verify` found, a line a run."""
    for check in checks:
        if check.problems:
            state = "DIFFERS"
        elif check.rejudged is None:
            state = "schema only"
        else:
            state = "verified" if check.rejudged else "verdicts not re-judged"
            state += "" if check.compared else ", pictures not at hand"
            state += f", {check.withheld:,} texts withheld" if check.withheld else ""
        # Names of a store that others wrote to may hold signs that a terminal obeys.
        model = "".join(sign if sign.isprintable() else "?" for sign in check.model)
        print(f"{state:<22} {check.run_id}  {model} ({check.provenance})")
        for problem in check.problems:
            print(f"{'':<22} {problem}")


def print_changes(sizes: Mapping[str, int | None], where: str) -> None:
    """Files that are going to be published, with their sizes in bytes; None for one that is removed."""
    for path, size in sizes.items():
        print(f"{'removed' if size is None else f'{size:,}':>14}  {path}")
    total = sum(size or 0 for size in sizes.values())
    print(f"{total:>14,}  bytes in {len(sizes):,} files for {where}; nothing was sent")


def print_parity(found: Parity) -> None:
    """The ways of asking, and what changes from one to another.

    `tokens` is the share before the first difference, `parts at` the middle place of that, `logits apart`
    the middle distance of the two tokens' logits there, `flips` how many verdicts differ.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    model = model_name(found.entry.model, found.entry.adapter)
    n = found.pairs[0].n
    ways = new_table(escape(f"{model}, {found.entry.dtype}: {n:,} questions of {found.track.id}"))
    for name in ("asked", "batch", "seconds", "tokens", "tokens/s"):
        ways.add_column(name, justify="left" if name == "asked" else "right", no_wrap=True)
    for way in found.ways:
        rate = f"{way.tokens / way.seconds:,.0f}" if way.seconds else MISSING
        ways.add_row(way.name, count(way.batch_size), f"{way.seconds:,.1f}", count(way.tokens), rate)
    console.print(ways)
    pairs = new_table("answers of the first against those of the second")
    for name in ("first", "second", "identical", "tokens", "parts at", "logits apart", "flips"):
        pairs.add_column(name, justify="left" if name in ("first", "second") else "right", no_wrap=True)
    for pair in found.pairs:
        place, margin = pair.median_token, pair.median_margin
        pairs.add_row(
            pair.first,
            pair.second,
            f"{pair.identical:,}/{pair.n:,}",
            f"{pair.token_agreement:.4f}",
            MISSING if place is None else f"{place:g}",
            MISSING if margin is None else f"{margin:.3g}",
            count(pair.flips),
        )
    console.print(pairs)
    for pair in found.pairs:
        moved = [f"{key} {change:+.4f}" for key, change in pair.score_changes.items() if change]
        say(f"scores, {pair.first} to {pair.second}: {', '.join(moved) or 'no change'}")
