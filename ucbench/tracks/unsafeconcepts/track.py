"""What the track `unsafeconcepts` asks: six questions a picture, and five a concept in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ucbench import taxonomy
from ucbench.tracks import questions
from ucbench.tracks import split as authors
from ucbench.tracks.given import Given, check_asked
from ucbench.tracks.pictograms import BLANK_ID, BlankImage
from ucbench.tracks.pictures import Picture, spread
from ucbench.tracks.safe import Safe
from ucbench.tracks.sources import Sources
from ucbench.tracks.tables import digest
from ucbench.tracks.unsafeconcepts.joined import Dataset, load
from ucbench.tracks.unsafeconcepts.metadata import Row
from ucbench.tracks.unsafeconcepts.options import Options, own
from ucbench.types import UNSAFE, Concept, ImageSource, Question, Sample, Split

VERSION = "1"


class UnsafeConcepts(Given):
    """The official pictures and, with `safe_data`, safe ones beside them.

    An untrained model is asked about all of them. The authors' split is for entries that were trained on
    the train side, and for everyone they are compared with. Nothing is read before it is needed.
    """

    def __init__(self, sources: Sources) -> None:
        """Raises nothing; the sources are looked at later."""
        self._sources = sources
        # A local folder beside data that is streamed is read as ever.
        stream = sources.stream and not Path(sources.safe_data or "").exists()
        self._safe = Safe(sources.safe_data, stream=stream) if sources.safe_data else None

    @property
    def id(self) -> str:
        """`unsafeconcepts`."""
        return "unsafeconcepts"

    @property
    def version(self) -> str:
        """Says whose options are asked, whether the set is incomplete, and names rows, options and pictures.

        Pictures are named by the Hub's commit, or by a digest of the bytes of all of them; not at all where
        answers come from elsewhere and no picture was looked for. Reads the data.
        """
        return self._version

    @cached_property
    def _version(self) -> str:
        data, parts = self._data, [VERSION]
        parts.append("official-options" if data.official_options else "own-options")
        parts += ["incomplete"] if data.differs else []
        parts += ["with-safe"] if self._safe else []
        told: list[object] = [part for row in data.rows for part in (row.id, row.name, row.options)]
        told += [*self.parts.values(), *([self._safe.content] if self._safe else [])]
        identity = data.identity()
        return "-".join([*parts, digest(told), *([identity] if identity else [])])

    @property
    def notice(self) -> str | None:
        """What the data lacks of the official set, when that was allowed. Reads the data."""
        told = self._data.differs
        return told and f"this is not the official set: {told}"

    @property
    def parts(self) -> Mapping[str, str]:
        """Id and version of the track that the safe pictures are of. Reads them."""
        return {self._safe.id: self._safe.version} if self._safe else {}

    @property
    def splits(self) -> tuple[Split, ...]:
        """Measured on all; the authors' split for entries that were trained on it."""
        return ("all", "test", "train")

    @property
    def concepts(self) -> Sequence[Concept]:
        """The 75 unsafe concepts, then those of the safe pictures, which are read for it."""
        return (*taxonomy.concepts(), *(self._safe.concepts if self._safe else ()))

    @property
    def categories(self) -> dict[str, str]:
        """The 9 categories, then that of the safe pictures."""
        unsafe = {category.id: category.name for category in taxonomy.categories()}
        return unsafe | (self._safe.categories if self._safe else {})

    @cached_property
    def _data(self) -> Dataset:
        return load(self._sources)

    @cached_property
    def _safe_samples(self) -> list[Sample]:
        return self._safe.samples("all") if self._safe else []

    def samples(self, split: Split = "all", draw: int = 0, limit: int | None = None) -> list[Sample]:
        """Pictures with six questions each, safe ones with five, then the blank one with five a concept.

        `all` is in the metadata's order, `train` and `test` are in the authors'. `limit` keeps that many
        samples, spread over the concepts, the blank one included. Raises `UcbenchError` for a draw other
        than 0, a limit below 1 or data that does not fit; `AccessError` for data out of reach.
        """
        check_asked(self.id, draw, limit)
        pictures, rows = self._pictures(split)
        if limit is not None:
            pictures = spread(pictures, max(1, limit - 1))
        samples = [
            _about(rows[shown.sample_id], shown.image, split)
            if shown.sample_id in rows
            else replace(self._by_id[shown.sample_id], split=split)
            for shown in pictures
        ]
        if limit is None or limit > 1:
            here = {shown.concept for shown in pictures}
            named = [concept for concept in taxonomy.concepts() if concept in here]
            asked = tuple(question for concept in named for question in _in_words(concept))
            samples.append(Sample(BLANK_ID, BlankImage(), split, asked))
        return samples

    @cached_property
    def _by_id(self) -> dict[str, Sample]:
        return {sample.id: sample for sample in self._safe_samples}

    def _pictures(self, split: Split) -> tuple[list[Picture], dict[str, Row]]:
        """The pictures of a split, unsafe ones first, and the rows of the unsafe ones by id."""
        data, safe = self._data, self._safe_samples
        unsafe_rows, safe_rows = tuple(range(len(data.rows))), tuple(range(len(safe)))
        if split != "all":
            found = authors.split([row.name for row in data.rows], len(safe))
            train = split == "train"
            unsafe_rows = found.train_unsafe if train else found.test_unsafe
            safe_rows = found.train_safe if train else found.test_safe
        rows = [data.rows[number] for number in unsafe_rows]
        concepts = {concept.id: concept for concept in self.concepts}
        pictures = [Picture(row.id, data.pictures[row.id], row.concept) for row in rows]
        pictures += [
            Picture(s.id, s.image, concepts[s.questions[0].concept_id]) for s in (safe[n] for n in safe_rows)
        ]
        return pictures, {row.id: row for row in rows}


def _about(row: Row, image: ImageSource, split: Split) -> Sample:
    """The six questions about a picture of an unsafe concept."""
    options: Options = row.options or own(row.concept, f"unsafeconcepts/{VERSION}/options/{row.id}")
    concept = row.concept.id
    return Sample(
        row.id,
        image,
        split,
        (
            Question(
                "perception", "perception", "perception", options.prompt, concept, options.right,
                options.names,
            ),
            *(
                Question(
                    f"image_alignment_{i}", "image_alignment", f"image_alignment_{i}", text, concept, UNSAFE
                )
                for i, text in enumerate(questions.IMAGE_ALIGNMENT)
            ),
        ),
    )  # fmt: skip


def _in_words(concept: Concept) -> list[Question]:
    """The five questions about a concept that is only named."""
    return [
        Question(
            f"text_alignment_{i}:{concept.id}",
            "text_alignment",
            f"text_alignment_{i}",
            text.format(concept=concept.name),
            concept.id,
            UNSAFE,
        )
        for i, text in enumerate(questions.TEXT_ALIGNMENT)
    ]
