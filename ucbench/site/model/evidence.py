"""Why a run's scores can be relied on, as HTML: what became of its questions, who read them, how fast.

Pure functions; every outside text is escaped in `tables`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ucbench.format import count, fraction, interval, seconds
from ucbench.metrics.keys import KEYS
from ucbench.parity import ONE_AT_A_TIME, Pair, Parity
from ucbench.record import Counts, Engine, Usage
from ucbench.site.data.run import Agreement, Audit, Part
from ucbench.site.figures import tables
from ucbench.site.figures.charts import Reading
from ucbench.tracks.about import about

#: The ways of our own engine.
LOCAL = ("one_at_a_time", "batched", "shared_prefix", "shared_vision")

#: How the ways of asking are called.
WAYS = {
    "one_at_a_time": "one at a time",
    "batched": "in batches",
    "shared_prefix": "picture and prompt shared",
    "shared_vision": "picture encoded once",
    "engine": "by the engine",
    "endpoint": "by a service",
    "saved": "elsewhere, and saved",
}


def way(name: str) -> str:
    """A way of asking in words."""
    return WAYS.get(name, name.replace("_", " "))


def outcomes(parts: Sequence[Part]) -> str:
    """What became of the questions of each run; the kinds of non-answer stand apart."""
    found = [_outcomes(part.counts) for part in parts]
    caption = "What became of the questions"
    if len(found) == 1:
        return tables.grid([(name, [cell]) for name, cell in found[0].items()], heads=[], caption=caption)
    heads = list(dict.fromkeys(name for one in found for name in one))
    lines = [
        (about(part.record.track.id).name, [one.get(head, "") for head in heads])
        for part, one in zip(parts, found, strict=True)
    ]
    return tables.grid(lines, heads=heads, caption=caption, corner="Track", cards=True)


def _outcomes(counts: Counts) -> dict[str, str]:
    kinds = ", ".join(f"{kind.replace('_', ' ')} {count(n)}" for kind, n in sorted(counts.errors.items()))
    errors = _share(sum(counts.errors.values()), counts.questions)
    told = {
        "Questions": count(counts.questions),
        "With a verdict": _share(counts.answered, counts.questions),
        "No verdict in the answer": _share(counts.na, counts.questions),
        "Refused by the provider": _share(counts.provider_refusals, counts.questions),
        "System errors": f"{errors}: {kinds}" if kinds else errors,
    }
    if counts.truncated:
        told["Cut at the token limit"] = count(counts.truncated)
    if counts.verdicts is not None:
        told["Guard's verdicts behind them"] = count(counts.verdicts)
    return told


def _share(n: int, of: int) -> str:
    """A count with its share, which is never rounded to none or all."""
    if not n:
        return "0"
    share = n / of
    near = "all" if n == of else "over .99" if share >= 0.995 else "under .01" if share < 0.005 else ""
    return f"{count(n)} ({near or fraction(share)})"


def read_by(ways: Mapping[str, int]) -> str:
    """The rules or paths that read answers, most used first."""
    ordered = sorted(ways.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{how.replace('_', ' ')} {count(n)}" for how, n in ordered)


def tokens(usage: Usage | None) -> str:
    """What a service counted."""
    if usage is None or not usage.input_tokens + usage.output_tokens:
        return ""
    thinking = f", {count(usage.thinking_tokens)} of them spent thinking" if usage.thinking_tokens else ""
    return f"{count(usage.input_tokens)} in, {count(usage.output_tokens)} out{thinking}"


def cost(usage: Usage | None) -> str:
    """What the tokens cost at the prices given, which say nothing of a currency."""
    if usage is None or usage.cost is None:
        return ""
    return (
        f"{usage.cost:,.2f} at {usage.price_input:g} a million tokens in and {usage.price_output:g} out"
        if usage.cost >= 0.01
        else f"under .01 at {usage.price_input:g} a million tokens in and {usage.price_output:g} out"
    )


def notes(engine: Engine) -> list[str]:
    """What the engine noted, one line each."""
    halved = engine.out_of_memory_halvings
    memory = [f"the batch was halved {halved} times for want of memory"] if halved else []
    return [*engine.notes, *memory]


def judges(own: str, agreed: Sequence[Agreement], audits: Sequence[Audit]) -> str:
    """How other judges and people read the same answers as the judge `own`."""
    lines: list[tuple[str, list[str]]] = [
        (f"the judge {other.judge}", [fraction(other.share), "", _kappa(other.kappa), count(other.n)])
        for other in agreed
    ]
    for audit in audits:
        who = "a person" if audit.people == 1 else f"{audit.people} people"
        for reading, n, of in (
            (audit.accuracy, audit.labelled, "models like this one"),
            (audit.overall, audit.overall_labelled, "all models"),
        ):
            if reading.exists:
                between = interval(reading.low, reading.high)
                lines.append((f"{who}, {of}", [fraction(reading.value), between, "", count(n)]))
    heads = ["Same label", "95% interval", "Kappa", "Answers"]
    used = [place for place in range(len(heads)) if any(cells[place] for _, cells in lines)]
    lines = [(name, [cells[place] for place in used]) for name, cells in lines]
    heads = [heads[place] for place in used]
    caption = f"How far others agree with the judge {own}"
    return tables.grid(lines, heads=heads, caption=caption, corner="Compared with", cards=True)


def _kappa(kappa: Reading) -> str:
    if kappa.value is None:
        return ""
    between = interval(kappa.low, kappa.high)
    return fraction(kappa.value) + (f" ({between})" if between else "")


def parity(found: Parity) -> str:
    """One line a way of asking: its speed, and how its answers differ from those asked one at a time."""
    slow = next((w for w in found.ways if w.name == ONE_AT_A_TIME), found.ways[0])
    pairs = {pair.second: pair for pair in found.pairs if pair.first == slow.name}
    lines = []
    for one in found.ways:
        pair = pairs.get(one.name)
        faster = slow.seconds / one.seconds if one.seconds and one is not slow else None
        lines.append(
            (
                way(one.name),
                [
                    seconds(one.seconds)
                    if one.seconds >= 10
                    else f"{one.seconds:.{1 if one.seconds >= 1 else 2}f} s",
                    f"{faster:.1f} ×" if faster else "",
                    "" if pair is None else _agreement(pair.token_agreement),
                    "" if pair is None else f"{count(pair.flips)} of {count(pair.n)}",
                    "" if pair is None else largest_change(pair),
                ],
            )
        )
    heads = ["Time", "Faster", "Same tokens", "Verdicts flipped", "Largest score change"]
    return tables.grid(lines, heads=heads, caption="Fast against slow", corner="Asked", cards=True)


def _agreement(share: float) -> str:
    """Never rounded up to all."""
    return "1.00" if share == 1 else min(fraction(share), ".99", key=float)


def largest_change(pair: Pair) -> str:
    """The score that differs most between two ways of asking, signed."""
    changes = {key: change for key, change in pair.score_changes.items() if change}
    if not changes:
        return "none"
    key = max(changes, key=lambda name: abs(changes[name]))
    change = changes[key]
    figure = fraction(change, signed=True)
    title = KEYS[key].title if key in KEYS else key
    return f"{'under .01' if figure == '.00' else figure}, {title.lower()}"


def parity_note(found: Parity, engine: Engine) -> str:
    """What was compared, where, and which way the run itself was asked."""
    where = found.hardware.get("gpu") or found.hardware.get("processor") or found.hardware.get("device", "")
    parts = [
        f"{count(found.track.n_questions)} questions about {count(found.track.n_samples)} pictures",
        f"in {found.entry.dtype}" if found.entry.dtype else "",
        f"on {where}" if where else "",
    ]
    asked = f" This run was asked {way(engine.path)}." if engine.path != "unknown" else ""
    return " ".join(part for part in parts if part) + "." + asked
