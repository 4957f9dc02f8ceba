"""Why a request failed: a code for machines, a sentence for its submitter, whether to try again."""

from __future__ import annotations

from dataclasses import dataclass

from ucbench.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Reason:
    """`advice` says what the submitter can do; `retryable` that the next attempt may end otherwise."""

    code: str
    sentence: str
    advice: str
    retryable: bool = False


_ALL = (
    # Of the model.
    Reason(
        "unsupported",
        "the checkpoint cannot be loaded",
        "mend what the message says, push it, and submit the new commit",
    ),
    Reason(
        "repo_gone",
        "the repository or the commit is no longer there",
        "make the repository public again, or submit one that is",
    ),
    Reason(
        "repo_changed",
        "what was downloaded is not the commit that was submitted",
        "submit the repository again as it is now",
    ),
    Reason(
        "gated",
        "the repository is gated, and submitted models are fetched without an account",
        "make it public while it is evaluated, or publish a run of your own with `ucbench publish`",
    ),
    Reason(
        "too_large",
        "the repository is larger than this worker may download",
        "submit a smaller model, or publish a run of your own with `ucbench publish`",
    ),
    Reason(
        "out_of_memory",
        "the model needs more memory than the worker has",
        "submit it with a smaller dtype, or publish a run of your own with `ucbench publish`",
        retryable=True,
    ),
    Reason(
        "timeout",
        "the evaluation took longer than it may",
        "see whether the chat template or the answers run on without an end",
        retryable=True,
    ),
    Reason(
        "evaluator_failed",
        "the evaluation ended with an error",
        "the end of its log says where; try the same with `ucbench evaluate`",
        retryable=True,
    ),
    Reason(
        "incomplete",
        "too many questions were left without an answer by errors",
        "the end of its log says which; try the same with `ucbench evaluate`",
        retryable=True,
    ),
    Reason(
        "invalid_result",
        "what the evaluation left is no run of this request",
        "nothing was published; tell the maintainers if you did nothing unusual",
    ),
    # Of the worker and its surroundings.
    Reason(
        "download_failed",
        "the files could not be downloaded",
        "you need do nothing, it is tried again",
        retryable=True,
    ),
    Reason(
        "track_data",
        "the worker has no access to the data of the track",
        "you need do nothing, the maintainers have to mend the worker",
        retryable=True,
    ),
    Reason("worker_failed", "the worker itself failed", "retry it later", retryable=True),
    Reason(
        "job_failed",
        "the rented machine did not finish the evaluation",
        "the end of its log says more; retry it later",
        retryable=True,
    ),
    Reason(
        "too_many_attempts",
        "every attempt ended without a word, as when a machine dies",
        "retry it once; if that ends the same way, the model itself may take the machine down",
    ),
    # By people.
    Reason("cancelled", "it was cancelled", "retry it when you want it after all"),
)

REASONS = {reason.code: reason for reason in _ALL}


def reason(code: str) -> Reason:
    """What is known of a code. Raises `UnknownNameError`."""
    try:
        return REASONS[code]
    except KeyError:
        raise UnknownNameError(f"there is no reason {code!r}; known: {', '.join(REASONS)}") from None


def sentence(code: str, detail: str = "") -> str:
    """The sentence for the submitter: what happened, the particulars, what to do."""
    known = reason(code)
    text = f"{known.sentence}: {detail.strip().rstrip('.')}" if detail.strip() else known.sentence
    return f"{text[0].upper()}{text[1:]}; {known.advice}."
