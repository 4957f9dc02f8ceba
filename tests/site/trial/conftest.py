"""Models of a few lines in real processes of their own, and waiting for jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ucbench.site.trial.answerer import Answerer, Patience
from ucbench.site.trial.jobs import Desk, Job
from ucbench.site.trial.line import Line
from ucbench.site.trial.providers import Allowance

#: A process that speaks as the real one does; the question says what it does.
SCRIPT = """
import json, os, sys, threading, time, queue
orders, stopped = queue.SimpleQueue(), set()
def listen():
    for line in sys.stdin:
        order = json.loads(line)
        stopped.add(order["n"]) if order["do"] == "stop" else orders.put(order)
    os._exit(0)
threading.Thread(target=listen, daemon=True).start()
def say(order, **said):
    print(json.dumps({"n": order["n"], **said}), flush=True)
while True:
    order = orders.get()
    if order["do"] == "judge":
        say(order, read=[{"label": "Unsafe", "how": "letter", "probs": {"Unsafe": 0.9, "Safe": 0.1}}
                         for _ in order["items"]])
        continue
    asked = order["question"] + order["model"]
    if "absent" in asked:
        say(order, error="There is no such model.")
        continue
    say(order, loaded=True)
    if "dies" in asked:
        os._exit(9)
    if "hangs" in asked:
        time.sleep(3600)
    n = 0
    while ("endless" in asked or n < 2) and order["n"] not in stopped:
        say(order, piece=["No, ", "it is not safe."][min(n, 1)])
        n += 1
        time.sleep(0.01)
    say(order, done=True)
"""


@pytest.fixture
def scripted_answerer() -> Iterator[Callable[..., Answerer]]:
    """scripted_answerer(answer=0.5): a real process with a model of a few lines, and its patience."""
    made: list[Answerer] = []

    def make(**patience: float) -> Answerer:
        waits = {"load": 20.0, "answer": 20.0, "stop": 2.0} | patience
        made.append(Answerer(Patience(**waits), [sys.executable, "-c", SCRIPT]))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def new_desk(scripted_answerer: Callable[..., Answerer]) -> Callable[..., Desk]:
    """new_desk(most=2, grace=0.2, calls=60): what visitors share, with that model."""

    def make(most: int = 8, grace: float = 20.0, calls: int = 60, **patience: float) -> Desk:
        return Desk(scripted_answerer(**patience), Line(most), Allowance(calls), grace)

    return make


@pytest.fixture
def finished() -> Callable[[Job], Job]:
    """Waits until a job has ended in its own thread."""

    def wait(job: Any, state: str = "") -> Any:
        until = time.monotonic() + 60
        while job.state not in ((state,) if state else ("done", "left")):
            assert time.monotonic() < until, (job.state, [part.problem for part in job.parts])
            time.sleep(0.02)
        return job

    return wait


@pytest.fixture
def ran_alone() -> Callable[[str], Any]:
    """Runs code in a Python of its own."""
    return lambda code: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
