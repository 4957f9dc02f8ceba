"""What a page shows as a file: CSV, JSON or Parquet, made when somebody presses for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import streamlit as st

if TYPE_CHECKING:
    import pandas as pd

Rows = Sequence[Mapping[str, Any]]
#: Rows, a frame, or what makes one of them when it is asked.
Source: TypeAlias = "Rows | pd.DataFrame | Callable[[], Rows | pd.DataFrame]"

#: Characters at the beginning of a text that make a spreadsheet run it.
_RUNS = ("=", "+", "-", "@", "\t", "\r")


def csv(rows: Rows) -> bytes:
    """Rows as CSV. A leading =, +, - or @ of a text is quoted, since spreadsheets would run it."""
    import csv as writer
    from io import StringIO

    def cell(value: object) -> object:
        plain = _plain(value)
        if isinstance(plain, (dict, list)):
            return json.dumps(plain, ensure_ascii=False)
        return f"'{plain}" if isinstance(plain, str) and plain[:1] in _RUNS else plain

    names = _names(rows)
    out = StringIO(newline="")
    table = writer.writer(out, lineterminator="\n")
    table.writerow([cell(name) for name in names])
    table.writerows([cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue().encode("utf-8")


def as_json(rows: Rows) -> bytes:
    """Rows as a JSON list of objects: dates as text, what is missing as null."""
    plain = [{str(name): _plain(value) for name, value in row.items()} for row in rows]
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def parquet(rows: Rows) -> bytes:
    """Rows as Parquet, each column of the type of its values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _names(rows)
    # A NaN is a missing score here, which Parquet tells by itself.
    columns = {name: [None if _nan(row.get(name)) else row.get(name) for row in rows] for name in names}
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out, compression="zstd")
    content: bytes = out.getvalue().to_pybytes()
    return content


_KINDS: tuple[tuple[str, str, str, Callable[[Rows], bytes]], ...] = (
    ("CSV", "csv", "text/csv", csv),
    ("JSON", "json", "application/json", as_json),
    ("Parquet", "parquet", "application/vnd.apache.parquet", parquet),
)


def buttons(
    rows: Source,
    name: str,
    *,
    key: str = "download",
    label: str = "Download",
    svg: Callable[[], str] | None = None,
) -> None:
    """One quiet line: what is shown as CSV, JSON or Parquet, in a file called `name`.

    Nothing is made before a button is pressed; then `rows` is called where it is a function, and `svg`,
    which makes the figure of it. `key` tells two such lines of one page apart.
    """
    nothing = not callable(rows) and len(rows) == 0
    with st.container(key=key, horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(label, width="content")
        for title, ending, mime, make in _KINDS:
            st.download_button(
                title, partial(_file, make, rows), f"{name}.{ending}", mime, key=f"{key}_{ending}",
                help=f"What is shown, as {title}", type="tertiary", disabled=nothing, on_click="ignore",
            )  # fmt: skip
        if svg is not None:
            _svg(svg, name, key)


def picture(svg: Callable[[], str], name: str, *, key: str) -> None:
    """One quiet line: a figure as an SVG file called `name`, drawn when somebody presses for it."""
    with st.container(key=key, horizontal=True, vertical_alignment="center", gap="small"):
        st.caption("Download the figure", width="content")
        _svg(svg, name, key)


def _svg(make: Callable[[], str], name: str, key: str) -> None:
    st.download_button(
        "SVG", lambda: make().encode(), f"{name}.svg", "image/svg+xml", key=f"{key}_svg",
        help="The figure as a picture that stands alone", type="tertiary", on_click="ignore",
    )  # fmt: skip


def _file(make: Callable[[Rows], bytes], source: Any) -> bytes:
    return make(_rows(source))


def _rows(source: Any) -> Rows:
    found = source() if callable(source) else source
    if hasattr(found, "to_dict"):
        found = found.astype(object).where(found.notna(), None).to_dict("records")
    rows: Rows = found
    return rows


def _names(rows: Rows) -> list[str]:
    """Every name that a row has, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    """A cell as JSON can hold it."""
    if value is None or value != value:
        return None
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [_plain(part) for part in value]
    return str(value)
