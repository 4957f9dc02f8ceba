"""The site with a board of many models, against the least that Streamlit can do: a bare table of its rows.

    python benchmarks/site.py [--models 1000] [--visitors 100] [--seconds 120] [--only pages,visitors,...]

Both sites run side by side from the same files, each in a process of its own, and are asked in turns, so that
whatever else the machine does meets both. Parts:

cold      seconds from starting the server's process to the first table over the websocket
pages     milliseconds of script time a page, warm: wall time and time on the processor (of the one thread),
          told by a clock around Streamlit's call of the script (site_server.py)
bytes     what comes over the websocket for the first page, without Streamlit's own static files
browser   seconds from navigation to a visible table in Chromium, first visit and again with a filled cache:
          the leaderboard's as it is sent, to read, and the live one, to use; and a first visit over a line
          of 10 Mbit/s, 40 ms away
visitors  many at once over real websockets (site_visitor.py: Streamlit's protocol without a browser), each
          pausing a few seconds between what it does; times until the last message, errors, memory a session

Prints Markdown tables. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import make_board
import pyarrow.parquet as pq
from site_visitor import Answer, Visitor

from ucbench import board as boards

HERE = Path(__file__).resolve().parent
PARTS = ("cold", "pages", "bytes", "browser", "visitors")
PATIENCE = 120.0


@dataclass
class Site:
    """A running server."""

    host: str
    process: subprocess.Popen[bytes]
    log: Path

    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def scripts(self, skip: int = 0) -> list[dict[str, float]]:
        """The times of the runs so far, in milliseconds."""
        return [json.loads(line) for line in self.log.read_text().splitlines()[skip:]]


@contextmanager
def serving(which: str, results: Path, work: Path) -> Iterator[Site]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = Path(tempfile.mkdtemp(dir=work)) / "times"
    log.touch()
    environment = {
        **os.environ, "UCBENCH_RESULTS": str(results), "UCBENCH_RUNS": str(work / "none"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    environment.pop("UCBENCH_STORE", None)
    environment.pop("UCBENCH_RESULTS_STORE", None)
    with log.with_name("out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "site_server.py"), which, str(port), str(log)],
            env=environment, cwd=work, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield Site(f"127.0.0.1:{port}", process, log)
    finally:
        process.terminate()
        process.wait(30)


async def visit(site: Site) -> Visitor:
    """A visitor of a site that may still be starting."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return await Visitor(site.host).enter()
        except OSError:
            if time.monotonic() > until or site.process.poll() is not None:
                sys.exit(f"no server: {site.log.with_name('out').read_text()}")
            await asyncio.sleep(0.02)


def pages(results: Path) -> dict[str, tuple[str, str]]:
    """What a page shows -> its address and query."""
    table = pq.read_table(results / boards.BOARD, columns=["run_id", "track"])
    run, other = table.column("run_id").to_pylist()[:2]
    where = f"track={table.column('track')[0]}"
    concept = "arson"
    return {
        "leaderboard": ("", where),
        "leaderboard, sorted by perception": ("", f"{where}&sort=perception"),
        "leaderboard, searched": ("", f"{where}&q=birch"),
        "leaderboard, one category": ("", f"{where}&category=hate"),
        "model": ("model", f"run={run}"),
        "concepts": ("concepts", where),
        "one concept": ("concepts", f"{where}&concept={concept}"),
        "compare": ("compare", f"{where}&runs={run},{other}"),
        "answers": ("answers", f"{where}&run={run}"),
        "alignment": ("alignment", ""),
        "try": ("try", ""),
        "submit": ("submit", ""),
        "queue": ("queue", ""),
        "method": ("method", ""),
        "about": ("about", ""),
    }


def table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    sys.stdout.flush()


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


async def cold(results: Path, work: Path, times: int) -> None:
    """Start both sites anew, in turns."""
    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    for _ in range(times):
        for which, found in seconds.items():
            start = time.perf_counter()
            with serving(which, results, work) as site:
                async with await visit(site) as visitor:
                    sent = time.perf_counter()
                    answer = await visitor.ask()
                found.append(sent - start + (answer.table or float("nan")))
    ours, naive = (statistics.median(seconds[which]) for which in ("ours", "naive"))
    table(
        f"Cold start to the first table over the websocket, median of {times}",
        ("ours", "fastest", "bare table", "fastest", "ratio"),
        [(f"{ours:.2f} s", f"{min(seconds['ours']):.2f} s", f"{naive:.2f} s",
          f"{min(seconds['naive']):.2f} s", f"{ours / naive:.1f}x")],
    )  # fmt: skip


async def script_times(ours: Site, naive: Site, results: Path, times: int) -> None:
    """Every page again and again in one session; the bare table in between."""
    lines = []
    mine, bare = await visit(ours), await visit(naive)
    for name, (page, query) in pages(results).items():
        told: list[Answer] = [await mine.ask(page, query) for _ in range(2)]
        await bare.ask()
        before, before_bare = len(ours.scripts()), len(naive.scripts())
        for _ in range(times):
            told.append(await mine.ask(page, query))
            await bare.ask()
        runs, bare_runs = ours.scripts(before), naive.scripts(before_bare)
        wall, cpu = ([run[clock] for run in runs] for clock in ("wall", "cpu"))
        ratio = statistics.median(cpu) / statistics.median(run["cpu"] for run in bare_runs)
        problems = {problem for answer in told for problem in answer.problems}
        lines.append(
            (name, f"{statistics.median(wall):.1f}", f"{p95(wall):.1f}", f"{statistics.median(cpu):.1f}",
             f"{p95(cpu):.1f}", f"{statistics.median(run['cpu'] for run in bare_runs):.1f}", f"{ratio:.1f}x",
             "; ".join(sorted(problems)))
        )  # fmt: skip
    await mine.leave()
    await bare.leave()
    table(
        f"Script time in ms, warm, {times} runs a page",
        ("page", "wall, median", "wall, p95", "processor, median", "p95", "bare table, processor", "ratio",
         "errors"),
        lines,
    )  # fmt: skip


async def sizes(ours: Site, naive: Site, results: Path) -> None:
    """The first page of a new session."""
    found = {}
    for name, site, (page, query) in (
        ("leaderboard", ours, pages(results)["leaderboard"]),
        ("concepts", ours, pages(results)["concepts"]),
        ("bare table", naive, ("", "")),
    ):
        async with await visit(site) as visitor:
            found[name] = await visitor.ask(page, query)
    bare = found["bare table"].size
    table(
        "Bytes over the websocket, first page of a session",
        ("page", "kB", "ratio", "most of it"),
        [
            (name, f"{answer.size / 1000:.0f}", f"{answer.size / bare:.1f}x",
             ", ".join(f"{kind} {size / 1000:.0f}" for kind, size in
                       sorted(answer.sizes.items(), key=lambda pair: -pair[1])[:3]))
            for name, answer in found.items()
        ],
    )  # fmt: skip


#: A line as many have it: 10 Mbit/s down, 40 ms to the server and back.
LINE = {
    "offline": False, "latency": 40, "downloadThroughput": 10e6 / 8, "uploadThroughput": 2e6 / 8,
}  # fmt: skip
#: Notes when the first element of a selector can be seen, in shadow roots too, with `live` in the page that
#: Streamlit draws only: Playwright itself looks every half second only.
WATCH = """(selector, live) => {
  const find = (root) => root.querySelector(selector) ?? [...root.querySelectorAll("*")]
    .filter((each) => each.shadowRoot && !(live && each.closest(".sent")))
    .map((each) => find(each.shadowRoot)).find(Boolean)
  const look = () => {
    const found = document.body && find(document)
    const seen = found?.checkVisibility({ visibilityProperty: true, opacityProperty: true })
    if (seen && found.getBoundingClientRect().height) window.seenAt = performance.now()
    else requestAnimationFrame(look)
  }
  look()
}"""


def in_chromium(ours: Site, naive: Site, results: Path, times: int) -> None:
    """Navigation to a table that can be seen."""
    from playwright.sync_api import sync_playwright

    where = pages(results)
    asked = {
        "leaderboard, to read": (ours, where["leaderboard"], "table", False),
        "leaderboard, to use": (ours, where["leaderboard"], "table", True),
        "concepts": (ours, where["concepts"], "table", True),
        "bare table": (naive, ("", ""), "[data-testid=stDataFrame] canvas", True),
    }
    first: dict[str, list[float]] = {name: [] for name in asked}
    again: dict[str, list[float]] = {name: [] for name in asked}
    far: dict[str, list[float]] = {name: [] for name in asked}
    chromium = os.environ.get("UCBENCH_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for _ in range(times):
            for name, (site, (page, query), selector, live) in asked.items():
                context = browser.new_context(viewport={"width": 1440, "height": 900})
                context.add_init_script(f"({WATCH})({json.dumps(selector)}, {json.dumps(live)})")
                for found in (first, again, far):
                    if found is far:  # a first visit again
                        context.close()
                        context = browser.new_context(viewport={"width": 1440, "height": 900})
                        context.add_init_script(f"({WATCH})({json.dumps(selector)}, {json.dumps(live)})")
                    tab = context.new_page()
                    if found is far:
                        line = context.new_cdp_session(tab)
                        line.send("Network.enable")
                        line.send("Network.emulateNetworkConditions", LINE)
                    tab.goto(f"http://{site.host}/{page}?{query}", wait_until="commit")
                    tab.wait_for_function("window.seenAt", polling=50, timeout=PATIENCE * 1000)
                    found[name].append(tab.evaluate("window.seenAt") / 1000)  # since navigation began
                    tab.close()
                context.close()
        version = browser.version
        browser.close()
    table(
        f"Navigation to a visible table in Chromium {version}, s, median of {times}",
        ("page", "first visit", "ratio", "filled cache", "ratio", "fastest", "first visit far away", "ratio"),
        [
            (name, f"{statistics.median(first[name]):.2f}",
             f"{statistics.median(first[name]) / statistics.median(first['bare table']):.1f}x",
             f"{statistics.median(again[name]):.2f}",
             f"{statistics.median(again[name]) / statistics.median(again['bare table']):.1f}x",
             f"{min(again[name]):.2f}", f"{statistics.median(far[name]):.2f}",
             f"{statistics.median(far[name]) / statistics.median(far['bare table']):.1f}x")
            for name in asked
        ],
    )  # fmt: skip


async def one_visitor(site: Site, wanted: Sequence[tuple[str, str]], until: float, seed: int) -> list[Answer]:
    """Looks at one page after the other, some seconds each, until the time is over."""
    draw = random.Random(seed)
    await asyncio.sleep(draw.uniform(0, 5))  # nobody arrives in the same instant
    found = []
    async with await visit(site) as visitor:
        while time.monotonic() < until:
            found.append(await visitor.ask(*draw.choice(wanted)))
            await asyncio.sleep(draw.uniform(2, 8))
    return found


async def crowd(site: Site, wanted: Sequence[tuple[str, str]], n: int, seconds: float) -> dict[str, Any]:
    async with await visit(site) as warm:
        for page in wanted:
            await warm.ask(*page)
    empty, before = site.memory(), len(site.scripts())
    until = time.monotonic() + seconds
    peak = empty

    async def watch() -> None:
        nonlocal peak
        while time.monotonic() < until:
            peak = max(peak, site.memory())
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    told = await asyncio.gather(*(one_visitor(site, wanted, until, seed) for seed in range(n)))
    await watching
    runs, answers = site.scripts(before), [answer for one in told for answer in one]
    firsts, later = [one[0] for one in told], [answer for one in told for answer in one[1:]]
    return {
        "runs": len(answers),
        "errors": [problem for answer in answers for problem in answer.problems],
        "first": p95([answer.seconds for answer in firsts]),
        "median": statistics.median(answer.seconds for answer in later),
        "p95": p95([answer.seconds for answer in later]),
        "script": p95([run["wall"] for run in runs]) / 1000,
        "cpu": sum(run["cpu"] for run in runs) / 1000,
        "memory": (peak - empty) / n,
        "peak": peak,
    }


async def crowds(ours: Site, naive: Site, results: Path, n: int, seconds: float) -> None:
    """Many visitors, of one site after the other."""
    where = list(pages(results).values())
    # Half of what people do is on the leaderboard.
    wanted = [*where[:4], *where[:4], *where[4:]]
    found = {
        "ours": await crowd(ours, wanted, n, seconds),
        "bare table": await crowd(naive, [("", "")], n, seconds),
    }
    table(
        f"{n} visitors at once for {seconds:.0f} s, each pausing 2 to 8 s",
        ("site", "runs", "errors", "first page, p95", "re-run, median", "re-run, p95", "script, p95",
         "processor in all", "memory a session", "memory at most"),
        [
            (name, str(one["runs"]), str(len(one["errors"])), f"{one['first']:.2f} s",
             f"{one['median'] * 1000:.0f} ms", f"{one['p95'] * 1000:.0f} ms",
             f"{one['script'] * 1000:.0f} ms", f"{one['cpu']:.0f} s", f"{one['memory']:.2f} MiB",
             f"{one['peak']:.0f} MiB")
            for name, one in found.items()
        ],
    )  # fmt: skip
    for name, one in found.items():
        for problem in sorted(set(one["errors"]))[:10]:
            print(f"{name}: {problem}")


async def main(given: argparse.Namespace) -> None:
    only = given.only.split(",") if given.only else PARTS
    work = Path(tempfile.mkdtemp(prefix="ucbench-bench-"))
    results = given.results or work / "results"
    try:
        if given.results is None:
            make_board.make(results, given.models)
        rows = pq.read_metadata(results / boards.BOARD).num_rows
        print(
            f"{rows} rows; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        )
        if "cold" in only:
            await cold(results, work, given.repeats)
        with ExitStack() as both:
            ours, naive = (both.enter_context(serving(which, results, work)) for which in ("ours", "naive"))
            for site in (ours, naive):  # both are up, and somebody has been there
                async with await visit(site) as visitor:
                    await visitor.ask()
            if "pages" in only:
                await script_times(ours, naive, results, given.runs)
            if "bytes" in only:
                await sizes(ours, naive, results)
            if "browser" in only:
                await asyncio.to_thread(in_chromium, ours, naive, results, given.repeats)
            if "visitors" in only:
                await crowds(ours, naive, results, given.visitors, given.seconds)
        print(f"\nload at the end {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, help="a board that is there, instead of a made-up one")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--visitors", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--runs", type=int, default=20, help="re-runs of each page")
    parser.add_argument("--repeats", type=int, default=5, help="of cold starts and navigations")
    parser.add_argument("--only", default="", help=f"parts, with commas: {', '.join(PARTS)}")
    asyncio.run(main(parser.parse_args()))
