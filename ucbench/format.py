"""How figures are written on every page and in the terminal: two decimals, no leading zero."""

from __future__ import annotations

import html
import math
from typing import Any

#: What stands where there is no figure.
MISSING = "–"


def escape(text: object) -> str:
    """Outside text as HTML text; quotes too, so that it is safe within an attribute."""
    return html.escape(str(text), quote=True)


def absent(value: Any) -> bool:
    """Whether a table cell holds nothing: None, NaN or a pandas NA."""
    if value is None:
        return True
    try:
        return math.isnan(float(value))
    except (TypeError, ValueError):
        return not isinstance(value, str)


def fraction(value: Any, *, signed: bool = False) -> str:
    """`.87`, `1.00`, `−.04`; with `signed`, `+.59`. A dash when there is no value."""
    if absent(value):
        return MISSING
    number = float(value)
    digits = f"{abs(number):.2f}".removeprefix("0")
    if digits == ".00":
        return digits
    sign = "−" if number < 0 else "+" if signed else ""
    return sign + digits


def interval(low: Any, high: Any, *, signed: bool = False) -> str:
    """`.84–.90`; with a sign on either end `−.04 to +.10`. Empty when an end is missing."""
    if absent(low) or absent(high):
        return ""
    between = " to " if signed or float(low) < 0 else "–"
    return f"{fraction(low, signed=signed)}{between}{fraction(high, signed=signed)}"


def rank(low: Any, high: Any) -> str:
    """`1`, or `1–3` where models cannot be told apart. A dash when the row is not ranked."""
    if absent(low) or absent(high):
        return MISSING
    first, last = int(low), int(high)
    return str(first) if first == last else f"{first}–{last}"


def count(number: Any) -> str:
    """`4,050`."""
    return MISSING if absent(number) else f"{int(number):,}"


def n_of(n: int, what: str) -> str:
    """`1 model`, `1,000 models`."""
    return f"{count(n)} {what}{'' if n == 1 else 's'}"


def size(billions: Any) -> str:
    """`7.1 B` parameters, `270 M`, `2 M`. A dash when it is not known."""
    if absent(billions):
        return MISSING
    number = float(billions)
    if number >= 0.9995:
        return f"{number:.3g} B"
    return f"{max(number * 1000, 0.01):.3g} M"


def seconds(value: Any) -> str:
    """`48 s`, `3 min 05 s`, `2 h 10 min`."""
    if absent(value):
        return MISSING
    whole = round(float(value))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def short_revision(revision: Any) -> str:
    """A commit's or a hash's first seven digits; other revisions as they are."""
    if absent(revision):
        return MISSING
    text = str(revision)
    digits = text.removeprefix("sha256:")
    is_hash = (len(digits) >= 40 or digits != text) and all(c in "0123456789abcdef" for c in digits)
    return digits[:7] if is_hash else text


def model_name(model: Any, adapter: Any) -> str:
    """A model, with its adapter when it has one: `acme/vlm + local:ppo@16deeca`."""
    if absent(adapter):
        return str(model)
    name, at, version = str(adapter).rpartition("@")
    return f"{model} + {name}{at}{short_revision(version)}"


def concept_title(name: str) -> str:
    """A concept's name at the beginning of a line: the official names mix their capitals."""
    return name[:1].upper() + name[1:]
