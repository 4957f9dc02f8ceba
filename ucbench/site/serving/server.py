"""The site as an ASGI application: the Streamlit pages plus read-only routes (`api`, `feeds`, `head`)."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING

from ucbench.errors import UcbenchError
from ucbench.home import home

if TYPE_CHECKING:
    from starlette.routing import BaseRoute
    from streamlit import App

_LOG = logging.getLogger(__name__)

APP = home() / "app.py"
_served = False
#: Seconds that the process may take to end after SIGTERM; `docker stop` kills after 10.
_LEAVING = 5


def served() -> bool:
    """Whether this process serves the site with its own routes, and not plain `streamlit run`."""
    return _served


def routes() -> list[BaseRoute]:
    """All routes that give no pages: the API and the feeds."""
    from ucbench.site.serving import api, feeds

    return [*api.routes(), *feeds.routes()]


def application(port: int = 8501) -> App:
    """The ASGI application. Raises `UcbenchError` where the pages were not installed."""
    import streamlit as st
    from starlette.middleware import Middleware

    from ucbench.site.serving import framed, head, packed, signin, tokens

    global _served
    if not APP.is_file():
        raise UcbenchError(f"the site's pages are not in {APP.parent}; start it from a clone of the project")
    _served = True
    return st.App(
        APP,
        secrets=signin.secrets(os.environ, port),
        routes=[*routes(), *head.routes()],
        middleware=[
            Middleware(signin.BackToPage),
            Middleware(tokens.TokensStay),
            Middleware(packed.Packed),
            *([Middleware(framed.Framed)] if framed.on_a_space(os.environ) else []),
        ],
        on_script_error=say_so,
    )


def say_so(error: Exception) -> bool:
    """A fault of ours: the details go to the log, a visitor gets a sentence."""
    import streamlit as st

    _LOG.error("a page failed", exc_info=error)
    st.error("This page met an error of ours. Load it again; the other pages work.", icon=":material/error:")
    return True


def _check_free(port: int, host: str) -> None:
    """Streamlit would end the process with a line of its log. Raises `UcbenchError` for a port in use."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UcbenchError(
                    f"port {port} is taken by another program; choose another --port"
                ) from error


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM, once visitors have been let go: what was begun for the process is taken away, then it ends."""
    # A store that hangs must not hold up the end: the alarm kills.
    signal.alarm(_LEAVING)
    sys.exit(0)


def serve(port: int, host: str, open_browser: bool = False) -> None:
    """Serve the site until it is interrupted. Raises `UcbenchError` for an address that cannot be served."""
    from ucbench.site.data import loading
    from ucbench.site.serving import framed

    _check_free(port, host)
    # By default the signal would end the process on the spot: models of the page Try would outlive it.
    signal.signal(signal.SIGTERM, _leave)
    app = application(port)
    # A store is read from now on, so that the first visitor finds its results.
    loading.source()
    # Streamlit reads .streamlit/config.toml beside the program it was started as.
    sys.argv = [str(APP)]
    try:
        app.run(
            config={
                "server.port": port,
                "server.address": host,
                "server.headless": not open_browser,
                "server.fileWatcherType": "none",
                **framed.settings(os.environ),
            }
        )
    except OSError as error:
        # A name that nobody knows, an address of another machine, a port that is not ours to take.
        raise UcbenchError(
            f"cannot serve the site at {host}:{port}: {error.strerror or error}; "
            "--host takes an address of this machine, such as localhost"
        ) from error
