"""Chat templates of ours, for checkpoints whose own differ from what they were trained and measured with.

A template changes answers, so its name stands on the entry. The name `own` means the checkpoint's.
"""

from __future__ import annotations

from dataclasses import dataclass

OWN = "own"


@dataclass(frozen=True, slots=True)
class Template:
    """`text` is Jinja over messages whose contents are lists of parts; `model_types` it was written for."""

    text: str
    model_types: tuple[str, ...]


#: The conversation `llava_v1` of LLaVA-1.5, its system prompt included. The conversion to transformers
#: leaves that prompt out. https://github.com/haotian-liu/LLaVA, llava/conversation.py
_LLAVA_V1 = """\
{%- macro written(content) -%}
{%- if content is string -%}{{ content }}{%- else -%}
{%- for part in content -%}{%- if part.type == 'image' -%}<image>
{% else -%}{{ part.text }}{%- endif -%}{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- if messages[0].role == 'system' -%}{{ written(messages[0].content) }} {% else -%}
A chat between a curious human and an artificial intelligence assistant. \
The assistant gives helpful, detailed, and polite answers to the human's questions. {% endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}USER: {{ written(message.content) }} {% endif -%}
{%- if message.role == 'assistant' -%}ASSISTANT: {{ written(message.content) }}{{ eos_token }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}ASSISTANT:{%- endif -%}
"""

TEMPLATES = {"llava_v1": Template(_LLAVA_V1, ("llava",))}
