"""What an audit shows: how often people agree with the judge, by model family.

An answer that was drawn stands for population / labelled answers of its stratum (its weight), and scores the
share of the people who labelled it that agree with the judge. The accuracy is the weighted mean of these.

Its interval is Wilson's on Kish's effective number of answers, (sum of weights)^2 / (sum of squared weights).
The stratified variance estimate is of no use here: a stratum has a handful of answers, mostly all read
rightly, whose variance is then zero. Over simulated audits (8 strata, 33 to 100 answers, accuracies of .80 to
.98) the normal interval on that variance covered .48 to .94, this one .95 to .98.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ucbench.errors import UcbenchError
from ucbench.files import write_text
from ucbench.judges.agreement import agree, kappa_interval
from ucbench.judges.audit import Sample, Unit, labels_of

REPORT = "report.json"
#: Person -> item -> label.
Given = Mapping[str, Mapping[str, str]]


def report(sample: Sample, given: Given) -> dict[str, Any]:
    """Accuracy overall, by family and by kind, confusions, people and their agreement.

    Raises `UcbenchError` when nobody has labelled anything.
    """
    labelled = [unit for unit in sample.units if any(unit.item in labels for labels in given.values())]
    if not labelled:
        raise UcbenchError("nobody has labelled an answer of this audit yet; label some, then report")
    weights = _weights(sample, labelled)

    def part(chosen: Callable[[Unit], bool]) -> dict[str, Any]:
        units = [unit for unit in labelled if chosen(unit)]
        return _accuracy(units, weights, given)

    families = sorted({unit.family for unit in sample.units})
    kinds = sorted({unit.kind for unit in sample.units})
    population = {
        name: sum(stratum.population for stratum in sample.strata if stratum.family == name)
        for name in families
    }
    reached = {unit.stratum for unit in labelled}
    return {
        "audit": sample.id,
        "judge": sample.judge.model_dump(),
        "runs": list(sample.runs),
        "drawn": len(sample.units),
        "labelled": len(labelled),
        "left_out": sample.left_out,
        "strata": list(sample.level),
        "interval": "95%, Wilson on Kish's effective number of answers",
        "represented": sum(sample.strata[index].population for index in reached) / sum(population.values()),
        "overall": part(lambda _: True),
        "families": {
            name: {
                "population": population[name],
                **part(lambda unit, name=name: unit.family == name),  # type: ignore[misc]
                "kinds": {
                    kind: part(lambda unit, name=name, kind=kind: (unit.family, unit.kind) == (name, kind))  # type: ignore[misc]
                    for kind in kinds
                    if any((unit.family, unit.kind) == (name, kind) for unit in labelled)
                },
            }
            for name in families
        },
        "kinds": {kind: part(lambda unit, kind=kind: unit.kind == kind) for kind in kinds},  # type: ignore[misc]
        "confusion": confusion(labelled, weights, given),
        "annotators": {
            name: _accuracy([unit for unit in labelled if unit.item in labels], weights, {name: labels})
            for name, labels in given.items()
        },
        "agreement": _people(given),
    }


def write(sample: Sample, given: Given, place: Path) -> dict[str, Any]:
    """Write `report.json` beside the sample and return what it says."""
    found = report(sample, given)
    write_text(place / REPORT, json.dumps(found, indent=1) + "\n")
    return found


def confusion(labelled: Sequence[Unit], weights: Mapping[int, float], given: Given) -> dict[str, Any]:
    """By group of kinds with the same labels: [label of people][verdict], as labels and as shares.

    `counts` has the answers that were labelled, each divided among the people who labelled it; `shares` has
    what that says of all answers of these kinds, summing to 1.
    """
    groups: dict[tuple[str, ...], set[str]] = {}
    for unit in labelled:
        groups.setdefault(labels_of(unit.kind), set()).add(unit.kind)
    found = {}
    for labels, kinds in sorted(groups.items()):
        counts: Counter[tuple[str, str]] = Counter()
        shares: Counter[tuple[str, str]] = Counter()
        for unit in labelled:
            if unit.kind in kinds:
                said = [own[unit.item] for own in given.values() if unit.item in own]
                for label in said:
                    counts[label, unit.verdict] += 1 / len(said)  # type: ignore[assignment]
                    shares[label, unit.verdict] += weights[unit.stratum] / len(said)  # type: ignore[assignment]
        total = sum(shares.values())
        found[" ".join(sorted(kinds))] = {
            "counts": {x: {y: counts[x, y] for y in labels} for x in labels},
            "shares": {x: {y: shares[x, y] / total for y in labels} for x in labels},
        }
    return found


def _weights(sample: Sample, labelled: Iterable[Unit]) -> dict[int, float]:
    """Stratum -> how many answers of the population each labelled one stands for."""
    seen = Counter(unit.stratum for unit in labelled)
    return {index: sample.strata[index].population / n for index, n in seen.items()}


def _accuracy(units: Sequence[Unit], weights: Mapping[int, float], given: Given) -> dict[str, Any]:
    from ucbench.metrics.intervals import wilson

    if not units:
        return {"accuracy": None, "low": None, "high": None, "labelled": 0, "effective": 0.0}
    own = [weights[unit.stratum] for unit in units]
    value = sum(w * _score(unit, given) for w, unit in zip(own, units, strict=True)) / sum(own)
    effective = sum(own) ** 2 / sum(w * w for w in own)
    low, high = wilson(value, effective)
    return {
        "accuracy": value,
        "low": float(low),
        "high": float(high),
        "labelled": len(units),
        "effective": effective,
    }


def _score(unit: Unit, given: Given) -> float:
    said = [labels[unit.item] for labels in given.values() if unit.item in labels]
    return sum(label == unit.verdict for label in said) / len(said)


def _people(given: Given) -> list[dict[str, Any]]:
    """Cohen's kappa of every two people on the answers that both labelled, each text once."""
    found = []
    for first, second in combinations(given, 2):
        both = [item for item in given[first] if item in given[second]]
        a, b = [given[first][item] for item in both], [given[second][item] for item in both]
        agreed = agree(a, b)
        low, high = kappa_interval(a, b, both) or (None, None)
        found.append(
            {
                "annotators": [first, second],
                "n": agreed.n,
                "agreement": agreed.agreement if agreed.n else None,
                "kappa": agreed.kappa,
                "low": low,
                "high": high,
            }
        )
    return found
