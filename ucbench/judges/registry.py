"""Judges by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ucbench.errors import UnknownNameError

if TYPE_CHECKING:
    from ucbench.judges.base import Judge
    from ucbench.record import JudgeRef

_NAMES = {
    "rules": "reads the wording; no weights",
    "classifier": "tiny RoBERTa classifiers shipped with the project",
    "classifier:official": "the authors' RoBERTa classifiers, downloaded from the Hugging Face Hub; "
    "@COMMIT,COMMIT behind it names their commits (perception, alignment)",
    "classifier:PERCEPTION,ALIGNMENT": "two checkpoint files or folders of the official shape",
    "llm:MODEL@URL": "a language model behind an OpenAI-compatible endpoint, such as llm:qwen3-8b@http://localhost:8000/v1",
    "contains": "an answer to a general question is right when it contains the right word, as for MME",
    "rating:MODEL@URL": "a language model behind an endpoint rates answers beside reference answers, as for "
    "LLaVABench",
}
#: Kinds of judge that call no server but the Hub.
_LOCAL = ("rules", "classifier", "contains")


def names() -> dict[str, str]:
    """Every name that `load` takes, with a line about it."""
    return dict(_NAMES)


def load(name: str) -> Judge:
    """Return the judge called `name`.

    Raises `UnknownNameError` for a name that nobody has heard of, `ModelError` for weights that do not
    fit, `AccessError` for weights that cannot be downloaded or an endpoint without its key.
    """
    if name == "rules":
        from ucbench.judges.rules import RulesJudge

        return RulesJudge()
    kind, colon, rest = name.partition(":")
    if kind == "classifier" and (rest or not colon):
        from ucbench.judges import classifier

        if not colon:
            return classifier.load_tiny()
        if rest == "official" or rest.startswith("official@"):
            return classifier.load_official(rest.removeprefix("official").removeprefix("@") or None)
        perception, comma, alignment = rest.partition(",")
        if comma and perception and alignment and "," not in alignment:
            return classifier.load_pair(name, perception.strip(), alignment.strip())
    if kind == "llm" and rest:
        from ucbench.judges import llm

        return llm.load(rest)
    if name == "contains":
        from ucbench.judges.contains import ContainsJudge

        return ContainsJudge()
    if kind == "rating":
        from ucbench.judges import rating

        return rating.load(rest)
    raise UnknownNameError(f"unknown judge {name!r}; choose one of {', '.join(_NAMES)} with --judge")


def load_recorded(reference: JudgeRef) -> Judge:
    """The judge that a record names, at the revision it was at.

    Only one that reads on this machine: a record may come from a stranger, who must not choose what server
    is called, and with which key. Raises as `load` does.
    """
    if reference.name.partition(":")[0] not in _LOCAL:
        raise UnknownNameError(f"the judge {reference.name} does not read on this machine")
    official = reference.name == "classifier:official" and reference.revision
    return load(f"{reference.name}@{reference.revision}" if official else reference.name)
