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
#: Those that give probabilities, from which an answer can be rewarded.
_REWARDING = ("classifier", "classifier:official", "classifier:PERCEPTION,ALIGNMENT")
#: Kinds of judge that call no server but the Hub.
_LOCAL = ("rules", "classifier", "contains")


def names() -> dict[str, str]:
    """Every name that `load` takes, with a line about it."""
    return dict(_NAMES)


def check_name(name: str, *, rewarding: bool = False) -> None:
    """Refuse a name that `load` does not take, and with `rewarding` one of a judge without probabilities.

    Nothing is loaded. Raises `UnknownNameError`.
    """
    kind, colon, rest = name.partition(":")
    pair = [part.strip() for part in rest.split(",")]
    official = rest == "official" or rest.startswith("official@")
    if kind == "classifier" and (not colon or official or (len(pair) == 2 and all(pair))):
        return
    known = name in ("rules", "contains") or (kind == "llm" and bool(rest)) or kind == "rating"
    if rewarding and known:
        raise UnknownNameError(
            f"the judge {name} gives no probabilities of Safe and Unsafe, so it cannot reward; --judge takes "
            f"{_some(_REWARDING)}"
        )
    if not known:
        what = "no judge that can reward is called" if rewarding else "unknown judge"
        names = _REWARDING if rewarding else tuple(_NAMES)
        raise UnknownNameError(f"{what} {name!r}; choose one of {_some(names)} with --judge")


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def load(name: str) -> Judge:
    """Return the judge called `name`.

    Raises `UnknownNameError` for a name that nobody has heard of, `ModelError` for weights that do not
    fit, `AccessError` for weights that cannot be downloaded or an endpoint without its key.
    """
    check_name(name)
    if name == "rules":
        from ucbench.judges.rules import RulesJudge

        return RulesJudge()
    kind, colon, rest = name.partition(":")
    if kind == "classifier":
        from ucbench.judges import classifier

        if not colon:
            return classifier.load_tiny()
        if rest == "official" or rest.startswith("official@"):
            return classifier.load_official(rest.removeprefix("official").removeprefix("@") or None)
        perception, _, alignment = rest.partition(",")
        return classifier.load_pair(name, perception.strip(), alignment.strip())
    if kind == "llm":
        from ucbench.judges import llm

        return llm.load(rest)
    if name == "contains":
        from ucbench.judges.contains import ContainsJudge

        return ContainsJudge()
    from ucbench.judges import rating

    return rating.load(rest)


def load_recorded(reference: JudgeRef) -> Judge:
    """The judge that a record names, at the revision it was at.

    Only one that reads on this machine: a record may come from a stranger, who must not choose what server
    is called, and with which key. Raises as `load` does.
    """
    if reference.name.partition(":")[0] not in _LOCAL:
        raise UnknownNameError(f"the judge {reference.name} does not read on this machine")
    official = reference.name == "classifier:official" and reference.revision
    return load(f"{reference.name}@{reference.revision}" if official else reference.name)
