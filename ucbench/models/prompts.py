"""From a question to the model's own prompt."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ucbench.errors import ModelError
from ucbench.models.prefix import Tokens, shared_length

#: Prompts with their image tokens are long: this many are kept.
_EXPANDED = 4096


class Prompts:
    """Prompts through the chat template, with exactly one image placeholder in each.

    In `tokens` the placeholder stays one token: what it stands for is known with the image, and
    `expanded` puts it in. Raises `ModelError` for a checkpoint without a usable chat template.
    """

    #: Whether the template is told that the answer comes next; some always write up to there.
    add_generation_prompt = True

    def __init__(self, processor: Any, config: Any, *, name: str, system_prompt: str | None) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._name = name
        self._system_prompt = system_prompt
        self._tokens: dict[str, Tokens] = {}
        self._expanded = lru_cache(_EXPANDED)(self._expand)
        self.image_token_id: int = _image_token_id(processor, config, name)
        self.image_token: str = self._tokenizer.convert_ids_to_tokens(self.image_token_id)
        self.add_special_tokens = True
        self._prepare()

    def _prepare(self) -> None:
        if not getattr(self._processor, "chat_template", None):
            raise ModelError(
                f"{self._name} has no chat template; put the model's own chat_template.jinja into the "
                "checkpoint"
            )
        # Templates that write BOS themselves must not get a second one from the tokenizer.
        bos = self._tokenizer.bos_token
        probe = self.render("What is shown?")
        self.add_special_tokens = not (bos and probe.startswith(bos))
        if self._system_prompt and self._system_prompt not in probe:
            raise ModelError(
                f"the chat template of {self._name} has no place for a system prompt; leave it out"
            )

    @property
    def image_comes_first(self) -> bool:
        """Whether the image stands before the question, so that questions can share its prefix."""
        first, second = self.tokens("What is shown?"), self.tokens("Is it safe?")
        return self.image_token_id in first[: shared_length([first, second])]

    def render(self, question: str) -> str:
        """The prompt as text, up to where the answer begins: what the processor takes."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if self._system_prompt:
            system = [{"type": "text", "text": self._system_prompt}]
            messages.insert(0, {"role": "system", "content": system})
        try:
            text = self._processor.apply_chat_template(
                messages, add_generation_prompt=self.add_generation_prompt, tokenize=False
            )
        except Exception as error:  # A template is a program of the checkpoint's; it may raise anything.
            raise ModelError(f"the chat template of {self._name} fails: {_sentence(error)}") from error
        return str(text)

    def tokens(self, question: str) -> Tokens:
        """The prompt's token ids, the image placeholder as one token. Kept, as questions repeat."""
        known = self._tokens.get(question)
        if known is None:
            known = self._tokenise(question)
            if (count := known.count(self.image_token_id)) != 1:
                raise ModelError(
                    f"the prompt of {self._name} holds {count} image placeholders instead of one; "
                    f"check its chat template, and that the question does not contain {self.image_token}"
                )
            self._tokens[question] = known
        return known

    def expanded(self, question: str, replacement: str) -> Tokens:
        """The token ids of the prompt with `replacement`, a text, where the placeholder was.

        Tokenised as a whole: at its ends a replacement may join the text around it.
        """
        return self._expanded(question, replacement)

    def _expand(self, question: str, replacement: str) -> Tokens:
        text = self.render(question).replace(self.image_token, replacement)
        return tuple(self._tokenizer(text, add_special_tokens=self.add_special_tokens)["input_ids"])

    def _tokenise(self, question: str) -> Tokens:
        encoded = self._tokenizer(self.render(question), add_special_tokens=self.add_special_tokens)
        return tuple(encoded["input_ids"])


def _image_token_id(processor: Any, config: Any, name: str) -> int:
    for owner in (processor, config):
        for attribute in ("image_token_id", "image_token_index"):
            value = getattr(owner, attribute, None)
            if isinstance(value, int):
                return value
    raise ModelError(f"{name} names no image token; its config.json needs image_token_index")


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
