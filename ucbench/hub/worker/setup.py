"""From what an operator asks for to a bench to work on."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.board_cache import caches
from ucbench.errors import AccessError, UcbenchError, UnknownNameError
from ucbench.hub.queue import Queue
from ucbench.hub.store import not_there, open_store
from ucbench.hub.worker import health, launch, processes
from ucbench.hub.worker.attempt import Bench, Evaluation, Options
from ucbench.hub.worker.local import LocalEvaluation
from ucbench.hub.worker.weights import Cache
from ucbench.tracks import registry as tracks

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HF_JOBS = "hf-jobs"
#: Of the machine's main memory, what an evaluation may take unless the operator says otherwise.
SHARE = 0.9
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of `ucbench worker`; memory and cache in bytes."""

    store: str
    results: str | None
    home: Path
    name: str
    tracks: tuple[str, ...]
    data: dict[str, str]
    max_parameters: int | None
    time_limit: timedelta
    memory: int | None
    cache: int
    evaluator: str | None
    on: str | None
    image: str | None
    flavor: str
    namespace: str | None
    judge: str | None
    device: str | None
    batch_size: int | None
    limit: int | None
    once: bool
    poll: float
    namespaces: bool


def bench(wishes: Wishes, say: Callable[[str], object]) -> Bench:
    """The stores, the cache of models and the way of evaluating that were asked for.

    From then on other processes of this user cannot read this one's environment, where the token is.
    Raises `UcbenchError` for wishes that do not go together.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # exported lazily

    if platform.system() != "Linux":
        raise UcbenchError("a worker keeps evaluations in by means of Linux; run it there, or in a container")
    for track, path in wishes.data.items():
        if not Path(path).exists():
            raise AccessError(f"there is no {path}, the data of track {track}; give TRACK=PATH with --data")
    memory = None if wishes.on else wishes.memory or int(SHARE * processes.memory_of_machine())
    evaluation = LocalEvaluation(
        wishes.evaluator, wishes.limit, wishes.batch_size, wishes.device, memory, wishes.data
    )
    options = Options(
        folder=wishes.home / wishes.name,
        name=wishes.name,
        tracks=_tracks(wishes),
        max_parameters=wishes.max_parameters,
        time_limit=wishes.time_limit,
        judge=wishes.judge,
        limit=wishes.limit,
        data=wishes.data,
        once=wishes.once,
        poll=wishes.poll,
        without=() if wishes.namespaces else (launch.NAMESPACE,),
    )
    api = HfApi()
    where = _jobs(wishes, api, evaluation) if wishes.on else evaluation
    disable_progress_bars()
    processes.hide_memory()
    if not_there(wishes.store):
        say(f"there is no store {wishes.store} yet; it is made now")
    store = open_store(wishes.store)
    results = store if wishes.results in (None, wishes.store) else open_store(str(wishes.results))
    cache = None if wishes.on else Cache(wishes.home / "models", wishes.cache, api)
    return Bench(Queue(store), results, where, cache, options, say)


def _jobs(wishes: Wishes, api: HfApi, evaluation: LocalEvaluation) -> Evaluation:
    from ucbench.hub.worker.jobs import HfJobs

    if wishes.on != HF_JOBS:
        raise UnknownNameError(f"there is no {wishes.on!r} to evaluate on; --on takes {HF_JOBS}")
    if wishes.evaluator or wishes.data or wishes.memory:
        given = "--evaluator" if wishes.evaluator else "--data" if wishes.data else "--memory-limit"
        raise UcbenchError(f"{given} is for evaluations on this machine; leave it out with --on {HF_JOBS}")
    if wishes.image is None:
        raise UcbenchError(f"--on {HF_JOBS} needs --image, a container image with ucbench and a GPU's torch")
    namespace = wishes.namespace or str(api.whoami()["name"])
    return HfJobs(api, wishes.image, wishes.flavor, namespace, evaluation)


def _tracks(wishes: Wishes) -> tuple[str, ...]:
    """The tracks it takes: those that were named, or all whose data is here. Raises `UcbenchError`."""
    here = [name for name in tracks.names() if not tracks.row(name).needs_data or name in wishes.data]
    for name in (*wishes.tracks, *wishes.data):
        tracks.row(name)
    for name in wishes.tracks:
        if name not in here:
            raise UcbenchError(
                f"track {name} needs data, and an evaluation has no network to get it; give --data "
                f"{name}=PATH"
            )
    return wishes.tracks or tuple(here)


def home(folder: Path | None) -> Path:
    """Where workers of this machine work, and keep models together."""
    return folder or caches() / "worker"


def checked_name(name: str | None) -> str:
    """The name of a worker; without one, a name that this machine keeps. Raises `UcbenchError`."""
    if name is None:
        # Public in the queue, so nothing of the machine's own name can be read from it.
        machine = f"{platform.node()} {uuid.getnode()}"
        return f"worker-{hashlib.sha256(machine.encode()).hexdigest()[:6]}"
    if not _NAME.fullmatch(name):
        raise UcbenchError(
            f"{name!r} is no name for a worker; take letters, digits, dots, dashes and underscores"
        )
    return name


def duration_of(text: str) -> timedelta:
    """`90s`, `30m`, `2h` or `1d` as a time. Raises `UcbenchError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= 30 * 86400:
        raise UcbenchError(f"{text!r} is no time limit; write it like 90m or 2h")
    return timedelta(seconds=seconds)


def data_of(pairs: Iterable[str]) -> dict[str, str]:
    """TRACK=PATH pairs. Raises `UcbenchError`."""
    found: dict[str, str] = {}
    for pair in pairs:
        track, equals, path = pair.partition("=")
        if not (track and equals and path):
            raise UcbenchError(f"--data takes TRACK=PATH, not {pair!r}")
        found[track] = str(Path(path).resolve())
    return found


def status(folder: Path, name: str) -> dict[str, Any]:
    """What the worker of that name tells of itself. Raises `UnknownNameError` when there was never one."""
    told = health.status(folder / name)
    if told is None:
        known = ", ".join(sorted(path.parent.name for path in folder.glob(f"*/{health.HEALTH}"))) or "none"
        raise UnknownNameError(f"there is no worker {name} in {folder}; known: {known}")
    return told


def as_text(told: dict[str, Any], as_json: bool) -> str:
    """The status of a worker for people, or for scripts."""
    if as_json:
        return json.dumps(told, indent=1)
    ended = "stopped" if told["doing"] == "stopped" else "dead"
    what = f"{told['doing']} since {told['since']}" if told["alive"] else f"{ended} since {told['beat']}"
    at = f", request {told['request']} of {told['model']}" if told["request"] else ""
    return (
        f"{told['name']}: {what}{at}; {told['done']} done and {told['failed']} failed since "
        f"{told['started']}; {told['isolation']}"
    )
