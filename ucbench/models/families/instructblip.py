"""InstructBLIP: the Q-Former reads the picture with the question in mind, so only the ViT's output is shared.

The prompt is the question itself. Its image tokens stand before BOS. `generate` repeats the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ucbench.errors import ModelError
from ucbench.models.families.base import BATCHED, SHARED_VISION, Family
from ucbench.models.inputs import Inputs, Picture, Row, pad_left
from ucbench.models.prefix import Tokens
from ucbench.models.prompts import Prompts

if TYPE_CHECKING:
    from PIL import Image


class QuestionAlone(Prompts):
    """No chat template: the model was instructed with bare questions."""

    def _prepare(self) -> None:
        if self._system_prompt:
            raise ModelError(f"{self._name} takes bare questions and no system prompt; leave it out")

    def render(self, question: str) -> str:
        """The question."""
        return question

    def _tokenise(self, question: str) -> Tokens:
        return self.image_token_id, *self._tokenizer(question)["input_ids"]

    def _expand(self, question: str, replacement: str) -> Tokens:
        image = self._tokenizer(replacement, add_special_tokens=False)["input_ids"]
        return *image, *self._tokenizer(question)["input_ids"]


class InstructBlipInputs(Inputs):
    """The Q-Former's text is padded on the right, as it counts positions from the left.

    The prompt is padded on the left; the processor would pad both on one side.
    """

    def whole(self, pictures: Sequence[Image.Image], questions: Sequence[str]) -> dict[str, Any]:
        """The inputs of `generate`: pictures, both texts and their masks."""
        import torch

        pixels = [self._pixels(picture) for picture in pictures]
        prompts = [self.prompts.expanded(question, self._image_tokens) for question in questions]
        return {
            "pixel_values": torch.cat(pixels),
            **self._text(questions),
            **self._padded(prompts, self.processor.tokenizer.pad_token_id or 0),
        }

    def picture(self, picture: Image.Image, questions: Sequence[str]) -> Picture:
        """Process a picture once for all its questions."""
        for question in questions:
            self.prompts.tokens(question)
        prompts = {question: self.prompts.expanded(question, self._image_tokens) for question in questions}
        tensors = {"pixel_values": self._pixels(picture)}
        return Picture(tensors, prompts, int(self.model.config.num_query_tokens), {})

    def features(self, picture: Picture) -> Any:
        """The ViT's output, [1, patches + 1, width]."""
        return self.model.vision_model(**picture.tensors, return_dict=True).last_hidden_state

    def rows(self, rows: Sequence[Row], pad_id: int) -> tuple[Any, dict[str, Any]]:
        """The language model, and the embeddings of prompts with what the Q-Former saw."""
        import torch

        model = self.model
        padded = self._padded([row.picture.prompts[row.question.text] for row in rows], pad_id)
        seen = self._look(
            torch.cat([row.features for row in rows]), **self._text([row.question.text for row in rows])
        )
        ids = padded.pop("input_ids")
        embeds = model.get_input_embeddings()(ids)
        places = (ids == model.config.image_token_id)[..., None].to(embeds.device)
        padded["inputs_embeds"] = embeds.masked_scatter(places, seen.to(embeds.device, embeds.dtype))
        return model.language_model, padded

    def _look(self, vision: Any, qformer_input_ids: Any, qformer_attention_mask: Any) -> Any:
        """The Q-Former's reading of pictures for questions, [rows, queries, language model's width].

        The second half of the model's get_image_features.
        """
        import torch

        model = self.model
        queries = model.query_tokens.expand(len(vision), -1, -1)
        all_queries = torch.ones(queries.shape[:-1], dtype=torch.long, device=vision.device)
        output = model.qformer(
            input_ids=qformer_input_ids,
            attention_mask=torch.cat([all_queries, qformer_attention_mask.to(vision.device)], dim=1),
            query_embeds=queries,
            encoder_hidden_states=vision,
            encoder_attention_mask=torch.ones(vision.shape[:-1], dtype=torch.long, device=vision.device),
            return_dict=True,
        )
        return model.language_projection(output.last_hidden_state[:, : queries.shape[1]])

    @property
    def _image_tokens(self) -> str:
        return self.prompts.image_token * int(self.model.config.num_query_tokens)

    def _pixels(self, picture: Image.Image) -> Any:
        return self._to_model(self._process(images=picture, return_tensors="pt"))["pixel_values"]

    def _text(self, questions: Sequence[str]) -> dict[str, Any]:
        encoded = self.processor.qformer_tokenizer(
            list(questions), padding=True, padding_side="right", return_tensors="pt"
        )
        return {
            "qformer_input_ids": encoded["input_ids"].to(self.model.device),
            "qformer_attention_mask": encoded["attention_mask"].to(self.model.device),
        }

    def _padded(self, prompts: Sequence[Tokens], pad_id: int) -> dict[str, Any]:
        ids, mask = pad_left(prompts, pad_id)
        return {"input_ids": ids.to(self.model.device), "attention_mask": mask.to(self.model.device)}


INSTRUCTBLIP = Family(
    name="instructblip",
    model_types=("instructblip",),
    paths=(SHARED_VISION, BATCHED),
    why="the Q-Former sees the question, so that only the ViT's output is the same for all questions",
    prompts=QuestionAlone,
    inputs=InstructBlipInputs,
)
