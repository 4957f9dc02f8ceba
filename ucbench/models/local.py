"""The local engine: a transformers model that answers many questions about many images at once.

How a model can be asked depends on its family (families/) and the checkpoint; paths.py has the ways.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ucbench.errors import ModelError
from ucbench.models import paths, prefix
from ucbench.models.base import Batch, OutOfMemoryError
from ucbench.models.decode import Decoder
from ucbench.models.families.base import BATCHED, ONE_AT_A_TIME, SHARED_PREFIX, SHARED_VISION
from ucbench.models.inputs import Inputs
from ucbench.models.loading import Loaded
from ucbench.models.prompts import Prompts
from ucbench.record import Entry
from ucbench.types import Answer, Question, Sample

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BATCHED", "ONE_AT_A_TIME", "SHARED_PREFIX", "SHARED_VISION", "LocalVLM"]

#: Attention that is known to take a batch with pads in the middle of its rows.
_TAKES_HOLES = ("sdpa", "eager")


class LocalVLM:
    """A loaded checkpoint. Calls from several threads queue up."""

    def __init__(self, loaded: Loaded, entry: Entry, decoder: type[Decoder] = Decoder) -> None:
        """`decoder` reads answers off the model; a guard may have its own."""
        self._loaded = loaded
        self._model = loaded.model
        self._processor = loaded.processor
        self._tokenizer = loaded.processor.tokenizer
        self._entry = entry
        family = loaded.family
        self._prompts = (family.prompts if family else Prompts)(
            loaded.processor, loaded.model.config, name=entry.model, system_prompt=entry.system_prompt
        )
        self._inputs = (family.inputs if family else Inputs)(
            self._model, self._processor, self._prompts, name=entry.model
        )
        self._decoder = decoder(self._model, self._tokenizer, entry.decoding)
        self._lock = threading.Lock()
        self._ways = self._possible()
        self.use(self._ways[0])
        #: Told the new token ids of every answer, its end token included.
        self.on_tokens: Callable[[Sample, Question, list[int]], None] | None = None

    @property
    def entry(self) -> Entry:
        """Model, revision, dtype and decoding: the identity of its answers."""
        return self._entry

    @property
    def engine_path(self) -> str:
        """How it is asked: one of `ways`."""
        return self._way

    @property
    def ways(self) -> tuple[str, ...]:
        """How it can be asked, best first: shared_prefix, shared_vision, batched, one_at_a_time."""
        return self._ways

    @property
    def device(self) -> str:
        """Where the model runs, e.g. `cpu` or `cuda:0`."""
        return str(self._model.device)

    @property
    def checkpoint(self) -> tuple[str, int] | None:
        """`model_type` and number of parameters of the weights, without those of an adapter."""
        return self._loaded.checkpoint

    @property
    def model(self) -> Any:
        """The transformers model, whose generation settings are the entry's. Ask it within `alone`."""
        return self._model

    @property
    def processor(self) -> Any:
        """The checkpoint's processor."""
        return self._processor

    @property
    def prompts(self) -> Prompts:
        """What renders questions for this checkpoint."""
        return self._prompts

    def use(self, way: str) -> None:
        """Ask it another way from now on. Raises `ModelError` for one that it does not allow."""
        if way not in self._ways:
            raise ModelError(
                f"{self._entry.model} cannot be asked by {way}; it can by {', '.join(self._ways)}"
            )
        self._way = way
        if way == SHARED_PREFIX:
            carried = self._loaded.family.carried if self._loaded.family else None
            self._path: paths.Path = paths.SharedPrefix(self._inputs, self._decoder, carried)
        elif way == SHARED_VISION:
            self._path = paths.SharedVision(self._inputs, self._decoder)
        else:
            self._path = paths.Whole(self._inputs, self._decoder, together=way == BATCHED)

    def plan(self, samples: Sequence[Sample], batch_size: int) -> list[Batch]:
        """Cut the questions of all samples into batches of at most `batch_size`; opens no image."""
        with self._lock:
            self._path.forget()  # group numbers start anew
        return prefix.plan(samples, batch_size, lambda question: self._prompts.tokens(question.text))

    def answer(self, batch: Batch) -> list[Answer]:
        """Answer a batch, in its order.

        A picture that cannot be read gives `error="bad_image"` to its own questions only. Raises
        `OutOfMemoryError`, after letting go of what it kept.
        """
        with self.alone():
            written = self._path.answer(batch)
        return [
            Answer(sample.id, question.id, "", 0, "bad_image")
            if tokens is None
            else self.read(sample, question, tokens)
            for (sample, question), tokens in zip(batch.items, written, strict=True)
        ]

    def stream(self, image: Image.Image, question: str) -> Iterator[str]:
        """Yield an answer in pieces of text as they come, decoded as the entry says.

        Thinking parts are not cut. Closing the iterator stops the model.
        """
        from transformers import TextIteratorStreamer

        self._prompts.tokens(question)  # refuses a question that holds the image placeholder
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        stopped = threading.Event()
        failures: list[Exception] = []

        def work() -> None:
            try:
                with self.alone():
                    inputs = self._inputs.whole([image], [question])
                    rows = [("", question)]
                    self._decoder(self._model, rows, streamer=streamer, stopped=stopped, **inputs)
            except Exception as error:
                failures.append(error)
            finally:
                streamer.end()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            stopped.set()
            worker.join()
        if failures:
            raise failures[0]

    def whole_inputs(self, items: Sequence[tuple[Sample, Question]]) -> dict[str, Any]:
        """What `model.generate` takes to answer whole prompts as one batch, padded on the left.

        Raises `BadImageError`.
        """
        pictures = [sample.image.load() for sample, _ in items]
        return self._inputs.whole(pictures, [question.text for _, question in items])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The model to oneself, without gradients. Raises `OutOfMemoryError` for any trouble of that kind."""
        import torch

        with self._lock, self._memory_watched(), torch.inference_mode():
            yield

    def cut(self, tokens: list[int]) -> list[int]:
        """New tokens up to the first that ends an answer, itself included."""
        return self._decoder.cut(tokens)

    def read(self, sample: Sample, question: Question, tokens: list[int]) -> Answer:
        """Make an answer of new tokens; the stop token is not counted."""
        if self.on_tokens:
            self.on_tokens(sample, question, tokens)
        return self._decoder.read(sample, question, tokens)

    def _possible(self) -> tuple[str, ...]:
        """The ways that family and checkpoint allow, best first."""
        family, first = self._loaded.family, self._prompts.image_comes_first
        takes_holes = self._model.config.get_text_config()._attn_implementation in _TAKES_HOLES
        allowed = {
            SHARED_PREFIX: first and takes_holes and paths.attends_to_all(self._model.config),
            SHARED_VISION: first,
            BATCHED: True,
        }
        return (*(way for way in (family.paths if family else ()) if allowed[way]), ONE_AT_A_TIME)

    @contextmanager
    def _memory_watched(self) -> Iterator[None]:
        import torch

        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._path.forget()
            full = True
        else:
            full = False
        if full:  # outside the handler, whose traceback still holds the tensors
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemoryError


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError.
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
