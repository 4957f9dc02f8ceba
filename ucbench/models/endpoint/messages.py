"""What goes into a request and what comes out of it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ucbench.models.endpoint.capabilities import Capabilities

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question. `image` is a data URI, as `data_uri` makes it."""

    text: str
    image: str | None = None
    system: str | None = None
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the service counted them; 0 where it did not. `output` includes `thinking`."""

    input: int = 0
    output: int = 0
    thinking: int = 0
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `text` is without the reasoning part, which is `thinking`.

    `truncated` says that it stopped at the token limit. `model` and `fingerprint` are what the service
    says of itself; `tries` counts the requests it took.
    """

    text: str
    thinking: str
    finish_reason: str
    usage: Usage
    model: str | None = None
    fingerprint: str | None = None
    tries: int = 1

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut at the token limit."""
        return self.finish_reason in ("length", "max_tokens")


def data_uri(image: Image.Image) -> str:
    """The picture as a PNG in a data URI: lossless, so that every service is shown the same pixels."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def arguments(request: ChatRequest, able: Capabilities) -> dict[str, Any]:
    """The arguments of `chat_completion`, with what the service does not take left out."""
    system, text = request.system, request.text
    if system and able.no_system_role:
        system, text = None, f"{system}\n\n{text}"
    content: Any = text
    if request.image is not None:
        content = [
            {"type": "image_url", "image_url": {"url": request.image}},
            {"type": "text", "text": text},
        ]
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": content})
    sampled = request.temperature > 0
    found: dict[str, Any] = {
        "messages": messages,
        "temperature": None if able.no_temperature else request.temperature,
        "top_p": request.top_p if sampled and request.top_p < 1 and not able.no_top_p else None,
        "seed": request.seed if sampled and not able.no_seed else None,
    }
    if able.max_completion_tokens:
        found["extra_body"] = {"max_completion_tokens": request.max_tokens}
    else:
        found["max_tokens"] = request.max_tokens
    return found
