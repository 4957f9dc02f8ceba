"""Labelling in the terminal: one key a label, undo, quit and go on at any time.

What is shown is the question and the answer, neither the model nor what the judge made of it, and no picture
either, since the judge sees none.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import sys
import termios
import textwrap
import tty
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from ucbench.errors import UcbenchError
from ucbench.judges.audit import Item, Sample, labels_of
from ucbench.judges.audit_labels import Labels
from ucbench.types import CORRECT, NA, OPTION_LETTERS, SAFE, UNSAFE, WRONG

_KEYS = {SAFE: "s", UNSAFE: "u", CORRECT: "c", WRONG: "w", NA: "n"} | {
    letter: letter.lower() for letter in OPTION_LETTERS
}
UNDO, LATER, QUIT = ("z", "\x7f", "\x08"), (" ",), ("q", "\x03", "\x04", "")
_ASKED = {
    "perception": "Which option does the answer choose?",
    "general": "Does the answer give the right answer?",
}
WIDEST = 100
#: What arrows, function keys and the like send, and the beginning of it.
_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])?")
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?$")


def label(sample: Sample, labels: Labels) -> bool:
    """Show what this person has not labelled until all is done (True) or they quit (False).

    Raises `UcbenchError` when there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UcbenchError(
            "labelling needs a terminal; or write a table with --export FILE, fill it in, and take it in "
            "with --labels FILE"
        )
    todo = [item for item in sample.items if item.id not in labels.given]
    with _one_key_at_a_time() as keys:
        while todo:
            _show(todo[0], len(labels.given), len(sample.items))
            done = False
            while not done:
                key = next(keys)
                choice = {_KEYS[name]: name for name in labels_of(todo[0].kind)}
                done = True
                if key in QUIT:
                    return False
                if key in LATER:
                    todo.append(todo.pop(0))
                elif key in UNDO and labels.given:
                    last = list(labels.given)[-1]
                    labels.give(last, None)
                    todo.insert(0, next(item for item in sample.items if item.id == last))
                elif key in choice:
                    labels.give(todo.pop(0).id, choice[key])
                else:
                    done = False
    return True


def visible(text: str) -> str:
    """A text whose characters all show: none of them moves the cursor or hides."""
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co") else _name(char)
        for char in text.replace("\r\n", "\n").replace("\t", "    ")
    )


def page(item: Item, done: int, total: int, width: int) -> str:
    """What is on the screen for one answer."""
    keys = "   ".join(f"{_KEYS[name]} {name}" for name in labels_of(item.kind))
    parts = [f"{done + 1:,} of {total:,}", "", "Question", _wrapped(item.prompt, width), ""]
    if item.expected:
        parts += ["Right answer", _wrapped(item.expected, width), ""]
    parts += ["Answer", _wrapped(item.text, width), "", "-" * width]
    asked = _ASKED.get(item.kind, "What does the answer say?")
    return "\n".join([*parts, asked, keys, "z undo   space later   q quit (all is kept)", ""])


def _wrapped(text: str, width: int) -> str:
    lines = visible(text).split("\n")
    return "\n".join(
        wrapped for line in lines for wrapped in textwrap.wrap(line, width - 2, initial_indent="  ",
                                                               subsequent_indent="  ") or [""]
    )  # fmt: skip


def _name(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _show(item: Item, done: int, total: int) -> None:
    width = min(shutil.get_terminal_size().columns, WIDEST)
    screen = page(item, done, total, width)
    # Clears the screen; written as bytes, whatever the terminal's locale.
    _write("\x1b[2J\x1b[H" + screen)


def _write(text: str) -> None:
    data = text.encode("utf-8", "replace")
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


@contextmanager
def _one_key_at_a_time() -> Iterator[Iterator[str]]:
    """Keys as they are pressed; the terminal is put back as it was."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    mode = termios.tcgetattr(terminal)
    mode[6][termios.VINTR] = b"\0"  # Ctrl+C is a key like q, at whatever moment it comes
    termios.tcsetattr(terminal, termios.TCSANOW, mode)
    try:
        yield _keys(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        _write("\n")


def _keys(terminal: int) -> Iterator[str]:
    """Letters in lower case; an empty one at the end. Arrows and their like are no keys."""
    while True:
        pressed = os.read(terminal, 64)
        while _UNFINISHED.search(pressed) and select.select([terminal], [], [], 0.05)[0]:
            pressed += os.read(terminal, 64)
        if not pressed:
            yield ""
        yield from _ESCAPE.sub(b"", pressed).decode("utf-8", "replace").lower()
