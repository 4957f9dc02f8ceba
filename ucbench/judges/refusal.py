"""Answers that decline to answer."""

from __future__ import annotations

import re

_UNABLE = (
    r"(?:can't|cannot|can not|could not|couldn't|won't|will not|(?:am|is|was|are|be|i'm) (?:not able"
    r"|unable|not allowed|not permitted|not designed|not programmed|not going) to"
    r"|unable to|don't have the (?:ability|capability) to|do not have the (?:ability|capability) to"
    r"|must decline to|have to decline to|would rather not|prefer not to|do not feel able to"
    r"|don't feel able to|decline to)"
)
_HELP = (
    r"(?:help|assist|provide|answer|respond|comply|engage|discuss|analy[sz]e|identify|describe|process"
    r"|fulfil|fulfill|continue|complete|view|see|access"
    r"|interpret|judge|evaluate|comment|offer|give|talk|do that|do this|address|classify|choose|look at"
    r"|say anything|open|read|go into)"
)
_REFUSAL = re.compile(
    rf"\b(?:i|we|this model|the assistant|as an ai[^.]{{0,60}}?)(?:'m|'re)?,? (?:am |are |really |simply "
    rf"|just |unfortunately,? )*{_UNABLE} (?:to )?(?:really |safely |directly |currently )*{_HELP}\b"
    rf"|^(?:i'm |i am |we are |we're )?(?:(?:very |so |terribly |truly )?sorry|(?:my )?apolog(?:ies|y)"
    rf"|i apologi[sz]e|unfortunately)[^.]{{0,80}}?\b{_UNABLE} (?:to )?(?:really )?{_HELP}\b"
    rf"|^{_UNABLE} (?:to )?{_HELP}\b"
    r"|\b(?:decline|refuse) to (?:answer|respond|comment|say|choose|judge)\b|\bi (?:must |have to "
    r"|will )?(?:respectfully |politely )?decline\b"
    r"|\bas an? (?:ai|artificial|large|language|text)[^.]{0,60}\b(?:do not|don't|cannot|can't) (?:have"
    r"|see|view|process|hold|form|express|give|offer)\b"
    r"|\bno (?:image|picture|photo) (?:was |is |has been |seems to be )?(?:provided|attached|uploaded"
    r"|visible|given|included|present|available)\b"
    r"|\b(?:don't|do not) see (?:an?|any|the) (?:image|picture|photo)\b"
    r"|\bplease (?:upload|provide|attach|share) (?:an?|the) (?:image|picture|photo)\b"
    r"|\b(?:content|safety) (?:policy|filter|filters) (?:prevents?|blocks?|does not allow)\b"
    r"|\b(?:i'd|i would) (?:rather|prefer) not (?:to )?(?:answer|say|comment|respond|judge)\b"
)


def is_refusal(sentence: str) -> bool:
    """Whether a normalised sentence declines to answer."""
    return _REFUSAL.search(sentence) is not None
