"""The process that holds the models: `python -m ucbench.site.trial.child`.

A heavy model, or one that hangs, has its own process: pages go on, and it can be ended. One JSON object a
line comes in and goes out. `ask` is answered with `loaded`, any number of `piece`, and `done`; `judge` with
`read`; either with `error`, a sentence. `stop` ends the answer under way. The process ends with its input.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import queue
import sys
import threading
from collections import OrderedDict
from typing import Any, TextIO

#: Models that stay loaded: one, and one beside it.
KEPT = 2

Message = dict[str, Any]


class Child:
    """Reads orders, asks models, writes what comes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._orders: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._stopped = -1
        self._models: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._judges: dict[str, Any] = {}

    def serve(self, orders: TextIO) -> None:
        """Work until the input ends."""
        threading.Thread(target=self._listen, args=(orders,), daemon=True).start()
        while (order := self._orders.get()) is not None:
            self._obey(order)

    def _listen(self, orders: TextIO) -> None:
        for line in orders:
            order = json.loads(line)
            if order["do"] == "stop":
                self._stopped = max(self._stopped, order["n"])
            else:
                self._orders.put(order)
        # Whoever asked is gone: nobody reads what an answer under way would still say.
        os._exit(0)

    def _obey(self, order: Message) -> None:
        from ucbench.errors import UcbenchError

        try:
            if order["do"] == "judge":
                self._tell(order, read=self._judge(order))
            else:
                self._ask(order)
        except UcbenchError as error:
            self._tell(order, error=str(error))
        except Exception as error:
            import traceback

            traceback.print_exc()  # to the log of the site
            self._tell(order, error=_sentence(error))

    def _ask(self, order: Message) -> None:
        from PIL import Image

        model = self._model(order["model"], order["tokens"])
        picture = Image.open(io.BytesIO(base64.b64decode(order["picture"]))).convert("RGB")
        self._tell(order, loaded=True)
        pieces = model.stream(picture, order["question"])
        with contextlib.closing(pieces):
            for piece in pieces:
                if self._stopped >= order["n"]:
                    break
                self._tell(order, piece=piece)
        self._tell(order, done=True)

    def _model(self, source: str, tokens: int) -> Any:
        """Loaded before, or now; the one that was not asked for longest makes room first."""
        from ucbench.errors import ModelError
        from ucbench.models import registry
        from ucbench.record import Decoding

        key = source, tokens
        if key not in self._models:
            while len(self._models) >= KEPT:
                self._models.popitem(last=False)
            loaded = registry.load(source, decoding=Decoding(max_new_tokens=tokens))
            if not hasattr(loaded, "stream"):
                raise ModelError("a guard model gives one verdict on a picture and answers no questions")
            self._models[key] = loaded
        self._models.move_to_end(key)
        return self._models[key]

    def _judge(self, order: Message) -> list[Message]:
        from ucbench.judges import registry
        from ucbench.judges.base import Item

        name = order["judge"]
        if name not in self._judges:
            self._judges[name] = registry.load(name)
        items = [
            Item("visitor", str(n), item["kind"], item["prompt"], item["text"], item["expected"],
                 tuple(item["options"]))
            for n, item in enumerate(order["items"])
        ]  # fmt: skip
        return [
            {"label": verdict.label, "how": verdict.how, "probs": verdict.probs}
            for verdict in self._judges[name].judge(items)
        ]

    def _tell(self, order: Message, **said: Any) -> None:
        self._out.write(json.dumps({"n": order["n"], **said}) + "\n")
        self._out.flush()


def _sentence(error: Exception) -> str:
    from ucbench.models.base import OutOfMemoryError

    if isinstance(error, OutOfMemoryError | MemoryError):
        return "The model does not fit into this machine's memory with this picture."
    return "The model met an error of ours; what it was is in the site's log."


def main() -> None:
    """Serve over the standard streams; whatever prints goes to the log instead."""
    with contextlib.suppress(OSError):
        os.nice(5)  # pages come first
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Child(out).serve(sys.stdin)


if __name__ == "__main__":
    main()
