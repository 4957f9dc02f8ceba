"""Whether a row's model can be tried on this site: the way there, or the sentence that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ucbench.format import absent
from ucbench.site.columns import Row
from ucbench.site.trial import here
from ucbench.site.trial.models import SERVED, Choice, asked_for


@dataclass(frozen=True, slots=True)
class Way:
    """What an address of the page "Try a model" calls the model; with none, `why` it cannot be tried.

    `served`: others would serve it, to a visitor who signs in.
    """

    model: str = ""
    served: bool = False
    why: str = ""


def name_of(row: Row) -> str:
    """The name by which a model would be tried: an adapter goes by its own."""
    return str(row["model"]) if absent(row.get("adapter")) else str(row["adapter"]).partition("@")[0]


def way(row: Row, known: Mapping[str, Choice] | None = None) -> Way:
    """The way to try a row's model; `known` are the models on this machine."""
    known = here.models()[0] if known is None else known
    name = name_of(row)
    if not absent(row.get("adapter")):
        if name in known:
            return Way(name)
        return Way(why="Its adapter is not on this machine, so it cannot be tried here.")
    if not absent(row.get("guard")):
        return Way(why="A guard gives verdicts and answers no questions, so it cannot be tried here.")
    found = asked_for(name, known)
    if found is None:
        return Way(
            why="Neither this machine nor a provider that is known has it, so it cannot be tried here."
        )
    return Way(name, served=found.id == SERVED)


def otherwise(row: Row) -> str:
    """How a live try differs from how the row's model was asked: a few words, empty where it does not.

    Live tries are greedy and without a system prompt.
    """
    temperature = row.get("temperature")
    # How imported answers were drawn is not known.
    known = row.get("provenance") != "imported" and not absent(temperature)
    sampled = known and float(temperature) > 0  # type: ignore[arg-type]
    prompted = not absent(row.get("system_prompt")) and bool(row["system_prompt"])
    ways = ["greedily"] * sampled + ["without its system prompt"] * prompted
    return f"here {' and '.join(ways)}" if ways else ""
