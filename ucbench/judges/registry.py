"""Judges by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ucbench.errors import UnknownNameError

if TYPE_CHECKING:
    from ucbench.judges.base import Judge

_NAMES = {
    "rules": "reads the wording; no weights",
    "classifier": "tiny RoBERTa classifiers shipped with the project",
    "classifier:official": "the authors' RoBERTa classifiers, downloaded from the Hugging Face Hub",
    "classifier:PERCEPTION,ALIGNMENT": "two checkpoint files or folders of the official shape",
}


def names() -> dict[str, str]:
    """Every name that `load` takes, with a line about it."""
    return dict(_NAMES)


def load(name: str) -> Judge:
    """Return the judge called `name`.

    Raises `UnknownNameError` for a name that nobody has heard of, `ModelError` for weights that do not
    fit, `AccessError` for weights that cannot be downloaded.
    """
    if name == "rules":
        from ucbench.judges.rules import RulesJudge

        return RulesJudge()
    kind, colon, rest = name.partition(":")
    if kind == "classifier" and (rest or not colon):
        from ucbench.judges import classifier

        if not colon:
            return classifier.load_tiny()
        if rest == "official":
            return classifier.load_official()
        perception, comma, alignment = rest.partition(",")
        if comma and perception and alignment and "," not in alignment:
            return classifier.load_pair(name, perception.strip(), alignment.strip())
    raise UnknownNameError(f"unknown judge {name!r}; choose one of {', '.join(_NAMES)} with --judge")
