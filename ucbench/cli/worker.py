"""`ucbench worker`."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ucbench.cli.options import AsJson, Device, ResultsAddress, StoreAddress
from ucbench.errors import UcbenchError

app = typer.Typer()


@app.command()
def worker(
    store: StoreAddress = "",
    results: ResultsAddress = None,
    once: Annotated[bool, typer.Option("--once", help="Do one request and end.")] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Take this track only; may be repeated. All whose data is here by default."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACK=PATH", help="Local data of a track that needs some; may be repeated."),
    ] = None,
    max_params: Annotated[
        float | None, typer.Option(min=0, help="Take models of at most so many billion parameters.")
    ] = None,
    time_limit: Annotated[
        str, typer.Option(help="Of a request, for fetching and evaluating: 90m, 2h.")
    ] = "2h",
    memory_limit: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="GB of main memory that an evaluation may take; 90% of what is here by default."
        ),
    ] = None,
    cache_gb: Annotated[float, typer.Option(min=0.01, help="GB of disk for models.")] = 200.0,
    name: Annotated[
        str | None, typer.Option(help="Its name in the queue, for all to see; one is made by default.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where it works and keeps models; the user's folder for caches.")
    ] = None,
    evaluator: Annotated[
        str | None,
        typer.Option(
            metavar="CMD",
            help="Evaluate with CMD REQUEST.json FOLDER, which leaves a run in FOLDER, instead.",
        ),
    ] = None,
    on: Annotated[
        str | None, typer.Option(help="hf-jobs: evaluate on machines rented from the Hub instead of here.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="... the container image, which has ucbench.")] = None,
    flavor: Annotated[str, typer.Option(help="... the kind of machine.")] = "l4x1",
    namespace: Annotated[
        str | None, typer.Option(help="... the account that pays; yours by default.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="rules, classifier, classifier:official; as fits the track by default.")
    ] = None,
    device: Device = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Answers decoded together.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A rehearsal with so many samples; its runs are not ranked.")
    ] = None,
    namespaces: Annotated[
        bool, typer.Option(help="Keep evaluations in by namespaces; else by what the kernel has beside them.")
    ] = True,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between looks at an empty queue.")] = 30.0,
    status: Annotated[
        bool, typer.Option("--status", help="Say whether the worker on this machine lives, and end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate what the queue holds, a request at a time, and publish the results.

    Models run in a child process without tokens or network, which may write to a folder of its own alone. One
    worker a machine with its GPUs, any number of machines. SIGTERM and Ctrl+C hand the request back; after a
    kill the same command goes on.
    """
    from ucbench import terminal
    from ucbench.hub.worker import setup

    home = setup.home(folder)
    chosen = setup.checked_name(name)
    if status:
        told = setup.status(home, chosen)
        print(setup.as_text(told, as_json))
        raise typer.Exit(0 if told["alive"] else 1)
    if not store:
        raise UcbenchError("no queue is named; give --store FOLDER or hf://datasets/OWNER/NAME")
    bench = setup.bench(
        setup.Wishes(
            store=store,
            results=results,
            home=home,
            name=chosen,
            tracks=tuple(track or ()),
            data=setup.data_of(data or ()),
            max_parameters=None if max_params is None else int(max_params * 1e9),
            time_limit=setup.duration_of(time_limit),
            memory=None if memory_limit is None else int(memory_limit * 1e9),
            cache=int(cache_gb * 1e9),
            evaluator=evaluator,
            on=on,
            image=image,
            flavor=flavor,
            namespace=namespace,
            judge=judge,
            device=device,
            batch_size=batch_size,
            limit=limit,
            once=once,
            poll=poll,
            namespaces=namespaces,
        ),
        lambda text: terminal.say(f"{datetime.now():%H:%M:%S} {text}"),
    )
    from ucbench.hub.worker.loop import Worker

    code = Worker(bench).run()
    if bench.abandoned:  # nothing else ends a download that is under way
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code)
