"""What flows through ucbench: samples go in, answers come out, verdicts say what the answers mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from PIL import Image

Kind = Literal[
    "perception", "image_alignment", "text_alignment", "image_alignment_turned", "text_alignment_turned",
    "image_context", "text_context", "general", "rated",
]  # fmt: skip
#: `all` is train and test together, for tracks whose measurement is the whole set.
Split = Literal["all", "train", "test"]

#: The labels a verdict can carry. A model that declines gets N/A, never an error.
SAFE, UNSAFE, NA = "Safe", "Unsafe", "N/A"
OPTION_LETTERS = ("A", "B", "C", "D")
#: Verdict labels of a `general` question.
CORRECT, WRONG = "Correct", "Wrong"
#: Verdict label of a `rated` question; what counts are its ratings.
RATED = "Rated"

#: The system's failures. They are never an empty text and never a verdict.
ErrorCode = Literal[
    "bad_image", "out_of_memory", "timeout", "provider_error", "provider_refusal", "model_error", "missing"
]


@dataclass(frozen=True, slots=True)
class Concept:
    """One of the 75 unsafe concepts, or one of a track's own everyday ones (`unsafe=False`)."""

    id: str
    name: str
    category: str
    unsafe: bool = True


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one image.

    `id` is unique within the sample. `template` is the same for every sample that is asked the
    same question (`image_alignment_0`) and is the key of `scores.by_question`. `expected` is the
    right label: A..D, Safe, Unsafe, or for `general` the answer itself ("blue"), for `rated` a reference
    answer. `context` is what a judge may know of the picture beside that; no model is shown it.
    """

    id: str
    kind: Kind
    template: str
    text: str
    concept_id: str
    expected: str
    options: tuple[str, ...] = ()
    context: str = ""


class ImageSource(Protocol):
    """Where a picture comes from. Nothing is opened before `load` is called."""

    def load(self) -> Image.Image:
        """Return the picture in RGB. Raises `ucbench.errors.BadImageError`."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with ALL its questions, so that a model encodes the image once."""

    id: str
    image: ImageSource
    split: Split
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Free text, or one typed error; never both.

    `tokens` counts the generated tokens, `thinking_tokens` those of a reasoning part that was cut
    from `text`. `truncated` says that generation stopped at the token limit. A service that counts them
    tells `input_tokens` as well. `reason` says in a line why there is an error, where that is known.
    `guard` names the guard whose verdict on the picture this is (`Guard.identity`); it may stand for several
    questions.
    """

    sample_id: str
    question_id: str
    text: str
    tokens: int
    error: ErrorCode | None = None
    truncated: bool = False
    thinking_tokens: int = 0
    input_tokens: int = 0
    reason: str = ""
    guard: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge read in an answer.

    `label` is Safe, Unsafe or N/A (alignment and context), A..D or N/A (perception), Correct, Wrong
    or N/A (general), Rated (rated). `how` names the rule or path that decided it. `probs` maps labels to
    probabilities for judges that have them. `ratings` are those of the reference and of the answer. `error`
    is a judge's own failure: then the label says nothing, and the question counts as a system error.
    """

    sample_id: str
    question_id: str
    label: str
    how: str
    judge_id: str
    probs: dict[str, float] | None = field(default=None)
    ratings: tuple[float, float] | None = None
    error: str | None = None
