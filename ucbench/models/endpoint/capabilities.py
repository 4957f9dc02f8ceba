"""What a service does not take, found out from its complaints and remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

from ucbench.models.endpoint.failures import BadRequestError

_UNWANTED = re.compile(
    r"unsupported|not support|does(?: not|n't) (?:support|accept|allow)|unknown|unrecogni[sz]ed|unexpected"
    r"|not (?:permitted|allowed|accepted|available)|deprecated|forbidden|invalid (?:parameter|argument|field)"
    r"|only the default|instead|must be (?:1|omitted|unset)|cannot be (?:used|set|specified)|extra",
    re.IGNORECASE,
)
_SYSTEM_ROLE = re.compile(
    r"\bsystem\b[^.]{0,40}\b(?:role|message|prompt)|\brole\b[^.]{0,40}\bsystem\b"
    r"|conversation roles must alternate",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Each flag is off until the service complained."""

    max_completion_tokens: bool = False
    no_temperature: bool = False
    no_top_p: bool = False
    no_seed: bool = False
    no_system_role: bool = False

    def notes(self) -> tuple[str, ...]:
        """One line a flag that is on, for the record."""
        return tuple(_NOTES[f.name] for f in fields(self) if getattr(self, f.name))

    def learn(self, failure: BadRequestError, *, system: bool) -> Capabilities:
        """What is known after a complaint; the same object when it names nothing that can be left out.

        `system` says that the request had a system message.
        """
        text, named = failure.reason, failure.parameter or ""
        if not _UNWANTED.search(text) and not (system and _SYSTEM_ROLE.search(text)):
            return self
        learnt = self
        if _names("max_tokens", named, text) and not self.max_completion_tokens:
            learnt = replace(learnt, max_completion_tokens=True)
        if _names("temperature", named, text):
            learnt = replace(learnt, no_temperature=True)
        if _names("top_p", named, text):
            learnt = replace(learnt, no_top_p=True)
        if _names("seed", named, text):
            learnt = replace(learnt, no_seed=True)
        if system and learnt == self and _SYSTEM_ROLE.search(text):
            learnt = replace(learnt, no_system_role=True)
        return self if learnt == self else learnt


_NOTES = {
    "max_completion_tokens": "takes max_completion_tokens, not max_tokens",
    "no_temperature": "takes no temperature, so its own default sampled the answers",
    "no_top_p": "takes no top_p",
    "no_seed": "takes no seed, so its sampling cannot be repeated",
    "no_system_role": "takes no system message, so it stood before each question",
}


def _names(parameter: str, named: str, text: str) -> bool:
    """Whether a complaint is about `parameter`: by its field, or quoted or as a word in its text."""
    if named:
        return named.rpartition(".")[2] == parameter
    return re.search(rf"(?<![\w-]){parameter}(?![\w-])", text) is not None
