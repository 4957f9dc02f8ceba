"""Streamlit's own scripts that every page needs, named in the page that is sent.

Streamlit asks for the script of an element when the first such element arrives, and for what that script
imports when it has come: two more ways to the server and back before the table is there. A browser that is
told at once has them by then.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

#: The elements at the head of the pages; without their versions, which differ from release to release.
ELEMENTS = ("BidiComponent", "ButtonGroup", "Selectbox", "TextInput", "DownloadButton", "PageLink", "Html")
_IMPORT = re.compile(r"""\b(?:from|import)\s*["']\./([^"']+\.js)["']""")


@cache
def scripts() -> tuple[str, ...]:
    """File names in Streamlit's `static/js`, each once; what its own page names already is left out."""
    static = files("streamlit").joinpath("static")
    folder = static.joinpath("static", "js")
    named = static.joinpath("index.html").read_text(encoding="utf-8")
    there = {path.name for path in folder.iterdir()}
    todo = [name for name in sorted(there) if name.split(".")[0] in ELEMENTS and name.endswith(".js")]
    found: dict[str, None] = {}
    while todo:
        name = todo.pop(0)
        if name in there and name not in found and name not in named:
            found[name] = None
            todo += _IMPORT.findall(folder.joinpath(name).read_text(encoding="utf-8"))
    return tuple(found)


def links() -> str:
    """The elements for the head of a page."""
    return "".join(f'<link rel="modulepreload" crossorigin href="./static/js/{name}">' for name in scripts())
