"""The ways of asking a model. All give the same answers, up to the rounding of the arithmetic.

shared_prefix   an image is encoded once, and the tokens that all its questions begin with, the image among
                them, run through the model once; their keys and values are shared
shared_vision   an image is encoded once; prompts run whole
batched         whole prompts, padded on the left, as one batch; nothing is shared
one_at_a_time   the same, one prompt after another

Rows of a shared prefix:

    row of a batch   [ pad | prefix of its sample | pad | suffix ] answer ...
    attention mask   [  0  |          1           |  0  |   1    ]   1   ...

Positions are counted from the mask, so pads take none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ucbench.errors import BadImageError
from ucbench.models.base import Batch
from ucbench.models.decode import Decoder
from ucbench.models.families.base import Carried
from ucbench.models.inputs import Inputs, Picture, Row, pad_left
from ucbench.types import Question, Sample

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Item = tuple[Sample, Question]
#: The new tokens of a row; None where the picture cannot be read.
Written = list[int] | None


class Path(ABC):
    """One way of asking."""

    def __init__(self, inputs: Inputs, decoder: Decoder) -> None:
        self._inputs = inputs
        self._decoder = decoder

    @abstractmethod
    def answer(self, batch: Batch) -> list[Written]:
        """Answer a batch, in its order."""

    def forget(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of what is kept between batches."""

    def _decode(self, items: Sequence[Item], model: Any, inputs: dict[str, Any]) -> list[Written]:
        rows = [(sample.id, question.id) for sample, question in items]
        return [*self._decoder(model, rows, **inputs)]


class Whole(Path):
    """Whole prompts: all rows of a batch together, or one at a time."""

    def __init__(self, inputs: Inputs, decoder: Decoder, *, together: bool) -> None:
        super().__init__(inputs, decoder)
        self._together = together

    def answer(self, batch: Batch) -> list[Written]:
        """Answer a batch, in its order."""
        pictures: dict[str, Image.Image | None] = {}
        for sample, _ in batch.items:
            if sample.id not in pictures:
                try:
                    pictures[sample.id] = sample.image.load()
                except BadImageError:
                    pictures[sample.id] = None
        rows = [item for item in batch.items if pictures[item[0].id] is not None]
        written: dict[tuple[str, str], Written] = {}
        for part in [rows] if self._together and rows else [[row] for row in rows]:
            written |= zip(map(_key, part), self._ask(part, pictures), strict=True)
        return [written.get(_key(item)) for item in batch.items]

    def _ask(self, rows: list[Item], pictures: dict[str, Any]) -> list[Written]:
        try:
            inputs = self._inputs.whole([pictures[s.id] for s, _ in rows], [q.text for _, q in rows])
        except BadImageError:
            if len(rows) == 1:
                return [None]
            return [written for row in rows for written in self._ask([row], pictures)]
        return self._decode(rows, self._inputs.model, inputs)


Kept = TypeVar("Kept")


class _Sharing(Path, Generic[Kept]):
    """Keeps something of each picture while its group of batches lasts."""

    def __init__(self, inputs: Inputs, decoder: Decoder) -> None:
        super().__init__(inputs, decoder)
        self._group: int | None = None
        self.kept: dict[str, tuple[Sample, Kept]] = {}

    def forget(self) -> None:
        """Let go of the pictures; group numbers start anew."""
        self._group, self.kept = None, {}

    def answer(self, batch: Batch) -> list[Written]:
        """Answer a batch, in its order."""
        if batch.group != self._group:
            self._group, self.kept = batch.group, {}
        broken: set[str] = set()
        for sample, _ in batch.items:
            # By identity: another plan may use the same ids for other pictures.
            kept = self.kept.get(sample.id)
            if sample.id in broken or (kept is not None and kept[0] is sample):
                continue
            try:
                self.kept[sample.id] = sample, self._encode(sample)
            except BadImageError:
                broken.add(sample.id)
        rows = [item for item in batch.items if item[0].id not in broken]
        answers = self._ask(rows, [self.kept[sample.id][1] for sample, _ in rows]) if rows else []
        written = dict(zip(map(_key, rows), answers, strict=True))
        return [written.get(_key(item)) for item in batch.items]

    def _picture(self, sample: Sample) -> Picture:
        return self._inputs.picture(sample.image.load(), [question.text for question in sample.questions])

    @abstractmethod
    def _encode(self, sample: Sample) -> Kept:
        """What the questions of a sample share.

        One image at a time: its hundreds of tokens fill a GPU by themselves, and its numbers do not
        depend on its neighbours, wherever a run is resumed.
        """

    @abstractmethod
    def _ask(self, items: Sequence[Item], kept: Sequence[Kept]) -> list[Written]:
        """Decode rows, each with what is kept of its sample."""


class SharedVision(_Sharing[tuple[Picture, Any]]):
    """What the vision half makes of a picture is kept."""

    def _encode(self, sample: Sample) -> tuple[Picture, Any]:
        picture = self._picture(sample)
        return picture, self._inputs.features(picture)

    def _ask(self, items: Sequence[Item], kept: Sequence[tuple[Picture, Any]]) -> list[Written]:
        rows = [Row(*pair, question) for pair, (_, question) in zip(kept, items, strict=True)]
        return self._decode(items, *self._inputs.rows(rows, self._decoder.pad_id))


@dataclass(frozen=True, slots=True)
class _Prefix:
    """`layers` holds (keys, values) a layer, each [heads, length, head size]."""

    picture: Picture
    layers: list[tuple[Tensor, Tensor]]
    carried: Tensor | None

    @property
    def length(self) -> int:
        return self.picture.shared

    def suffix(self, question: Question) -> tuple[int, ...]:
        return self.picture.prompts[question.text][self.length :]


class SharedPrefix(_Sharing[_Prefix]):
    """Keys and values of the prefix are kept; `carried` is what else the model remembers of it."""

    def __init__(self, inputs: Inputs, decoder: Decoder, carried: Carried | None) -> None:
        super().__init__(inputs, decoder)
        self._carried = carried

    def _encode(self, sample: Sample) -> _Prefix:
        import torch
        from transformers import DynamicCache

        model, picture = self._inputs.model, self._picture(sample)
        tokens = picture.prompts[sample.questions[0].text][: picture.shared]
        ids = torch.tensor([tokens], device=model.device)
        further = {
            key: torch.tensor([values], device=model.device) for key, values in picture.token_inputs.items()
        }
        cache = DynamicCache(config=model.config)
        model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **picture.tensors,
            **further,
        )
        layers = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
        # The pixels are no longer needed.
        picture = Picture({}, picture.prompts, picture.shared, {})
        return _Prefix(picture, layers, self._carried.take(model) if self._carried else None)

    def _ask(self, items: Sequence[Item], kept: Sequence[_Prefix]) -> list[Written]:
        import torch

        model = self._inputs.model
        suffixes = [prefix.suffix(question) for prefix, (_, question) in zip(kept, items, strict=True)]
        longest = max(prefix.length for prefix in kept)
        before = torch.zeros((len(items), longest), dtype=torch.long)
        for row, prefix in enumerate(kept):
            before[row, longest - prefix.length :] = 1
        ids, mask = pad_left(suffixes, self._decoder.pad_id)
        if self._carried:
            self._carried.give(model, [prefix.carried for prefix in kept])
        return self._decode(
            items,
            model,
            {
                "input_ids": ids.to(model.device),
                "attention_mask": torch.cat([before, mask], dim=1).to(model.device),
                "past_key_values": self._stack(kept, longest),
            },
        )

    def _stack(self, prefixes: Sequence[_Prefix], length: int) -> Any:
        """One cache for a batch: each row gets the left-padded keys and values of its sample."""
        import torch
        from torch.nn.functional import pad

        from ucbench.models.cache import with_room

        distinct = list({id(prefix): prefix for prefix in prefixes}.values())
        place = {id(prefix): index for index, prefix in enumerate(distinct)}
        rows = torch.tensor([place[id(prefix)] for prefix in prefixes])
        cache = with_room(self._inputs.model.config)
        for layer in range(len(distinct[0].layers)):
            keys, values = (
                torch.stack(
                    [
                        pad(prefix.layers[layer][part], (0, 0, length - prefix.length, 0))
                        for prefix in distinct
                    ]
                )
                for part in (0, 1)
            )
            at = rows.to(keys.device)  # a model may be spread over several devices
            cache.update(keys[at], values[at], layer)
        return cache


def attends_to_all(config: Any) -> bool:
    """Whether every layer sees the whole prefix; sliding windows would need their own split."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def _key(item: Item) -> tuple[str, str]:
    return item[0].id, item[1].id
