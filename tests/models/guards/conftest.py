"""Tiny checkpoints of every architecture that guards have, with chat templates in the shape of theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

#: In the shape of Llama Guard's own: the picture first, then the task, the conversation between marks.
LLAMA_GUARD = (
    "{{ bos_token }}user\n{% set ns = namespace(image=false) %}{% for m in messages %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}{% set ns.image = true %}{% endif %}"
    "{% endfor %}{% endfor %}{% if ns.image %}<|image|> {% endif %}"
    "Task: Check if there is unsafe content.\n<BEGIN UNSAFE CONTENT CATEGORIES>\nS1: Violent Crimes.\n"
    "<END UNSAFE CONTENT CATEGORIES>\n<BEGIN CONVERSATION>\n{% for m in messages %}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}User: {{ part['text'] | trim }}\n\n"
    "{% endif %}{% endfor %}{% endfor %}<END CONVERSATION>\nassistant\n"
)
SHIELDGEMMA = (
    "{{ bos_token }}user\n{% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}"
    "<start_of_image>{% else %}Does it violate this policy: {{ part['text'] }}{% endif %}{% endfor %}\n"
    "model\n"
)
TEMPLATES = {"mllama": LLAMA_GUARD, "shieldgemma2": SHIELDGEMMA}


@pytest.fixture(scope="session")
def checkpoint(checkpoint: Callable[..., Path]) -> Callable[[str], Path]:
    """`checkpoint("mllama")`: the folder of a tiny guard."""
    return lambda name: checkpoint(name, TEMPLATES.get(name))
