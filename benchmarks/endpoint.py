"""How near the evaluation of an endpoint comes to the ideal time, and to the limits of the service.

    python benchmarks/endpoint.py

A local server (tests/chat_server.py, in a process of its own) answers after 0.1 to 0.3 s, one question in
50 after 3 s. The ideal is what no client can beat: the seconds that all requests took, failed ones too,
over the concurrency; or the time that the rate limit needs. Beside it the usual way, with the same client:
batches of 4 x concurrency, each as slow as its slowest answer. Prints lines for RESULTS.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from chat_server import Behaviour, Body, ChatServer, key_of

from ucbench.models.base import Batch
from ucbench.models.endpoint import load as endpoints
from ucbench.models.endpoint.client import Service
from ucbench.models.endpoint.vlm import EndpointVLM
from ucbench.record import Decoding
from ucbench.tracks import registry as tracks

FAULTS = {"cut": 0.02, "500": 0.02, "502": 0.02, "503": 0.02, "malformed": 0.02}


def latency(body: Body) -> float:
    """Seconds, the same for the same question: 0.1 to 0.3, one in 50 takes 3."""
    draw = int(key_of(body), 16) % 10_000
    return 3.0 if draw < 200 else 0.1 + 0.2 * draw / 10_000


def serve(pipe: Connection, behaviour: dict[str, Any]) -> None:
    with ChatServer(Behaviour(latency=latency, **behaviour)) as server:
        pipe.send(server.url)
        pipe.recv()
        pipe.send((server.seconds, server.requests, server.most_at_once, len(server.doubled)))


def streamed(vlm: EndpointVLM, batch: Batch, _: int) -> int:
    return sum(len(group) for group in vlm.answer_stream(batch.items))


def in_batches(vlm: EndpointVLM, batch: Batch, size: int) -> int:
    starts = range(0, len(batch.items), size)
    return sum(len(vlm.answer(Batch(0, 0, batch.items[start : start + size]))) for start in starts)


def measure(
    label: str,
    ask: Callable[[EndpointVLM, Batch, int], int],
    concurrency: int,
    questions: int,
    **behaviour: Any,
) -> None:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, behaviour), daemon=True)
    server.start()
    vlm = endpoints.load(
        Service("test-vlm", here.recv(), concurrency=concurrency), decoding=Decoding(), policy=None
    )
    (whole,) = vlm.plan(tracks.load("pictograms").samples(limit=90), 10**6)
    batch = Batch(0, 0, whole.items[:questions])
    begin, cpu = time.perf_counter(), time.process_time()
    answered = ask(vlm, batch, 4 * concurrency)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    vlm.close()
    here.send("end")
    busy, requests, most, doubled = here.recv()
    server.join()
    ideal = busy / concurrency
    if "rate" in behaviour:
        allowed, window = behaviour["rate"]
        ideal = max(ideal, (answered / allowed - 1) * window)
    print(
        f"| {label} | {answered} questions, {requests} requests, {concurrency} at once (most seen: {most}) "
        f"| {ideal:.1f} s | {seconds:.1f} s | {seconds / ideal:.2f} | {doubled} | {cpu:.1f} s |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="time over the ideal of an endpoint's evaluation")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    sizes = (options.concurrency, options.questions)
    measure("answers as they come", streamed, *sizes)
    measure("in batches of 4 x concurrency", in_batches, *sizes)
    measure("10% of requests fail", streamed, *sizes, faults=FAULTS)
    measure("40 requests a second allowed", streamed, *sizes, rate=(40, 1.0))


if __name__ == "__main__":
    main()
