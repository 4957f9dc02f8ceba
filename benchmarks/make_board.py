"""A board of many made-up models, to see and measure the site with: `python benchmarks/make_board.py FOLDER`.

Names begin with `synthetic/`, and so nobody can take them for measurements; the manifest says it too. Tables
have the columns, kinds of groups, concepts and scores of the committed board, so that a page cannot tell the
difference but by the names. There are no run folders behind the rows: their answers cannot be browsed.

    UCBENCH_RESULTS=FOLDER UCBENCH_RUNS=/nowhere ucbench site
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ucbench import board as boards
from ucbench.files import atomic_path, write_text
from ucbench.metrics.keys import KEYS
from ucbench.tracks import registry

ROOT = Path(__file__).resolve().parents[1]
MADE_UP = "made up by benchmarks/make_board.py; no model was asked"
FAMILIES = ("alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "yew")
SIZES = (1, 2, 3, 4, 7, 8, 12, 13, 26, 34, 72, 90)
NEWEST = datetime(2026, 11, 1, tzinfo=UTC)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Models:
    """Who is on the board. Arrays have an item a model."""

    names: list[str]
    run_ids: list[str]
    families: list[str]
    billions: Floats
    provenances: list[str]
    skill: Floats
    adapted: NDArray[np.bool_]
    days: NDArray[np.int64]


def models(n: int, rng: np.random.Generator) -> Models:
    family, size = rng.integers(len(FAMILIES), size=n), rng.integers(len(SIZES), size=n)
    names = [
        f"synthetic/vlm-{number:04}-{FAMILIES[f]}-{SIZES[s]}b"
        for number, (f, s) in enumerate(zip(family, size, strict=True), start=1)
    ]
    provenances = rng.choice(
        ["measured", "self-reported", "imported", "reported"], size=n, p=[0.82, 0.1, 0.04, 0.04]
    )
    days = rng.integers(0, 720, size=n)
    skill = (
        rng.normal(0, 0.5, len(FAMILIES))[family] + 0.35 * (np.log(SIZES)[size] - 2)
        - days / 900 + rng.normal(0, 0.5, n)
    )  # fmt: skip
    run_ids = [hashlib.sha256(name.encode()).hexdigest()[:16] for name in names]
    families, billions = [FAMILIES[place] for place in family], np.array(SIZES, float)[size]
    adapted = rng.random(n) < 0.08
    return Models(names, run_ids, families, billions, provenances.tolist(), skill, adapted, days)


def template() -> pd.DataFrame:
    """Which lines a run has: those of a run that was made, with the numbers of items it was asked."""
    lines = boards.load(ROOT / "results").breakdowns
    return lines[lines["run_id"] == lines["run_id"].iloc[-1]].reset_index(drop=True)


def share(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def told(who: Models, lines: pd.DataFrame, rng: np.random.Generator) -> Floats:
    """The value of every line of every model, [models x lines]."""
    n = len(who.names)
    chance = {
        "perception": (2.4, 0.9, 0.7), "image_alignment": (-0.4, 1.0, 1.2), "text_alignment": (2.2, 0.6, 0.8),
        "over_refusal": (-2.6, -0.2, 0.8), "text_over_refusal": (-3.2, -0.2, 0.6),
        "general_ability": (1.4, 0.8, 0.4), "recognised_called_safe": (0.1, -0.9, 1.0),
    }  # fmt: skip
    strictness = rng.normal(0, 0.9, n)
    adapted = np.where(who.adapted, 2.2, 0.0)
    bent = {
        "image_alignment": strictness + adapted, "over_refusal": strictness + adapted / 4,
        "text_alignment": strictness / 2, "text_over_refusal": strictness / 2,
        "recognised_called_safe": -strictness - adapted,
    }  # fmt: skip
    answered = np.where(rng.random(n) < 0.04, rng.uniform(0.3, 0.9, n), rng.uniform(0.96, 1, n))
    values = np.full((n, len(lines)), np.nan)
    of_concept = (lines["group"] == "concept").to_numpy()
    by_key = {key: of_concept & (lines["key"] == key).to_numpy() for key in lines["key"].unique()}
    for key, (at, slope, spread) in chance.items():
        here = by_key[key]
        hard = rng.normal(0, spread, int(here.sum()))
        logit = at + slope * who.skill[:, None] + hard + rng.normal(0, 0.5, (n, len(hard)))
        asked = lines.loc[here, "n_items"].to_numpy(int)
        values[:, here] = rng.binomial(asked, share(logit + bent.get(key, np.zeros(n))[:, None])) / asked
        if f"{key}_strict" in by_key:
            counted = 1 - (1 - answered[:, None]) * rng.uniform(0, 2, (n, len(hard)))
            values[:, by_key[f"{key}_strict"]] = values[:, here] * np.clip(counted, 0, 1)
    values[:, by_key["modality_gap"]] = (
        values[:, by_key["text_alignment"]] - values[:, by_key["image_alignment"]]
    )
    concepts = {concept.id: concept.category for concept in registry.load("pictograms").concepts}
    held_out = registry.load("pictograms").subsets["held_out"]
    category = lines["group_id"].map(concepts)
    for place, (group, group_id, key) in enumerate(lines[["group", "group_id", "key"]].to_numpy()):
        if group == "concept":
            continue
        mine = by_key.get("modality_gap" if key == "modality_gap_macro" else key, of_concept & False)
        if group == "category":
            mine = mine & (category == group_id).to_numpy()
        elif group == "subset":
            mine = mine & lines["group_id"].isin(held_out).to_numpy()
        if mine.any():
            values[:, place] = values[:, mine].mean(axis=1)
        if group == "question":
            middle = values[:, place] if mine.any() else share(1 + who.skill / 2)
            values[:, place] = np.clip(middle + rng.normal(0, 0.03, n), 0, 1)
    return np.round(values, 9)


def interval(value: Floats, n: Any, signed: Any) -> tuple[Floats, Floats]:
    """A plausible 95% interval: Wilson's for shares, a normal one for gaps."""
    z = 1.96
    wide = z * np.sqrt(np.clip(1 - value**2, 0.02, 1) / n)
    middle = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(np.clip(value * (1 - value), 0, None) / n + z**2 / (4 * n**2))
    low = np.where(signed, np.clip(value - wide, -1, 1), np.clip(middle - half, 0, 1))
    high = np.where(signed, np.clip(value + wide, -1, 1), np.clip(middle + half, 0, 1))
    return np.round(np.minimum(low, value), 9), np.round(np.maximum(high, value), 9)


def breakdowns(who: Models, lines: pd.DataFrame, values: Floats) -> pa.Table:
    """The long table; rows that others report have none of it."""
    kept = np.array([provenance != "reported" for provenance in who.provenances])
    signed = lines["key"].map(lambda key: KEYS[key].signed).to_numpy(bool)
    asked = np.maximum(lines["n_clusters"].to_numpy(float), 1)
    low, high = interval(values[kept], asked, signed)
    n = int(kept.sum())
    # As in a run: a concept named in words has one cluster, and so no interval.
    low[:, asked == 1], high[:, asked == 1] = np.nan, np.nan
    repeated = {name: np.tile(lines[name].to_numpy(object), n) for name in ("group", "group_id", "key")}
    counted = {
        name: np.tile(lines[name].to_numpy(float), n) for name in ("n_items", "n_clusters", "coverage")
    }
    run_ids = np.repeat(np.array(who.run_ids, object)[kept], len(lines))
    numbers = {"value": values[kept].ravel(), "low": low.ravel(), "high": high.ravel()}
    columns: dict[str, Any] = {"run_id": run_ids, **repeated, **numbers, **counted}
    types = pq.read_schema(ROOT / "results" / boards.BREAKDOWNS)
    return pa.table(
        [pa.array(columns[field.name], from_pandas=True).cast(field.type) for field in types], schema=types
    )


def overall(who: Models, lines: pd.DataFrame, values: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """The score columns of the board, from the scores by concept."""
    of_concept = (lines["group"] == "concept").to_numpy()
    found: dict[str, Floats] = {}
    for key in lines.loc[of_concept, "key"].unique():
        by_concept = values[:, of_concept & (lines["key"] == key).to_numpy()]
        found[key] = by_concept.mean(axis=1)
        half = 1.96 * by_concept.std(axis=1) / np.sqrt(by_concept.shape[1])
        floor = -1.0 if KEYS[key].signed else 0.0
        found[f"{key}_low"], found[f"{key}_high"] = (
            np.clip(found[key] - half, floor, 1), np.clip(found[key] + half, floor, 1)
        )  # fmt: skip
        found[f"{key}_coverage"] = np.full(len(who.names), 1.0)
        found[f"{key}_n"] = np.full(len(who.names), 2250.0)
    for part in ("", "_low", "_high", "_coverage", "_n"):
        found[f"modality_gap_macro{part}"] = found[f"modality_gap{part}"]
    answered = found["image_alignment_strict"] / np.maximum(found["image_alignment"], 1e-9)
    for key in ("perception", "image_alignment", "image_alignment_strict", "over_refusal"):
        found[f"{key}_coverage"] = np.clip(answered, 0, 1)
    balanced = (found["image_alignment_strict"] + 1 - found["over_refusal"]) / 2
    half = (
        np.sqrt(
            sum(
                (found[f"{key}_high"] - found[f"{key}_low"]) ** 2
                for key in ("image_alignment", "over_refusal")
            )
        )
        / 4
    )
    found |= {
        "balanced_accuracy": balanced, "balanced_accuracy_low": np.clip(balanced - half, 0, 1),
        "balanced_accuracy_high": np.clip(balanced + half, 0, 1),
        "balanced_accuracy_coverage": found["image_alignment_coverage"],
        "balanced_accuracy_n": np.full(len(balanced), 4500.0),
        "diversity": rng.uniform(0.05, 0.6, len(balanced)),
        "diversity_coverage": np.ones(len(balanced)), "diversity_n": np.full(len(balanced), 4500.0),
    }  # fmt: skip
    return {key: np.round(value, 9) for key, value in found.items()}


def places(low: Floats, high: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places that each of several intervals may have: those that meet share them."""
    first = 1 + len(low) - np.searchsorted(np.sort(low), high, side="right")
    last = len(high) - np.searchsorted(np.sort(high), low, side="left")
    return first, last


def ranks(who: Models, rows: pa.Table, lines: pd.DataFrame, values: Floats) -> pa.Table:
    """Balanced accuracy and ranks within each category of unsafe concepts."""
    table = rows.select(["run_id", "over_refusal", "unranked", "judge", f"{boards.RANK_KEY}_coverage"])
    told = table.to_pandas().set_index("run_id").loc[who.run_ids].reset_index()
    found = []
    for place, (group, category, key) in enumerate(lines[["group", "group_id", "key"]].to_numpy()):
        if (group, key) != ("category", "image_alignment_strict"):
            continue
        frame = pd.DataFrame({"run_id": told["run_id"], "category": category})
        value = (values[:, place] + 1 - told["over_refusal"].to_numpy()) / 2
        low, high = interval(value, 200, False)
        frame[boards.RANK_KEY], frame[f"{boards.RANK_KEY}_low"], frame[f"{boards.RANK_KEY}_high"] = (
            np.round(value, 9), low, high,
        )  # fmt: skip
        frame[f"{boards.RANK_KEY}_coverage"] = told[f"{boards.RANK_KEY}_coverage"]
        frame[f"{boards.RANK_KEY}_n"] = int(lines["n_items"][place]) + 2250
        ranked = told["unranked"].isna().to_numpy()
        first, last = places(low[ranked], high[ranked])
        frame.loc[ranked, "rank_low"], frame.loc[ranked, "rank_high"] = first, last
        frame.loc[ranked, "ranked_among"] = int(ranked.sum())
        found.append(frame[told["judge"].notna()])
    every = pd.concat(found).sort_values(["run_id", "category"])
    arrow = {"t": pa.string(), "f": pa.float64(), "i": pa.int64()}
    schema = pa.schema([(name, arrow[kind]) for name, kind in boards.RANK_TYPES.items()])
    return pa.table(
        [pa.array(every[field.name], from_pandas=True).cast(field.type) for field in schema], schema=schema
    )


def board(who: Models, scores: dict[str, Floats], track: str) -> pa.Table:
    """The board's rows in its order, with rank intervals where scores' intervals do not meet."""
    n = len(who.names)
    table = pd.DataFrame(scores)
    reported = np.array([provenance == "reported" for provenance in who.provenances])
    table.loc[reported, [name for name in table if name.endswith(("_low", "_high", "_coverage"))]] = np.nan
    table.loc[reported, [name for name in table if name.endswith("_n")]] = 0
    table = table.assign(
        run_id=who.run_ids, model=who.names, provenance=who.provenances, track=track, track_version="1",
        entry=[name.replace("/", "-") for name in who.names], draw=0, judge="rules-1", source=None,
        split="test" if track == "pictograms" else "all", status="complete", engine="shared_prefix",
        revision=[run_id * 2 + run_id[:8] for run_id in who.run_ids], dtype="bfloat16", temperature=0.0,
        top_p=1.0, max_new_tokens=512, seed=0, n_samples=901, n_questions=8850, code_version="0.1.0",
        measured_at=[NEWEST - timedelta(days=int(day)) for day in who.days], seconds=600.0,
        family=who.families, parameters=who.billions,
        weights=np.where(who.billions > 50, "closed", np.where(who.billions > 20, "gated", "open")),
        adapter=[f"synthetic/ppo@{'c0ffee' * 6}c0ff" if here else None for here in who.adapted],
        trained_on=[f"{track}/1/train" if here else None for here in who.adapted],
    )  # fmt: skip
    table.loc[reported, ["judge", "dtype", "revision", "measured_at", "source"]] = [None] * 4 + [MADE_UP]
    other = table["provenance"] != "measured"
    few = ~(table["balanced_accuracy_coverage"] >= boards.MIN_COVERAGE)
    table["unranked"] = None
    table.loc[few, "unranked"] = "fewer than half of the questions were answered"
    table.loc[other, "unranked"] = table.loc[other, "provenance"] + ", not measured here"
    ranked = table[table["unranked"].isna()]
    low, high = (ranked[f"balanced_accuracy_{end}"].to_numpy() for end in ("low", "high"))
    first, last = places(low, high)
    table.loc[ranked.index, "rank_low"], table.loc[ranked.index, "rank_high"] = first, last
    table.loc[ranked.index, "ranked_among"] = len(ranked)
    table = table.sort_values(
        ["rank_low", boards.RANK_KEY, "model"], ascending=[True, False, True], na_position="last"
    )
    schema = boards.load_tables(ROOT / "results").rows.schema
    columns = []
    for field in schema:
        cells = table[field.name] if field.name in table else [0 if field.name.endswith("_n") else None] * n
        columns.append(pa.array(cells, from_pandas=True).cast(field.type))
    return pa.table(columns, schema=schema)


def make(out: Path, n: int = 1000, seed: int = 0, track: str = "pictograms") -> None:
    """Write the board of `n` models to `out`. A folder that holds another board is left alone."""
    manifest = out / boards.MANIFEST
    if manifest.exists() and "synthetic" not in json.loads(manifest.read_text()):
        sys.exit(f"{out} holds a board that was measured; name another folder")
    rng = np.random.default_rng(seed)
    who, lines = models(n, rng), template()
    values = told(who, lines, rng)
    rows = board(who, overall(who, lines, values, rng), track)
    tables = {
        boards.BOARD: rows,
        boards.BREAKDOWNS: breakdowns(who, lines, values),
        boards.RANKS: ranks(who, rows, lines, values),
    }
    for name, table in tables.items():
        with atomic_path(out / name) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    real = boards.load_tables(ROOT / "results").manifest
    told_of = {
        **real,
        "as_of": NEWEST.isoformat(timespec="seconds"),
        "guards": {},
        "runs": {
            run_id: {"record.json": hashlib.sha256(run_id.encode()).hexdigest()}
            for run_id in sorted(who.run_ids)
        },
        "tables": {name: boards.digest(out / name) for name in tables},
        "synthetic": MADE_UP,
    }
    write_text(manifest, json.dumps(told_of, indent=1, sort_keys=True) + "\n")
    boards.load(out)  # what a page does with it


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--track", default="pictograms")
    given = parser.parse_args()
    make(given.folder, given.models, given.seed, given.track)
    print(f"{given.models} made-up models in {given.folder}")
