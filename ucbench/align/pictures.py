"""What the frozen half of a model makes of a picture, computed once.

Vision tower and projector do not change in training, so their output is kept between steps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ucbench.errors import BadImageError, ModelError, UcbenchError
from ucbench.models.loading import Loaded
from ucbench.models.prompts import Prompts
from ucbench.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

#: Features kept in main memory, in bytes; the least recently used go first.
LIMIT = 4 << 30


@dataclass(frozen=True, slots=True)
class Picture:
    """`tokens`: what the image placeholder stands for; `features` [len(tokens), hidden], on the CPU."""

    tokens: list[int]
    features: Tensor


class Pictures:
    """Pictures by sample id, encoded one at a time so that no number depends on its neighbours."""

    def __init__(self, loaded: Loaded, prompts: Prompts, limit: int = LIMIT) -> None:
        self._model, self._processor, self._prompts = loaded.model, loaded.processor, prompts
        self._limit, self._bytes = limit, 0
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._coming: dict[str, Future[Picture]] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def __call__(self, sample: Sample) -> Picture:
        """The encoded picture. Raises `UcbenchError` for one that cannot be read."""
        kept = self._kept.get(sample.id)
        if kept is not None:
            self._kept.move_to_end(sample.id)
            return kept
        coming = self._coming.pop(sample.id, None)
        picture = coming.result() if coming else self._encode(sample)
        self._kept[sample.id] = picture
        self._bytes += picture.features.nbytes
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].features.nbytes
        return picture

    def prefetch(self, samples: Iterable[Sample]) -> None:
        """Encode pictures that are wanted soon, beside whatever runs now."""
        for sample in samples:
            if sample.id not in self._kept and sample.id not in self._coming:
                self._coming[sample.id] = self._worker.submit(self._encode, sample)

    def close(self) -> None:
        """Give up on what was prefetched and not wanted."""
        self._worker.shutdown(cancel_futures=True)
        self._coming.clear()

    def prompt(self, sample: Sample, question: str) -> list[int]:
        """The token ids of a whole prompt, the image placeholder expanded."""
        tokens = self._prompts.tokens(question)
        place = tokens.index(self._prompts.image_token_id)
        return [*tokens[:place], *self(sample).tokens, *tokens[place + 1 :]]

    def _encode(self, sample: Sample) -> Picture:
        import torch

        try:
            inputs = self._processor(
                images=sample.image.load(),
                text=self._prompts.image_token,
                add_special_tokens=False,
                return_tensors="pt",
            )
        except (BadImageError, ValueError) as error:
            raise UcbenchError(
                f"the picture of {sample.id} cannot be read ({error}); remove it from the training data"
            ) from error
        inputs = inputs.to(self._model.device, self._model.dtype)
        tokens = inputs.pop("input_ids")[0].tolist()
        inputs.pop("attention_mask", None)
        with torch.no_grad():
            features = self._model.get_image_features(**inputs, return_dict=True).pooler_output
        flat = torch.cat(list(features)).cpu()
        places = tokens.count(self._prompts.image_token_id)
        if len(flat) != places:
            raise ModelError(
                f"the processor makes {places} image tokens and the model {len(flat)} features of one "
                "picture; check patch_size in processor_config.json"
            )
        return Picture(tokens, flat)


def encoder_outputs(pictures: list[Picture], model: Any) -> dict[str, Any]:
    """The argument `mm_encoder_outputs` for these pictures, in the order of the batch's rows."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    features = tuple(picture.features.to(model.device, model.dtype) for picture in pictures)
    return {"image": BaseModelOutputWithPooling(pooler_output=features)}
