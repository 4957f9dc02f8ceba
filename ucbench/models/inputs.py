"""From pictures and questions to the tensors that the model takes, the way its own processor makes them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ucbench.errors import BadImageError, ModelError
from ucbench.models.prefix import Tokens, shared_length
from ucbench.models.prompts import Prompts
from ucbench.types import Question

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the model takes it, and the prompts of its questions.

    `tensors` are the processor's of the picture alone. `prompts` holds whole token ids by question text,
    `shared` counts the tokens that all of them begin with. `token_inputs` are further values of those
    shared tokens, such as token_type_ids, each [shared]; after them they are all 0.
    """

    tensors: dict[str, Any]
    prompts: dict[str, Tokens]
    shared: int
    token_inputs: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Row:
    """One question about an encoded picture; `features` is what `Inputs.features` made of the picture."""

    picture: Picture
    features: Any
    question: Question


class Inputs:
    """What most processors of transformers have in common. A family may have its own."""

    def __init__(self, model: Any, processor: Any, prompts: Prompts, *, name: str) -> None:
        self.model = model
        self.processor = processor
        self.prompts = prompts
        self._name = name

    def whole(self, pictures: Sequence[Image.Image], questions: Sequence[str]) -> dict[str, Any]:
        """The inputs of `generate` for whole prompts, padded on the left; nothing is shared.

        Raises `BadImageError` when the processor refuses a picture.
        """
        return self._to_model(
            self._process(
                # A list a prompt, as some processors would read a flat one as the pictures of one prompt.
                images=[[picture] for picture in pictures],
                text=[self.prompts.render(question) for question in questions],
                padding=True,
                padding_side="left",
                return_tensors="pt",
            )
        )

    def picture(self, picture: Image.Image, questions: Sequence[str]) -> Picture:
        """Process a picture once for all its questions. Raises `BadImageError`, `ModelError`."""
        for question in questions:
            self.prompts.tokens(question)  # refuses a question that holds the image placeholder
        rendered = self.prompts.render(questions[0])
        data = self._process(images=[[picture]], text=[rendered], return_text_replacement_offsets=True)
        try:
            replacement = str(data.pop("text_replacement_offsets")[0][0]["replacement"])
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"the processor of {self._name} does not tell what stands for a picture in its prompts; "
                "its family cannot be asked this way"
            ) from error
        ids = tuple(int(token) for token in data.pop("input_ids")[0])
        data.pop("attention_mask", None)
        prompts = {question: self.prompts.expanded(question, replacement) for question in questions}
        if prompts[questions[0]] != ids:
            raise ModelError(f"the processor of {self._name} writes prompts that cannot be written again")
        shared = shared_length(list(prompts.values()))
        token_inputs = {
            key: [int(value) for value in values[0]][:shared]
            for key, values in dict(data).items()
            if key.endswith("token_type_ids")
        }
        for key in token_inputs:
            del data[key]
        return Picture(self._to_model(data.convert_to_tensors("pt")), prompts, shared, token_inputs)

    def features(self, picture: Picture) -> Any:
        """What the vision half makes of a picture: a tensor, or a sequence of tensors."""
        known = inspect.signature(self.model.get_image_features).parameters
        tensors = {key: value for key, value in picture.tensors.items() if key in known}
        return self.model.get_image_features(**tensors, return_dict=True).pooler_output

    def rows(self, rows: Sequence[Row], pad_id: int) -> tuple[Any, dict[str, Any]]:
        """(what generates, its inputs) for encoded pictures, the prompts padded on the left."""
        import torch
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        device = self.model.device
        prompts = [row.picture.prompts[row.question.text] for row in rows]
        ids, mask = pad_left(prompts, pad_id)
        inputs: dict[str, Any] = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        for key in rows[0].picture.token_inputs:
            values = [
                (*row.picture.token_inputs[key], *(0,) * (len(prompt) - row.picture.shared))
                for row, prompt in zip(rows, prompts, strict=True)
            ]
            inputs[key] = pad_left(values, 0)[0].to(device)
        every = [row.features for row in rows]
        if isinstance(every[0], torch.Tensor):
            joined: Any = torch.cat(every)
        else:
            joined = tuple(part for parts in every for part in parts)
        inputs["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=joined)}
        return self.model, inputs

    def _process(self, **arguments: Any) -> Any:
        """The processor's output. A picture it refuses is a bad image."""
        try:
            return self.processor(**arguments, add_special_tokens=self.prompts.add_special_tokens)
        except ValueError as error:
            raise BadImageError(f"{self._name} cannot take this picture: {error}") from error

    def _to_model(self, data: Any) -> dict[str, Any]:
        """Tensors on the model's device; those of fractions in its dtype."""
        return dict(data.to(self.model.device, self.model.dtype))


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(values, mask), each [rows, longest]."""
    import torch

    longest = max(map(len, rows))
    values = torch.full((len(rows), longest), pad)
    mask = torch.zeros_like(values)
    for number, row in enumerate(rows):
        values[number, longest - len(row) :] = torch.tensor(row)
        mask[number, longest - len(row) :] = 1
    return values, mask
