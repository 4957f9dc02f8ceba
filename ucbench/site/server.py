"""The site as an ASGI application: the Streamlit pages plus read-only routes.

`GET /api/board` gives the board's rows as JSON, `GET /api/schema` the JSON schema of a run's record.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench.errors import StoreError, UcbenchError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute
    from streamlit import App

_LOG = logging.getLogger(__name__)

APP = Path(__file__).resolve().parents[2] / "app.py"
_served = False


def served() -> bool:
    """Whether this process serves the site with its own routes, and not plain `streamlit run`."""
    return _served


def api_board(request: Request) -> Response:
    """The rows of the board that the site shows, `?track=` for one track; 404 when there is none.

    `note` says in a sentence when runs had to be left out, `revision` which one of the results store this
    is; both are null otherwise.
    """
    from starlette.responses import JSONResponse

    from ucbench.site import loading
    from ucbench.site.shared import known_tracks

    try:
        board = loading.board()
    except StoreError as error:
        return JSONResponse({"error": str(error)}, status_code=404)
    wanted = request.query_params.get("track")
    known = known_tracks(board)
    if wanted and wanted not in known:
        problem = f"there is no track of that name; track takes one of {', '.join(known)}"
        return JSONResponse({"error": problem}, status_code=404)
    rows = board.of_track(wanted) if wanted else board.rows
    return JSONResponse(
        {
            "as_of": board.manifest.get("as_of"),
            "digest": board.digest,
            "note": board.note or None,
            "revision": (board.source.revision if board.source else "") or None,
            "rows": loading.public_rows(rows),
        }
    )


def api_schema(_: Request) -> Response:
    """The contract of `record.json`."""
    from starlette.responses import JSONResponse

    from ucbench.record import RunRecord

    return JSONResponse(RunRecord.model_json_schema())


def routes() -> list[BaseRoute]:
    """All routes beside the pages. Plain functions: Starlette runs them off the event loop."""
    from starlette.routing import Route

    return [Route("/api/board", api_board), Route("/api/schema", api_schema)]


def application(port: int = 8501) -> App:
    """The ASGI application. Raises `UcbenchError` where the pages were not installed."""
    import streamlit as st
    from starlette.middleware import Middleware

    from ucbench.site import head, signin

    global _served
    if not APP.is_file():
        raise UcbenchError(f"the site's pages are not in {APP.parent}; start it from a clone of the project")
    _served = True
    return st.App(
        APP,
        secrets=signin.secrets(os.environ, port),
        routes=[*routes(), *head.routes()],
        middleware=[Middleware(signin.BackToSubmit)],
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


def serve(port: int, host: str, open_browser: bool = False) -> None:
    """Serve the site until it is interrupted. Raises `UcbenchError` for an address that cannot be served."""
    from ucbench.site import loading

    _check_free(port, host)
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
            }
        )
    except OSError as error:
        # A name that nobody knows, an address of another machine, a port that is not ours to take.
        raise UcbenchError(
            f"cannot serve the site at {host}:{port}: {error.strerror or error}; "
            "--host takes an address of this machine, such as localhost"
        ) from error
