"""A worker for the race: `race_worker.py STORE FOLDER NAME TEMPLATE LEASE SKEW`; the times are seconds.

What `ucbench worker` does, with leases that end while somebody waits for it. It ends when nothing is left.
"""

from __future__ import annotations

import shlex
import sys
from datetime import timedelta
from pathlib import Path

from ucbench.hub.queue import Queue
from ucbench.hub.store import open_store
from ucbench.hub.worker import attempt, loop
from ucbench.hub.worker.attempt import Bench, Options
from ucbench.hub.worker.local import LocalEvaluation

store, folder, name, template, lease, skew = sys.argv[1:]
half = timedelta(seconds=float(lease) / 2)
attempt.AFTERWARDS = loop.AFTERWARDS = half
queue = Queue(open_store(store), skew=timedelta(seconds=float(skew)))
command = [sys.executable, "-S", str(Path(__file__).with_name("evaluator.py")), template, "varied"]
options = Options(Path(folder) / name, name, ("pictograms",), time_limit=half, limit=2, poll=0.5)
bench = Bench(queue, queue.store, LocalEvaluation(shlex.join(command)), None, options, print)


class UntilNothingIsLeft:
    """The event that stops the worker: nobody waits or runs any more."""

    def __init__(self) -> None:
        self.stopped = False

    def is_set(self) -> bool:
        return self.stopped

    def set(self) -> None:
        self.stopped = True

    def wait(self, seconds: float) -> bool:
        import time

        time.sleep(min(seconds, 1.0))
        try:
            self.stopped = self.stopped or all(r.state not in ("PENDING", "RUNNING") for r in queue.all())
        except Exception as error:
            print("not to be seen at the moment:", error)
        return self.stopped


bench.stop = UntilNothingIsLeft()  # type: ignore[assignment]
sys.exit(loop.Worker(bench).run())
