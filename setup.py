"""Puts the site's pages and the committed results into the package when it is built.

In a clone they stand at the top, where people look for them; a wheel has no such place.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

#: What goes to `ucbench/shipped/` of a wheel.
SHIPPED = ("app.py", "app_pages", ".streamlit", "results", "CHANGELOG.md")


class BuildWithSite(build_py):
    """The package, and what it finds at the top of a clone."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        here = Path(__file__).parent
        target = Path(self.build_lib) / "ucbench" / "shipped"
        shutil.rmtree(target, ignore_errors=True)
        for name in SHIPPED:
            source = here / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target / name)


setup(cmdclass={"build_py": BuildWithSite})
