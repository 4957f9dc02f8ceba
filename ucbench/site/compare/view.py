"""Models side by side: what the paired differences are, in figures and in words.

Differences are always another model's score minus that of the first, which the page calls A.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ucbench import taxonomy
from ucbench.board import RANK_KEY
from ucbench.comparison import ahead, furthest, told_apart
from ucbench.format import concept_title, count, escape, fraction, interval
from ucbench.metrics.keys import KEYS
from ucbench.metrics.paired import Contrast
from ucbench.site.columns import Row, columns_of, filled
from ucbench.site.compare import pairs
from ucbench.site.compare.pairs import Compared
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures import score_table, svg, tables
from ucbench.site.figures.charts import Reading, reading
from ucbench.site.figures.score_table import Pair
from ucbench.site.leaderboard.view import Scope
from ucbench.site.leaderboard.view import table as scored
from ucbench.site.links import link
from ucbench.site.track_views import view
from ucbench.tracks.about import about

FEWEST, MOST = 2, 4
#: How the page calls the models, the first being the one that the others are set against.
LETTERS = "ABCD"


def labels(rows: Sequence[Row]) -> dict[str, str]:
    """A name a run; runs of one model are told apart by their identity, alike ones by their id."""
    names = [tables.name(row) for row in rows]
    seen = Counter(names)
    longer = [
        text if seen[text] == 1 else f"{text} ({tables.identity(row) or row['provenance']})"
        for row, text in zip(rows, names, strict=True)
    ]
    twice = Counter(longer)
    return {
        str(row["run_id"]): text if twice[text] == 1 else f"{text}, {str(row['run_id'])[:6]}"
        for row, text in zip(rows, longer, strict=True)
    }


def choices(board: LoadedBoard, track: str) -> dict[str, str]:
    """The runs of a track that can be picked, by their id, in the board's order."""
    return _choices(_Board(board), track)


class _Board:
    """A board as a key: two of one digest are one."""

    def __init__(self, board: LoadedBoard) -> None:
        self.board = board

    def __hash__(self) -> int:
        return hash(self.board.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Board) and other.board.digest == self.board.digest


@lru_cache(maxsize=16)
def _choices(board: _Board, track: str) -> dict[str, str]:
    return labels(board.board.of_track(track))


def rows(board: LoadedBoard, track: str, category: str | None, run_ids: Sequence[str]) -> list[Row]:
    """The rows of some runs, those that there are; in a category with their scores there."""
    if category is None:
        return [row for row in map(board.row, run_ids) if row is not None]
    shown = scored(board, Scope(track, category))
    return [shown.rows[shown.places[run_id]] for run_id in run_ids if run_id in shown.places]


def wanted(told: str | None) -> list[str]:
    """The run ids of an address, each once."""
    return [run_id for run_id in dict.fromkeys((told or "").split(",")) if run_id]


@dataclass(frozen=True, slots=True)
class Against:
    """Another model beside the first, over everything or in a category."""

    letter: str
    row: Row
    told: Compared
    category: str | None = None

    @property
    def scores(self) -> Mapping[str, Contrast]:
        """Its differences to the first; none where they cannot be known."""
        found = self.told.found
        if found is None:
            return {}
        if self.category is None:
            return found.scores
        inside = {key: by.get(self.category) for key, by in found.by_category.items()}
        return {key: contrast for key, contrast in inside.items() if contrast is not None}

    def concepts(self, key: str) -> Mapping[str, Contrast]:
        """Its differences by concept."""
        found = self.told.found
        by_concept = {} if found is None else found.by_concept.get(key, {})
        if self.category is None:
            return by_concept
        inside = {concept.id for concept in taxonomy.category(self.category).concepts}
        return {name: contrast for name, contrast in by_concept.items() if name in inside}


@dataclass(frozen=True, slots=True)
class Table:
    """The first model and the others, by the scores of their track that any of them has."""

    first: Row
    others: tuple[Against, ...]
    keys: tuple[str, ...]
    apart: Mapping[tuple[str, str], bool]
    category: str | None = None

    @property
    def tested(self) -> int:
        """How many differences the correction is over."""
        return len(self.apart)


def table_of(rows: Sequence[Row], category: str | None = None) -> Table:
    """Compare the first of some rows of one track with each of the others.

    In a category the rows are those with the scores there.
    """
    first, *rest = rows
    others = tuple(
        Against(letter, row, pairs.compared(first, row), category)
        for letter, row in zip(LETTERS[1:], rest, strict=False)
    )
    keys = tuple(column.key for column in filled(columns_of(str(first["track"])), rows))
    if category is not None and (told := {key for other in others for key in other.scores}):
        keys = tuple(key for key in keys if key in told)
    contrasts = {
        (other.letter, key): other.scores[key] for other in others for key in keys if key in other.scores
    }
    return Table(first, others, keys, told_apart(contrasts), category)


# --- words ---


def sentence(table: Table, names: Mapping[str, str]) -> str:
    """What the comparison comes to, as HTML; empty where nothing could be compared."""
    found = [other for other in table.others if other.told.found is not None]
    if not found:
        return ""
    scored = {key for other in found for key in other.scores}
    usual = (RANK_KEY,) if table.category is None else _LEADING
    key = next((one for one in usual if one in scored), table.keys[0])
    first, within = _name(table.first, names), _within(table)
    if len(table.others) == 1:
        other = found[0]
        told = [place for place in table.apart if place[0] == other.letter]
        separable = sum(table.apart[place] for place in told)
        assert other.told.found is not None
        on = f"the {count(other.told.found.n_questions)} questions that both were asked"
        if table.category is not None:
            on = f"what both were asked {within}"
        scores = "scores" if len(told) == len(other.scores) else "scores that can be tested"
        if not separable:
            return (
                f'<p class="finding">{first} and {_name(other.row, names)} cannot be told apart by any of '
                f"{len(told)} {scores} on {on}.</p>"
            )
        number = "all" if separable == len(told) else str(separable)
        lead = f" {_led(table, other, key, names)}" if key in other.scores else ""
        return (
            f'<p class="finding">{first} and {_name(other.row, names)} are separable by {number} of '
            f"{len(told)} {scores} on {on}.{lead}</p>"
        )
    parts = []
    for other in found:
        contrast = other.scores.get(key)
        if contrast is None:
            continue
        who, by = ahead(key, contrast), fraction(abs(contrast.difference.value))
        if not table.apart.get((other.letter, key)):
            parts.append(f"{_name(other.row, names)} cannot be told apart from it")
        elif who == "second":
            parts.append(f"{_name(other.row, names)} is <b>{by}</b> ahead")
        else:
            parts.append(f"{_name(other.row, names)} is <b>{by}</b> behind")
    by = " ".join(part for part in (f"by {escape(KEYS[key].title.lower())}", within) if part)
    return f'<p class="finding">Beside {first}, {by}: {"; ".join(parts)}.</p>' if parts else ""


#: What leads in a category: of ranks there is none by the questions of both.
_LEADING = ("image_alignment",)


def _within(table: Table) -> str:
    """`about Hate`, where a category is compared; HTML."""
    return "" if table.category is None else f"about {escape(taxonomy.category(table.category).name)}"


def _led(table: Table, other: Against, key: str, names: Mapping[str, str]) -> str:
    contrast = other.scores[key]
    title = escape(KEYS[key].title.lower())
    if not table.apart.get((other.letter, key)):
        return f"By {title} they cannot be told apart."
    winner = other.row if ahead(key, contrast) == "second" else table.first
    difference = contrast.difference
    between = interval(difference.low, difference.high, signed=True)
    signed = f"{other.letter} minus {LETTERS[0]}: {fraction(difference.value, signed=True)}"
    more = f' <span class="quiet between">({signed}{f", {between}" if between else ""})</span>'
    return f"By {title}, {_name(winner, names)} is <b>{fraction(abs(difference.value))}</b> ahead{more}."


#: A longer name would drown a sentence; the legend says whose letter it is.
_SHORT = 32


def _name(row: Row, names: Mapping[str, str]) -> str:
    """What a sentence calls a model: its name, or its letter where any of the names is long."""
    text = names[str(row["run_id"])]
    if all(len(one) <= _SHORT for one in names.values()):
        return f'<span class="name">{escape(text)}</span>'
    letter = LETTERS[list(names).index(str(row["run_id"]))]
    return f'<span class="name" title="{escape(text)}">{letter}</span>'


def what_was_compared(
    table: Table, first: str = LETTERS[0], minus: str = "Differences are another model's score minus A's"
) -> list[str]:
    """Sentences on the questions, the judge and the versions behind the figures, and what was left out.

    `first` is what the first model is called, `minus` the words for what is subtracted from what.
    """
    told = []
    for other in table.others:
        pair = f"A and {other.letter}" if len(table.others) > 1 else "Both"
        found = other.told.found
        if found is None:
            told.append(f"{'' if len(table.others) == 1 else f'{other.letter}: '}{other.told.problem}")
            continue
        asked = ", ".join(
            f"{count(n)} questions of {about(track).name} (version {found.versions[track]})"
            for track, n in found.questions.items()
        )
        concepts = f" about {count(found.n_concepts)} unsafe concepts" if found.n_concepts else ""
        read = " and ".join(sorted(set(found.judges.values())))
        told.append(f"{pair} were asked {asked}{concepts}; the judge {read} read the answers.")
        if len({*found.asked, found.questions.get(found.track, 0)}) > 1:
            told.append(
                f"{first} was asked {count(found.asked[0])} questions there, the other "
                f"{count(found.asked[1])}: those that both were asked count here."
            )
        told += found.notes
    if table.category is not None and table.others:
        here = taxonomy.category(table.category)
        told.append(
            f"All figures are for the {len(here.concepts)} concepts of {here.name}; scores that need safe "
            "images are not compared there."
        )
    untested = sum(len(other.scores) for other in table.others) > table.tested
    if table.tested:
        what = "whole concepts" if table.category is None else "the images of each concept"
        told.append(
            f"{minus}, with 95% intervals: {what} are resampled, of both models by the same draws. "
            "Separable: more than chance at .05, by Holm's method over the "
            f"{count(table.tested)} differences {'tested' if untested else 'shown'}."
        )
        if untested:
            told.append(
                "Not tested: what has no interval. Named in words a concept of a category is known exactly; "
                "of fewer than five images, or two concepts, too little is known."
            )
    return told


# --- figures ---


def legend(rows: Sequence[Row], names: Mapping[str, str]) -> str:
    """The models by their letters, each with its page; another one can be made the first."""
    lines = []
    for letter, row in zip(LETTERS, rows, strict=False):
        run_id = str(row["run_id"])
        aside = [tables.identity(row), "" if row["provenance"] == "measured" else str(row["provenance"])]
        meta = escape(" · ".join(part for part in aside if part))
        swap = (
            f'<span class="quiet">{"B is" if len(rows) == FEWEST else "the others are"} set against it</span>'
            if letter == LETTERS[0]
            else f'<button type="button" class="quiet" data-choose="first:{escape(run_id)}">'
            f"Set {'A' if len(rows) == FEWEST else 'the others'} against {letter}"
            f'<span class="hidden">, {escape(names[run_id])}</span></button>'
        )
        lines.append(
            f'<li><b class="letter-mark">{letter}</b><span>{link(tables.name(row), "model", run=run_id)}'
            f'<span class="quiet meta">{meta}</span></span>{swap}</li>'
        )
    return f'<ol class="compared">{"".join(lines)}</ol>'


def scores(table: Table, names: Mapping[str, str] | None = None) -> str:
    """Every score, with the differences of the others to the first; side by side where nothing is known."""
    rows = [table.first, *(other.row for other in table.others)]
    if not any(other.scores for other in table.others):
        return score_table.side_by_side(
            [(key, [own(row, key) for row in rows]) for key in table.keys],
            heads=LETTERS[: len(rows)],
            caption="Scores of the models side by side",
        )
    lines = _pairs(table, names or {})
    several = len(table.others) > 1
    other_head = "Other" if several else LETTERS[1]
    return score_table.differences(
        lines,
        heads=("Model" if several else "Score", LETTERS[0], other_head),
        caption="Scores of the models and their differences",
        end=score_table.widest(lines),
    )


def _pairs(table: Table, names: Mapping[str, str]) -> list[Pair]:
    """A line a score and model."""
    lines: list[Pair] = []
    several = len(table.others) > 1
    for key in table.keys:
        place = -1
        for other in table.others:
            contrast = other.scores.get(key)
            first, second = readings(table.first, other.row, key, contrast)
            if several and not second.exists:
                continue
            place += 1
            lines.append(
                Pair(
                    name=f"{other.letter}  {names.get(str(other.row['run_id']), '')}".strip()
                    if several
                    else KEYS[key].title,
                    reference=first,
                    other=second,
                    contrast=contrast,
                    apart=table.apart.get((other.letter, key)),
                    better=_ahead(key, contrast, LETTERS[0], other.letter),
                    aside="" if contrast or not (first.exists and second.exists) else "not compared",
                    untested=score_table.NOT_TESTED if contrast else "",
                    key=key,
                    group=KEYS[key].title if several and place == 0 else "",
                    named=not several,
                )
            )
    return lines


def picture(board: LoadedBoard, table: Table, names: Mapping[str, str]) -> str:
    """The differences as an SVG file."""
    several = len(table.others) > 1
    first = names[str(table.first["run_id"])]
    of = f"track {about(str(table.first['track'])).name}"
    if table.category is not None:
        of += f", {taxonomy.category(table.category).name}"
    who = [f"A: {first}", *(f"{other.letter}: {names[str(other.row['run_id'])]}" for other in table.others)]
    return svg.differences(
        _pairs(table, names),
        heads=("Model" if several else "Score", LETTERS[0], "Other" if several else LETTERS[1]),
        title="Do they differ?",
        legend=who,
        foot=svg.foot(board, [of, svg.n_of(len(who), "model")]),
    )


def readings(first: Row, second: Row, key: str, contrast: Contrast | None) -> tuple[Reading, Reading]:
    """Over the shared questions where those are known, else as the rows have them."""
    if contrast is not None:
        return Reading(contrast.first), Reading(contrast.second)
    return own(first, key), own(second, key)


def _ahead(key: str, contrast: Contrast | None, first: str, second: str) -> str:
    """In whose favour a difference is; nothing where it is in nobody's."""
    if contrast is None:
        return ""
    who = ahead(key, contrast)
    return "" if who == "neither" else f"{first if who == 'first' else second} ahead"


def own(row: Row, key: str) -> Reading:
    """A score as its row has it."""
    return reading(*(row.get(f"{key}{part}") for part in ("", "_low", "_high")))


def concepts(table: Table, other: Against, key: str, places: slice) -> str:
    """The concepts on which another model differs most from the first, by one score."""
    contrasts = other.concepts(key)
    ordered = furthest(contrasts)
    names = {concept.id: concept for concept in taxonomy.concepts()}
    categories = {category.id: category.name for category in taxonomy.categories()}
    lines = []
    for concept_id, contrast in ordered[places]:
        concept = names.get(concept_id)
        title = concept_title(concept.name) if concept else concept_id
        category = categories.get(concept.category, "") if concept else ""
        runs = ((LETTERS[0], table.first), (other.letter, other.row))
        answers = " ".join(
            link(letter, "answers", run=str(row["run_id"]), concept=concept_id,
                 title=f"What {tables.name(row)} answered about {title}")
            for letter, row in runs
        )  # fmt: skip
        lines.append(
            Pair(
                name=title,
                reference=Reading(contrast.first),
                other=Reading(contrast.second),
                contrast=contrast,
                aside=answers,
                link=link(title, "concepts", concept=concept_id, track=pairs.track_query(table.first))
                + f'<span class="quiet">{escape(category)}</span>',
                signed=KEYS[key].signed,
            )
        )
    every = [Pair("", Reading(), Reading(), contrast) for contrast in contrasts.values()]
    return score_table.differences(
        lines,
        heads=("Concept", LETTERS[0], other.letter),
        caption=f"Concepts by difference in {KEYS[key].title.lower()}",
        end=score_table.widest(every),
        last="Answers of",
    )


def n_concepts(other: Against, key: str) -> int:
    """On how many concepts two models can be compared by a score."""
    return len(other.concepts(key))


def within(table: Table) -> list[str]:
    """The scores by which concepts can be compared with any of the others."""
    heat = view(str(table.first["track"])).heat
    return [key for key in heat if any(n_concepts(other, key) for other in table.others)]


def rows_of(table: Table, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The differences as a table to take home."""
    found = []
    for other in table.others:
        for key in table.keys:
            contrast = other.scores.get(key)
            first, second = readings(table.first, other.row, key, contrast)
            line: dict[str, Any] = {
                "score": key,
                **({} if table.category is None else {"category": table.category}),
                "a": names[str(table.first["run_id"])],
                "a_run_id": table.first["run_id"],
                "b": names[str(other.row["run_id"])],
                "b_run_id": other.row["run_id"],
                "a_value": first.value,
                "b_value": second.value,
            }
            if contrast is not None:
                difference = contrast.difference
                line |= {"difference": difference.value, "low": difference.low, "high": difference.high,
                         "p": difference.p, "separable": table.apart.get((other.letter, key))}  # fmt: skip
            found.append(line)
    return found
