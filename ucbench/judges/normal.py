"""One spelling for all answers: lower case, plain quotes, no mark-up; and their sentences."""

from __future__ import annotations

import re
import unicodedata

_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'", "“": '"', "”": '"', "—": " -- ", "–": " - "})
_MARKUP = re.compile(r"<[^<>\n]{1,20}>|[*_~#]+|\\boxed|\\text|[{}$]")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|[;\n]+|\s--\s")


def normalise(text: str) -> str:
    """Lower-cased text in Unicode's compatibility form, without Markdown and HTML marks; lines are kept."""
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES).lower()
    text = _MARKUP.sub(" ", text)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def sentences(text: str) -> list[str]:
    """Sentences of a normalised text, ends kept, empty ones left out."""
    return [part for piece in _SENTENCE_END.split(text) if (part := piece.strip(" \"'-•"))]
