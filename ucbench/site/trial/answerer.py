"""The process of the local models, as the site sees it: started when first asked, ended when it hangs."""

from __future__ import annotations

import atexit
import base64
import contextlib
import io
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.errors import UcbenchError
from ucbench.judges.base import Item
from ucbench.types import Verdict

if TYPE_CHECKING:
    from PIL import Image

_ROOT = Path(__file__).resolve().parents[3]
COMMAND = (sys.executable, "-m", "ucbench.site.trial.child")
#: What a model's process need not know: keys, and how visitors sign in.
_SECRET = ("TOKEN", "SECRET", "KEY", "PASSWORD", "OAUTH")


class StoppedError(Exception):
    """Whoever asked left."""


class SlowError(UcbenchError):
    """No whole answer in time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for loading a model, for one answer, and for a model to stop when told to."""

    load: float = 600.0
    answer: float = 120.0
    stop: float = 3.0


class Answerer:
    """Asks one thing at a time; callers take turns (`ucbench.site.trial.line`)."""

    def __init__(self, patience: Patience | None = None, command: Sequence[str] = COMMAND) -> None:
        """`command` starts a process that speaks as `ucbench.site.trial.child` does."""
        self.patience = patience or Patience()
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._said: Line = queue.SimpleQueue()
        self._orders: Line = queue.SimpleQueue()
        self._n = 0
        self._one = threading.Lock()
        atexit.register(self.end)

    def ask(
        self, model: str, picture: str, question: str, tokens: int, stopped: threading.Event
    ) -> Generator[str, None, None]:
        """Yield an answer in pieces; the first one, empty, says that the model is loaded.

        `picture` is from `packed`. Raises `StoppedError` once `stopped` is set, `SlowError` after the time
        for it, and `UcbenchError` with a sentence when the model cannot be loaded or asked.
        """
        order = {"do": "ask", "model": model, "picture": picture, "question": question, "tokens": tokens}
        until = self.patience.load
        for said in self._order(order, until, stopped):
            yield said.get("piece", "")

    def judge(self, name: str, items: Sequence[Item], stopped: threading.Event) -> list[Verdict]:
        """What a judge with weights reads in answers. Raises as `ask`."""
        told = [
            {"kind": item.kind, "prompt": item.prompt, "text": item.text, "expected": item.expected,
             "options": item.options}
            for item in items
        ]  # fmt: skip
        for said in self._order({"do": "judge", "judge": name, "items": told}, self.patience.load, stopped):
            if "read" in said:
                return [
                    Verdict(item.sample_id, item.question_id, read["label"], read["how"], name, read["probs"])
                    for item, read in zip(items, said["read"], strict=True)
                ]
        raise UcbenchError("The judge gave no verdict.")

    def end(self) -> None:
        """End the process, if there is one; the next question starts another."""
        process, self._process = self._process, None
        if process is not None:
            self._orders.put(None)
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    def _order(
        self, order: dict[str, Any], seconds: float, stopped: threading.Event
    ) -> Iterator[dict[str, Any]]:
        with self._one:
            self._n += 1
            n = self._n
            self._running()
            self._orders.put({**order, "n": n})
            finished = False
            try:
                until = time.monotonic() + seconds
                loading = True
                while True:
                    said = self._hear(n, until, stopped, loading=loading)
                    if "error" in said:
                        finished = True
                        raise UcbenchError(said["error"])
                    if "loaded" in said:
                        loading, until = False, time.monotonic() + self.patience.answer
                    if "done" in said or "read" in said:
                        finished = True
                        if "read" in said:
                            yield said
                        return
                    yield said
            finally:
                if not finished:
                    self._stop(n)

    def _hear(self, n: int, until: float, stopped: threading.Event, *, loading: bool) -> dict[str, Any]:
        """The next thing said about order `n`."""
        while True:
            if stopped.is_set():
                raise StoppedError
            if time.monotonic() > until:
                what = "was not loaded" if loading else "gave no whole answer"
                seconds = self.patience.load if loading else self.patience.answer
                raise SlowError(f"The model {what} within {seconds:,.0f} seconds, so it was stopped.")
            try:
                said = self._said.get(timeout=0.1)
            except queue.Empty:
                continue
            if said is None:
                self.end()
                raise UcbenchError(
                    "The model's process ended before its answer, most likely for lack of memory. Ask again, "
                    "or ask a smaller model."
                )
            if said["n"] == n:
                return said

    def _stop(self, n: int) -> None:
        """Have order `n` stopped; a process that does not stop is ended."""
        if self._process is None:
            return
        self._orders.put({"do": "stop", "n": n})
        until = time.monotonic() + self.patience.stop
        with contextlib.suppress(queue.Empty):
            while (left := until - time.monotonic()) > 0:
                said = self._said.get(timeout=left)
                if said is None:
                    break
                if said["n"] == n and ("done" in said or "error" in said):
                    return
        self.end()

    def _running(self) -> None:
        """Start the process where there is none."""
        if self._process is None or self._process.poll() is not None:
            self.end()
            environment = {
                name: value
                for name, value in os.environ.items()
                if not any(word in name.upper() for word in _SECRET)
            }
            environment |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
            path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment | {"PYTHONPATH": path},
            )  # fmt: skip
            self._process, self._said, self._orders = process, queue.SimpleQueue(), queue.SimpleQueue()
            # In threads, since a process that hangs neither reads nor writes.
            for work, line in ((_pump, self._said), (_feed, self._orders)):
                threading.Thread(target=work, args=(process, line), daemon=True).start()


Line = queue.SimpleQueue[dict[str, Any] | None]


def _feed(process: subprocess.Popen[str], orders: Line) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ValueError, OSError):  # it was ended, its streams closed
        while (order := orders.get()) is not None:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()


def _pump(process: subprocess.Popen[str], said: Line) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # it was ended, its streams closed
        for line in process.stdout:
            said.put(json.loads(line))
    said.put(None)


def packed(image: Image.Image) -> str:
    """A picture for `ask`: its pixels and nothing else."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return base64.b64encode(stream.getvalue()).decode()
