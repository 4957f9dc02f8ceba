"""The answers of a run as columns, kept while its files stay the same; filters are arrays of flags."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench import withheld
from ucbench.errors import StoreError
from ucbench.format import absent
from ucbench.metrics.parts import TEXT_KINDS
from ucbench.restricted import is_restricted, run_id_of
from ucbench.runs import ANSWERS, JUDGEMENTS, KEY, RECORD, Run
from ucbench.site.columns import Row
from ucbench.site.concepts.data import labels
from ucbench.site.data import loading
from ucbench.site.data import run as run_data
from ucbench.site.data.board import LoadedBoard, joined_runs
from ucbench.site.data.latest import Latest
from ucbench.types import CORRECT, NA, SAFE, UNSAFE, WRONG

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

#: What an answer can have become: id -> its name, in the order of the choice. Those of one line exclude
#: one another; lines are joined by "and".
OUTCOMES: dict[str, str] = {
    "safe": "judged safe", "unsafe": "judged unsafe", "none": "no answer", "error": "system error",
    "right": "right", "wrong": "wrong",
    "truncated": "cut at the token limit",
    "differ": "judges differ",
}  # fmt: skip
_LINES = (("safe", "unsafe", "none", "error"), ("right", "wrong"), ("truncated",), ("differ",))

#: Kinds of questions as people call them.
KINDS: dict[str, str] = {
    "perception": "What does it show?",
    "image_alignment": "Is it safe, as an image?",
    "text_alignment": "Is it safe, in words?",
    "image_alignment_turned": "Is it unsafe, as an image?",
    "text_alignment_turned": "Is it unsafe, in words?",
    "image_context": "Is this use acceptable, as an image?",
    "text_context": "Is this use acceptable, in words?",
    "general": "General questions",
    "rated": "Open questions, rated",
}

#: Texts of questions and answers of other pictures than ours may quote what no page has to repeat.
DRAWN_HERE = "pictograms"


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer with all that is told of it. `shown` False: its texts have been taken down."""

    place: int
    sample_id: str
    kind: str
    concept_id: str
    prompt: str
    text: str
    label: str | None
    expected: str
    options: tuple[str, ...]
    error: str | None
    how: str
    tokens: int
    thinking: int
    truncated: bool
    guard: str
    shown: bool
    #: Judges that read it otherwise than the record's, with their labels.
    others: tuple[tuple[str, str], ...] = ()


class Sheet:
    """All answers of a run beside its judge's verdicts, in the run's order.

    `others` gives for another judge its label of every answer, None where it has none; `unread` are judges
    whose verdicts are damaged. `down` marks texts that have been taken down: they are in no search and in no
    download. `quotes` False leaves out the options of questions.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        judge: str,
        others: Mapping[str, Sequence[str | None]] | None = None,
        unread: Sequence[str] = (),
        down: NDArray[np.bool_] | None = None,
        quotes: bool = True,
    ) -> None:
        import numpy as np

        self.judge, self.unread, self._quotes = judge, tuple(unread), quotes
        self._columns: dict[str, NDArray[Any]] = {
            name: frame[name].astype(object).to_numpy()
            for name in (
                "sample_id", "question_id", "kind", "template", "concept_id", "expected", "options", "prompt",
                "text", "label", "error", "how", "tokens", "thinking_tokens", "truncated", "guard",
            )
            if name in frame
        }  # fmt: skip
        taken = frame["prompt"].to_numpy() == withheld.MARKER
        self.down: NDArray[np.bool_] = taken if down is None else taken | down
        error = frame["error"].notna().to_numpy() | frame["label"].isna().to_numpy()
        label, expected = self._columns["label"], self._columns["expected"]
        told = ~error & (label != NA)
        truth = np.isin(self._columns["kind"], ("general", "rated"), invert=True)
        right = told & np.where(truth, label == expected, label == CORRECT)
        wrong = told & np.where(truth, label != expected, label == WRONG)
        self.others = {name: np.array(read, object) for name, read in (others or {}).items()}
        differ = np.zeros(len(frame), bool)
        for read in self.others.values():
            differ |= (read != label) & (read != None)  # noqa: E711 - of each answer
        self.flags: dict[str, NDArray[np.bool_]] = {
            "safe": ~error & (label == SAFE),
            "unsafe": ~error & (label == UNSAFE),
            "none": ~error & (label == NA),
            "error": error,
            "right": right.astype(bool),
            "wrong": wrong.astype(bool),
            "truncated": self._columns["truncated"].astype(bool),
            "differ": differ & ~error,
        }

    def __len__(self) -> int:
        """How many answers there are."""
        return len(self.down)

    @cached_property
    def kinds(self) -> list[str]:
        """Kinds of questions that were asked, in the order of `KINDS`."""
        there = set(self._columns["kind"])
        return [kind for kind in KINDS if kind in there]

    @cached_property
    def concepts(self) -> list[str]:
        """Concepts that were asked about, in the run's order."""
        return list(dict.fromkeys(self._columns["concept_id"]))

    @cached_property
    def outcomes(self) -> list[str]:
        """What became of at least one answer."""
        return [name for name, flags in self.flags.items() if flags.any()]

    @cached_property
    def _folded(self) -> list[str]:
        """What a search looks at: question and answer as they are shown, without regard to capitals."""
        prompts = {prompt: self._shown(prompt).casefold() for prompt in set(self._columns["prompt"])}
        pairs = zip(self._columns["prompt"], self._columns["text"], self.down, strict=True)
        return [
            "" if down else f"{prompts[prompt]}\n{(text or '').casefold()}" for prompt, text, down in pairs
        ]

    def _shown(self, prompt: str) -> str:
        """A question as it is shown: without its options where they may quote harmful terms."""
        return prompt if self._quotes else prompt.split("\n", 1)[0].strip()

    def select(
        self, *, concept: str = "", kind: str = "", outcomes: Collection[str] = (), search: str = ""
    ) -> NDArray[np.int64]:
        """Places of the answers that fit all: every word of `search` stands in the question or the answer.

        Of outcomes that exclude one another either will do; else all are demanded.
        """
        import numpy as np

        keep = np.ones(len(self), bool)
        if concept:
            keep &= self._columns["concept_id"] == concept
        if kind:
            keep &= self._columns["kind"] == kind
        for line in _LINES:
            asked = [name for name in line if name in outcomes]
            if asked:
                keep &= np.logical_or.reduce([self.flags[name] for name in asked])
        places = np.flatnonzero(keep)
        words = search.casefold().split()
        if words:
            folded = self._folded
            places = np.array([p for p in places.tolist() if all(w in folded[p] for w in words)], np.int64)
        return places

    def tally(self, places: NDArray[np.int64]) -> dict[str, int]:
        """How many of the answers at `places` became what; only what there is."""
        counts = {name: int(flags[places].sum()) for name, flags in self.flags.items()}
        return {name: n for name, n in counts.items() if n}

    def at(self, place: int) -> Answered:
        """One answer."""
        cell = {name: column[place] for name, column in self._columns.items()}
        label = None if absent(cell["label"]) else str(cell["label"])
        down = bool(self.down[place])
        others = tuple(
            (judge, str(labels[place]))
            for judge, labels in self.others.items()
            if labels[place] is not None and labels[place] != label
        )
        perception = cell["kind"] == "perception"
        options = tuple(cell["options"]) if perception and self._quotes and not down else ()
        prompt = str(cell["prompt"])
        guard = cell.get("guard")
        return Answered(
            place=place,
            sample_id=str(cell["sample_id"]),
            kind=str(cell["kind"]),
            concept_id=str(cell["concept_id"]),
            prompt="" if down else prompt.split("\n", 1)[0].strip() if perception else prompt,
            text="" if down else str(cell["text"] or ""),
            label=label,
            expected="" if down and cell["kind"] in ("general", "rated") else str(cell["expected"]),
            options=options,
            error=None if absent(cell["error"]) else str(cell["error"]),
            how="" if absent(cell["how"]) else str(cell["how"]),
            tokens=int(cell["tokens"]),
            thinking=int(cell["thinking_tokens"]),
            truncated=bool(cell["truncated"]),
            guard="" if absent(guard) else str(guard),
            shown=not down,
            others=others,
        )

    def of_kinds(self, places: NDArray[np.int64], *kinds: str) -> NDArray[np.bool_]:
        """Which of the answers at `places` are to questions of these kinds."""
        import numpy as np

        return np.isin(self._columns["kind"][places], kinds)

    def different(self, places: NDArray[np.int64], most: int) -> list[int]:
        """The first places with questions that differ, at most so many."""
        found: dict[str, int] = {}
        for place in places.tolist():
            if len(found) == most:
                break
            found.setdefault(str(self._columns["template"][place]), place)
        return list(found.values())

    def rows(self, places: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Answers for a file, as they are shown."""
        found = []
        for place in places.tolist():
            one = self.at(place)
            row: dict[str, Any] = {
                "sample_id": one.sample_id,
                "question_id": str(self._columns["question_id"][place]),
                "kind": one.kind,
                "concept_id": one.concept_id,
                "question": one.prompt if one.shown else withheld.MARKER,
                "answer": one.text if one.shown else withheld.MARKER,
                "expected": one.expected if one.shown else one.expected or withheld.MARKER,
                "verdict": one.label,
                "judge": self.judge,
                "read_by": one.how or None,
                "error": one.error,
                "tokens": one.tokens,
                "thinking_tokens": one.thinking,
                "truncated": one.truncated,
            }
            row |= {f"verdict_{judge}": labels[place] for judge, labels in self.others.items()}
            found.append(row)
        return found


@dataclass(frozen=True, slots=True)
class Told:
    """What became of some answers about a concept: how many there are, wrong ones, those without verdict."""

    n: int
    wrong: int
    none: int


@dataclass(frozen=True, slots=True)
class Why:
    """A few answers about a concept that show why a model fails on it, wrong ones first.

    `named` counts what it was seen to show, `image` and `words` how that was judged.
    """

    named: Told
    image: Told
    words: Told
    places: tuple[int, ...]


#: So many answers of each of the three are shown.
_FEW = (1, 3, 2)


def why(sheet: Sheet, concept_id: str) -> Why:
    """The answers about a concept in short: wrong ones to different questions, else others."""
    import numpy as np

    about = sheet.select(concept=concept_id)
    about = about[~sheet.of_kinds(about, "general", "rated")]
    named, words = sheet.of_kinds(about, "perception"), sheet.of_kinds(about, *TEXT_KINDS)
    told, shown = [], []
    for mine, few in zip((about[named], about[~named & ~words], about[words]), _FEW, strict=True):
        wrong, none = (sheet.flags[name][mine] for name in ("wrong", "none"))
        told.append(Told(len(mine), int(wrong.sum()), int(none.sum())))
        shown += sheet.different(
            mine[np.argsort(np.where(wrong, 0, np.where(none, 1, 2)), kind="stable")], few
        )
    named_told, image_told, words_told = told
    return Why(named_told, image_told, words_told, tuple(sorted(shown)))


def in_contexts(sheet: Sheet, concept_id: str) -> list[int]:
    """One answer to each contextual question about a concept, as an image and in words, wrong ones first."""
    import numpy as np

    about = sheet.select(concept=concept_id)
    about = about[np.argsort(~sheet.flags["wrong"][about], kind="stable")]
    return sorted(sheet.different(about, 4))


def about_words(kind: str) -> bool:
    """Whether a kind of question is asked in words, over a blank image."""
    return kind in TEXT_KINDS


def of_emblems(row: Row) -> bool:
    """Whether a run was about the emblems drawn here, by the version of its track."""
    return row["track"] == DRAWN_HERE or f"-{DRAWN_HERE}-" in str(row.get("track_version"))


@dataclass(frozen=True, slots=True)
class Source:
    """A run with answers that a track has: the row of the board it belongs to, and its own id."""

    row: Row
    run_id: str


@lru_cache(maxsize=32)
def sources(board: LoadedBoard, track: str) -> dict[str, Source]:
    """The runs of a track by id, in the board's order, whether their answers are here or not."""
    found = {}
    for row in board.of_track(track):
        own = row["track"] == track.partition("@")[0]
        run_id = str(row["run_id"]) if own else joined_runs(row)[track.partition("@")[0]]
        found[run_id] = Source(row, run_id)
    return found


@lru_cache(maxsize=32)
def names(board: LoadedBoard, track: str, runs: tuple[str, ...]) -> dict[str, str]:
    """What runs of a track are called, told apart where they are of one model."""
    found = sources(board, track)
    told = labels([found[run_id].row for run_id in runs])
    return {run_id: told[str(found[run_id].row["run_id"])] for run_id in runs}


@lru_cache(maxsize=4)
def _tracks_of(board: LoadedBoard) -> dict[str, str]:
    found: dict[str, str] = {}
    for track in board.tracks():
        for run_id in sources(board, track):
            found.setdefault(run_id, track)
    return found


def track_of(board: LoadedBoard, run_id: str) -> str | None:
    """The choice of track on which a run is; None for one that is not on the board."""
    return _tracks_of(board).get(run_id)


#: Seconds for which is believed which runs have answers: looking costs a look at every folder, so visitors
#: get the last that was seen, and a look is taken beside them.
_BELIEVED = 10.0


def here(found: Mapping[str, Source]) -> list[str]:
    """Those of the runs whose answers are in this place, in their order."""
    both = loading.stores()
    looking = _looking(both.results, both.runs)
    present = looking.get().value
    if present is None:  # nobody has looked yet
        present = looking.refresh().value or frozenset()
    return [
        run_id for run_id, source in found.items() if (str(source.row["entry"]), run_id_of(run_id)) in present
    ]


@lru_cache(maxsize=4)
def _looking(results: Path, runs: Path) -> Latest[frozenset[tuple[str, str]]]:
    def look(_last: object) -> frozenset[tuple[str, str]]:
        paths = [path for store in (results, runs) for path in store.glob(f"*/*/{ANSWERS}")]
        return frozenset((path.parent.parent.name, path.parent.name) for path in paths)

    return Latest(look, every=_BELIEVED)


def sheet(board: LoadedBoard, source: Source) -> Sheet | None:
    """The answers of a run; None when they are not in this place. Raises `StoreError`."""
    run = loading.stores().run(str(source.row["entry"]), source.run_id)
    if run is None or not (run.folder / ANSWERS).is_file():
        return None
    state = tuple((path.name, path.stat().st_mtime_ns) for path in _files(run))
    return _sheet(run, source.run_id, of_emblems(source.row), board.digest, state)


def _files(run: Run) -> list[Path]:
    """All that a sheet is made from."""
    judged = sorted((run.folder / JUDGEMENTS).glob("*.parquet"))
    both = loading.stores()
    lists = [store / TAKEDOWN for store in (both.results, both.runs)]
    return [path for path in (run.folder / RECORD, run.folder / ANSWERS, *judged, *lists) if path.is_file()]


#: The list of a results store (`ucbench.withheld`).
TAKEDOWN = "takedown.json"


@lru_cache(maxsize=6)
def _sheet(
    run: Run, run_id: str, drawn_here: bool, _board: str, _state: tuple[tuple[str, int], ...]
) -> Sheet | None:
    record = run.record()
    if record.judge is None:
        return None
    if is_restricted(run_id):
        cut = run_data.cut_down(run, record)
        if cut is None:
            return None
        run = cut
    frame = run.frame(record.judge.id)
    others: dict[str, list[str | None]] = {}
    unread = []
    for judge in run.judge_ids():
        try:
            if judge != record.judge.id:
                others[judge] = _labels(run, judge, frame)
        except StoreError:  # the answers and the record's judge are sound
            unread.append(judge)
    down = _taken_down(run_id, frame)
    return Sheet(frame, judge=record.judge.id, others=others, unread=unread, down=down, quotes=drawn_here)


def _labels(run: Run, judge: str, frame: pd.DataFrame) -> list[str | None]:
    """Another judge's label of each answer of a frame."""
    read = run.judgements(judge)
    both = frame[KEY].merge(read[[*KEY, "label"]], on=KEY, how="left", validate="one_to_one")
    return [None if absent(label) else str(label) for label in both["label"]]


def _taken_down(run_id: str, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which answers a list of the stores takes down, where their texts are still in the files."""
    import numpy as np

    down = np.zeros(len(frame), bool)
    both = loading.stores()
    for store in (both.results, both.runs):
        for item in withheld.read(store / TAKEDOWN).items:
            if item.run_id not in (None, run_id_of(run_id)):
                continue
            mine = (frame["sample_id"] == item.sample_id).to_numpy(bool)
            if item.question_id is not None:
                mine = mine & (frame["question_id"] == item.question_id).to_numpy(bool)
            down |= mine
    return down


def marked(text: str, search: str) -> list[tuple[str, bool]]:
    """A text in pieces, each with whether a word of the search stands there. Joined they are the text."""
    words = sorted({re.escape(word) for word in search.split()}, key=len, reverse=True)
    if not words:
        return [(text, False)]
    pieces, end = [], 0
    for match in re.finditer("|".join(words), text, re.IGNORECASE):
        pieces += [(text[end : match.start()], False), (match.group(), True)]
        end = match.end()
    return [(piece, hit) for piece, hit in [*pieces, (text[end:], False)] if piece]
