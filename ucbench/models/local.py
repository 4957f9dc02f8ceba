"""The local engine: a transformers model that answers many questions about many images at once.

Each image is encoded once. The tokens that all questions of a sample begin with, the image among
them, run through the model a single time; their keys and values are then shared by all its questions,
which decode together with those of other samples as one left-padded batch:

    row of a batch   [ pad | prefix of its sample | pad | suffix ] answer ...
    attention mask   [  0  |          1           |  0  |   1    ]   1   ...

Positions are counted from the mask, so pads take none. Answers equal one-at-a-time `generate` up to
the rounding of the arithmetic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ucbench.errors import BadImageError, ModelError
from ucbench.judges.thinking import strip_thinking
from ucbench.models import prefix
from ucbench.models.base import Batch, OutOfMemoryError
from ucbench.models.loading import Loaded
from ucbench.models.prompts import Prompts
from ucbench.models.sampling import GumbelSampling
from ucbench.record import Entry
from ucbench.types import Answer, Question, Sample

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

SHARED_PREFIX = "shared_prefix"
ONE_AT_A_TIME = "one_at_a_time"


@dataclass(frozen=True, slots=True)
class _Prefix:
    """What the questions of one sample share.

    `layers` holds (keys, values) a layer, each [heads, length, head size]. `image` is what the one
    image placeholder stands for; `shared` counts the shared tokens before that replacement.
    """

    sample: Sample
    layers: list[tuple[Tensor, Tensor]]
    image: list[int]
    shared: int

    @property
    def length(self) -> int:
        return self.shared - 1 + len(self.image)


class LocalVLM:
    """A loaded checkpoint. Calls from several threads queue up."""

    def __init__(self, loaded: Loaded, entry: Entry) -> None:
        self._model = loaded.model
        self._processor = loaded.processor
        self._tokenizer = loaded.processor.tokenizer
        self._entry = entry
        self._prompts = Prompts(
            loaded.processor, loaded.model.config, name=entry.model, system_prompt=entry.system_prompt
        )
        self._lock = threading.Lock()
        self._stop_ids = stop_ids(self._model, self._tokenizer)
        self._pad_id = pad_id(self._tokenizer, self._stop_ids)
        # The checkpoint's own generation settings (sampling, penalties) must not leak into the answers.
        self._model.generation_config = self._generation_config()
        shares = loaded.family is not None and self._prompts.image_comes_first and self._attends_to_all()
        self._path = SHARED_PREFIX if shares else ONE_AT_A_TIME
        self._group: int | None = None
        self._prefixes: dict[str, _Prefix] = {}
        #: Told the new token ids of every answer, its end token included.
        self.on_tokens: Callable[[Sample, Question, list[int]], None] | None = None

    @property
    def entry(self) -> Entry:
        """Model, revision, dtype and decoding: the identity of its answers."""
        return self._entry

    @property
    def engine_path(self) -> str:
        """`shared_prefix`, or `one_at_a_time` for architectures whose prefix cannot be shared."""
        return self._path

    @property
    def device(self) -> str:
        """Where the model runs, e.g. `cpu` or `cuda:0`."""
        return str(self._model.device)

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

    def plan(self, samples: Sequence[Sample], batch_size: int) -> list[Batch]:
        """Cut the questions of all samples into batches of at most `batch_size`; opens no image."""
        with self._lock:
            self._group, self._prefixes = None, {}  # group numbers start anew
        return prefix.plan(samples, batch_size, lambda question: self._prompts.tokens(question.text))

    def answer(self, batch: Batch) -> list[Answer]:
        """Answer a batch, in its order.

        A picture that cannot be read gives `error="bad_image"` to its own questions only. Raises
        `OutOfMemoryError`, after letting go of what it kept.
        """
        with self.alone():
            if self._path == SHARED_PREFIX:
                return self._answer_shared(batch)
            return self._answer_one_by_one(batch.items)

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
            import torch

            try:
                with self._lock, self._memory_watched(), torch.inference_mode():
                    inputs = self._whole_inputs(image, question)
                    self._generate([("", question)], streamer=streamer, stopped=stopped, **inputs)
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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The model to oneself, without gradients. Raises `OutOfMemoryError` for any trouble of that kind."""
        import torch

        with self._lock, self._memory_watched(), torch.inference_mode():
            yield

    # The shared-prefix path

    def _answer_shared(self, batch: Batch) -> list[Answer]:
        if batch.group != self._group:
            self._group, self._prefixes = batch.group, {}
        broken: set[str] = set()
        for sample, _ in batch.items:
            # By identity: another plan may use the same ids for other pictures.
            kept = self._prefixes.get(sample.id)
            if sample.id in broken or (kept is not None and kept.sample is sample):
                continue
            try:
                self._prefixes[sample.id] = self._encode(sample)
            except BadImageError:
                broken.add(sample.id)
        rows = [item for item in batch.items if item[0].id not in broken]
        written = dict(zip(map(_key, rows), self._decode_rows(rows) if rows else (), strict=True))
        return [written.get(_key(item)) or _failed(*item) for item in batch.items]

    def _encode(self, sample: Sample) -> _Prefix:
        """Run a sample's shared tokens through the model.

        One image at a time: its hundreds of tokens fill a GPU by themselves, and its numbers do not
        depend on its neighbours, wherever a run is resumed.
        """
        import torch
        from transformers import DynamicCache

        prompts = [self._prompts.tokens(question.text) for question in sample.questions]
        shared = prefix.shared_length(prompts)
        inputs = self._process(sample.image.load(), self._prompts.image_token, add_special_tokens=False)
        image = inputs.pop("input_ids")[0].tolist()
        inputs.pop("attention_mask", None)
        ids = torch.tensor([self._expand(prompts[0][:shared], image)], device=self._model.device)
        cache = DynamicCache(config=self._model.config)
        self._model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **inputs,
        )
        return _Prefix(sample, [(layer.keys[0], layer.values[0]) for layer in cache.layers], image, shared)

    def _decode_rows(self, rows: Sequence[tuple[Sample, Question]]) -> list[Answer]:
        import torch

        prefixes = [self._prefixes[sample.id] for sample, _ in rows]
        suffixes = [
            self._prompts.tokens(question.text)[shared.shared :]
            for shared, (_, question) in zip(prefixes, rows, strict=True)
        ]
        longest_prefix = max(shared.length for shared in prefixes)
        longest_suffix = max(map(len, suffixes))
        ids = torch.full((len(rows), longest_suffix), self._pad_id)
        mask = torch.zeros((len(rows), longest_prefix + longest_suffix), dtype=torch.long)
        for row, (shared, suffix) in enumerate(zip(prefixes, suffixes, strict=True)):
            ids[row, longest_suffix - len(suffix) :] = torch.tensor(suffix)
            mask[row, longest_prefix - shared.length : longest_prefix] = 1
            mask[row, longest_prefix + longest_suffix - len(suffix) :] = 1
        tokens = self._generate(
            [(sample.id, question.id) for sample, question in rows],
            input_ids=ids.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            past_key_values=self._stack(prefixes, longest_prefix),
        )
        return [self.read(*row, new) for row, new in zip(rows, tokens, strict=True)]

    def _stack(self, prefixes: Sequence[_Prefix], length: int) -> Any:
        """One cache for a batch: each row gets the left-padded keys and values of its sample."""
        import torch
        from torch.nn.functional import pad
        from transformers import DynamicCache

        distinct = list({id(shared): shared for shared in prefixes}.values())
        place = {id(shared): index for index, shared in enumerate(distinct)}
        rows = torch.tensor([place[id(shared)] for shared in prefixes], device=self._model.device)
        cache = DynamicCache(config=self._model.config)
        for layer in range(len(distinct[0].layers)):
            keys, values = (
                torch.stack(
                    [
                        pad(shared.layers[layer][part], (0, 0, length - shared.length, 0))
                        for shared in distinct
                    ]
                )[rows]
                for part in (0, 1)
            )
            cache.update(keys, values, layer)
        return cache

    def _expand(self, tokens: Sequence[int], image: Sequence[int]) -> list[int]:
        """Replace the one image placeholder by the tokens it stands for."""
        place = tokens.index(self._prompts.image_token_id)
        return [*tokens[:place], *image, *tokens[place + 1 :]]

    # The path that works for every architecture

    def _answer_one_by_one(self, items: Sequence[tuple[Sample, Question]]) -> list[Answer]:
        pictures: dict[str, Image.Image | None] = {}
        answers = []
        for sample, question in items:
            try:
                if sample.id not in pictures:
                    pictures[sample.id] = None
                    pictures[sample.id] = sample.image.load()
                picture = pictures[sample.id]
                if picture is None:
                    raise BadImageError(f"the picture of {sample.id} could not be read")
                inputs = self._whole_inputs(picture, question.text)
            except BadImageError:
                answers.append(_failed(sample, question))
                continue
            tokens = self._generate([(sample.id, question.id)], **inputs)
            answers.append(self.read(sample, question, tokens[0]))
        return answers

    def _whole_inputs(self, image: Image.Image, question: str) -> dict[str, Any]:
        return self._process(
            image, self._prompts.render(question), add_special_tokens=self._prompts.add_special_tokens
        )

    # What both share

    def _process(self, image: Image.Image, text: str, *, add_special_tokens: bool) -> dict[str, Any]:
        """The processor's tensors on the model's device. A picture it refuses is a bad image."""
        try:
            inputs = self._processor(
                images=image, text=text, add_special_tokens=add_special_tokens, return_tensors="pt"
            )
        except ValueError as error:
            raise BadImageError(f"{self._entry.model} cannot take this picture: {error}") from error
        return dict(inputs.to(self._model.device, self._model.dtype))

    def _generate(
        self,
        rows: Sequence[tuple[str, str]],
        *,
        streamer: Any = None,
        stopped: threading.Event | None = None,
        **inputs: Any,
    ) -> list[list[int]]:
        """Decode; returns the new token ids of each row, cut after its first stop token."""
        import torch

        decoding = self._entry.decoding
        processors = [GumbelSampling(decoding, rows, self._stop_ids)] if decoding.temperature > 0 else []

        def interrupted(ids: Tensor, _scores: Tensor, **_: Any) -> Tensor:
            value = stopped is not None and stopped.is_set()
            return torch.full((len(ids),), value, dtype=torch.bool, device=ids.device)

        output = self._model.generate(
            **inputs,
            logits_processor=processors,
            stopping_criteria=[interrupted] if stopped is not None else [],
            streamer=streamer,
        )
        return [self.cut(row) for row in output[:, inputs["input_ids"].shape[1] :].tolist()]

    def cut(self, tokens: list[int]) -> list[int]:
        """New tokens up to the first that ends an answer, itself included."""
        for index, token in enumerate(tokens):
            if token in self._stop_ids:
                return tokens[: index + 1]
        return tokens

    def read(self, sample: Sample, question: Question, tokens: list[int]) -> Answer:
        """Make an answer of new tokens; the stop token is not counted."""
        if self.on_tokens:
            self.on_tokens(sample, question, tokens)
        ended = bool(tokens) and tokens[-1] in self._stop_ids
        tokens = tokens[:-1] if ended else tokens
        text, thinking = self._without_thinking(tokens)
        thought = len(self._tokenizer(thinking, add_special_tokens=False)["input_ids"]) if thinking else 0
        return Answer(
            sample.id,
            question.id,
            text.strip(),
            len(tokens),
            truncated=not ended and len(tokens) >= self._entry.decoding.max_new_tokens,
            thinking_tokens=thought,
        )

    def _without_thinking(self, tokens: list[int]) -> tuple[str, str]:
        """(answer, thinking). The marks around thinking may be special tokens, so they are read first."""
        text, thinking = strip_thinking(self._tokenizer.decode(tokens, skip_special_tokens=False))
        if not thinking:
            return self._tokenizer.decode(tokens, skip_special_tokens=True), ""
        for mark in self._tokenizer.all_special_tokens:
            text, thinking = text.replace(mark, ""), thinking.replace(mark, "")
        return text, thinking

    def _generation_config(self) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            max_new_tokens=self._entry.decoding.max_new_tokens,
            eos_token_id=sorted(self._stop_ids),
            pad_token_id=self._pad_id,
        )

    def _attends_to_all(self) -> bool:
        """Whether every layer sees the whole prefix; sliding windows would need their own split."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        return all(type(layer) is DynamicLayer for layer in DynamicCache(config=self._model.config).layers)

    @contextmanager
    def _memory_watched(self) -> Iterator[None]:
        import torch

        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._group, self._prefixes = None, {}
            full = True
        else:
            full = False
        if full:  # outside the handler, whose traceback still holds the tensors
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemoryError


def _key(item: tuple[Sample, Question]) -> tuple[str, str]:
    return item[0].id, item[1].id


def _failed(sample: Sample, question: Question) -> Answer:
    return Answer(sample.id, question.id, "", 0, "bad_image")


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator raises a plain RuntimeError.
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: the checkpoint's own and its tokenizer's."""
    own = model.generation_config.eos_token_id
    ids = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None}
    if not ids:
        raise ModelError(
            "the checkpoint names no end-of-answer token; set eos_token_id in generation_config.json"
        )
    return frozenset(ids)


def pad_id(tokenizer: Any, stop_ids: frozenset[int]) -> int:
    """Pads are masked and cut away, so any token will do."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stop_ids))
