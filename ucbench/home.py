"""Where the site's pages and the committed results are: at the top of a clone, or within the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def home() -> Path:
    """The folder that holds `app.py`, `app_pages/` and `results/`.

    A wheel carries them in `ucbench/shipped/` (see setup.py).
    """
    shipped = _PACKAGE / "shipped"
    return shipped if shipped.is_dir() else _PACKAGE.parent


def results() -> Path:
    """`results/` here if there is one, else the one that came with ucbench."""
    here = Path("results")
    return here if here.is_dir() else home() / "results"
