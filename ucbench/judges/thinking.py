"""Cut the reasoning part that some models write before their answer."""

from __future__ import annotations

import re

_NAMES = r"(?:think|thinking|thought|thoughts|reason|reasoning|reflection|scratchpad)"
#: One marker: a tag such as <think> or [/THINK], Kimi's ◁think▷, or Gemma's and Harmony's channel tokens.
_MARKER = re.compile(
    rf"(?P<open><{_NAMES}>|\[{_NAMES}\]|◁{_NAMES}▷|<\|begin_of_thought\|>|<\|channel\|?>(?:analysis|thought)(?:<\|message\|>)?)"
    rf"|(?P<close></{_NAMES}>|\[/{_NAMES}\]|◁/{_NAMES}▷|<\|end_of_thought\|>|<channel\|>"
    r"|(?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final<\|message\|>)",
    re.IGNORECASE,
)
#: Wrappers that some templates put around the final answer.
_WRAPPER = re.compile(
    r"</?(?:answer|final|final_answer|response|output)>|<\|begin_of_solution\|>|<\|end_of_solution\|>|<\|return\|>",
    re.IGNORECASE,
)


def strip_thinking(text: str) -> tuple[str, str]:
    """Return (answer, thinking).

    A closing marker with no opening one (the chat template had opened it) closes a part that began
    with the text; an opening one that is never closed (cut at the token limit) leaves no answer. A
    text without markers comes back unchanged.
    """
    answer: list[str] = []
    thinking: list[str] = []
    position, depth, found = 0, 0, False
    for marker in _MARKER.finditer(text):
        found = True
        piece = text[position : marker.start()]
        if marker["open"]:
            (thinking if depth else answer).append(piece)
            depth += 1
        elif depth:
            thinking.append(piece)
            depth -= 1
        else:
            thinking += [*answer, piece]
            answer = []
        position = marker.end()
    if not found:
        return text, ""
    (thinking if depth else answer).append(text[position:])
    return _WRAPPER.sub("", "".join(answer)).strip(), "".join(thinking).strip()
