"""Serves the site, or the bare table beside it, and writes how long each run of its script took.

`python benchmarks/site_server.py ours|naive PORT LOG`; a line of LOG is `{"wall": ms, "cpu": ms}`. The clock
stands around Streamlit's call of the script, so that the site itself is served as it is.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from streamlit.runtime.scriptrunner import script_runner

NAIVE = Path(__file__).with_name("naive_site.py")


def time_scripts(log: Path) -> None:
    run = script_runner.exec_func_with_error_handling
    told = log.open("a", buffering=1)

    def timed(func: Any, ctx: Any) -> Any:
        wall, cpu = time.perf_counter(), time.thread_time()
        found = run(func, ctx)
        line = {"wall": (time.perf_counter() - wall) * 1000, "cpu": (time.thread_time() - cpu) * 1000}
        told.write(json.dumps(line) + "\n")
        return found

    script_runner.exec_func_with_error_handling = timed  # type: ignore[assignment]


def main(which: str, port: int, log: Path) -> None:
    time_scripts(log)
    if which == "ours":
        from ucbench.site.serving import server

        server.serve(port, "127.0.0.1")
    else:
        import streamlit as st

        sys.argv = [str(NAIVE)]
        st.App(NAIVE).run(
            config={
                "server.port": port, "server.address": "127.0.0.1", "server.headless": True,
                "server.fileWatcherType": "none", "browser.gatherUsageStats": False,
            }
        )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
