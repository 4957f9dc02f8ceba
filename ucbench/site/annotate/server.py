"""The annotators' tool: a page of its own, for one annotator on one machine.

`serve` starts it; started by Streamlit as a script, this file shows the page.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from ucbench.errors import UcbenchError

HOST = "localhost"
#: The first port that is tried; the site itself is on the one before.
FIRST_PORT = 8502
_ENV = "UCBENCH_ANNOTATE_"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the page must know, handed over in the environment; `key` opens the page."""

    folder: Path
    annotator: str
    key: str
    pause_every: float
    source: str | None = None

    def to_environment(self) -> dict[str, str]:
        """As environment variables."""
        values = {
            "FOLDER": str(self.folder.resolve()), "NAME": self.annotator, "KEY": self.key,
            "PAUSE": str(self.pause_every), "SOURCE": self.source or "",
        }  # fmt: skip
        return {_ENV + name: value for name, value in values.items()}

    @staticmethod
    def from_environment() -> Settings:
        """The settings that `serve` put there."""
        folder, name, key, pause, source = (
            os.environ[_ENV + part] for part in ("FOLDER", "NAME", "KEY", "PAUSE", "SOURCE")
        )
        return Settings(Path(folder), name, key, float(pause), source or None)


def serve(
    folder: Path,
    annotator: str,
    *,
    source: str | None = None,
    port: int | None = None,
    pause_every: float = 20.0,
) -> None:
    """Serve the tool on this machine alone until it is interrupted.

    The address carries a key, since other users of the machine reach its ports too. Raises `UcbenchError`
    for a folder without candidates, pictures that cannot be found, a name that cannot be used, a port that is
    taken.
    """
    import streamlit as st

    from ucbench import terminal
    from ucbench.compile import candidates
    from ucbench.compile.annotations import AnnotatorFile
    from ucbench.compile.sources import reopen
    from ucbench.site.serving.server import APP

    compilation = candidates.read(folder)
    reopen(compilation.source, source)
    file = AnnotatorFile(folder, annotator)
    file.read()
    settings = Settings(folder, file.annotator, secrets.token_urlsafe(16), pause_every, source)
    os.environ.update(settings.to_environment())
    chosen = _free_port(port)
    terminal.say(
        f"open http://{HOST}:{chosen}/?key={settings.key} (Ctrl+C ends it; decisions go to {file.path})"
    )
    # Streamlit reads the theme in .streamlit/config.toml beside the program it was started as.
    sys.argv = [str(APP)]
    st.App(Path(__file__).resolve(), on_script_error=_say_so).run(
        config={
            "server.port": chosen,
            "server.address": HOST,
            "server.headless": True,
            "server.fileWatcherType": "none",
            "browser.gatherUsageStats": False,
            "client.toolbarMode": "viewer",
            "client.showErrorDetails": "none",
            "logger.hideWelcomeMessage": True,
        }
    )


def _free_port(wanted: int | None) -> int:
    for port in [wanted] if wanted else range(FIRST_PORT, FIRST_PORT + 100):
        with socket.socket() as probe:
            # A port that was just given back may be taken again, one that is listened on may not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UcbenchError(f"port {wanted or FIRST_PORT} of this machine is taken; choose another with --port")


def _say_so(error: Exception) -> bool:
    """A fault of ours: the details go to the log, the annotator gets a sentence."""
    import logging

    import streamlit as st

    logging.getLogger(__name__).error("the tool failed", exc_info=error)
    st.error("The tool met an error of ours. Load the page again; every decision so far is kept.")
    return True


if __name__ == "__main__":
    from ucbench.site.annotate.page import page

    page(Settings.from_environment())
