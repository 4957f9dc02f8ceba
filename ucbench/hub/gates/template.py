"""Does the chat template put a question and its picture into a prompt, and does it end?

A template is a program of somebody else's. It runs in a child process that holds no secrets, in the sandbox
that transformers uses, with so much processor time, memory and output and no more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ucbench.hub.gates.base import Finding, Limits, Refused, Subject, amount, quoted
from ucbench.tracks.questions import IMAGE_ALIGNMENT

_CHILD = Path(__file__).with_name("render_child.py")
#: What a prompt may have at most (bytes).
_OUTPUT = 1 << 18
#: The child's start takes its time on a busy machine.
_START = 30.0
_PUT = "put the template the model was trained with into chat_template.jinja and push it"


class RenderError(Exception):
    """The template did not render; the message says why."""


def look(subject: Subject) -> Finding:
    """The gate."""
    from ucbench.models import known
    from ucbench.models.families import FAMILIES
    from ucbench.models.guards import NONE, choose
    from ucbench.models.prompts import Prompts

    model_type = str(subject.json("config.json").get("model_type"))
    family = FAMILIES.get(model_type)
    if ours := known.template(subject.model):
        return f"asked with ours, {ours}"
    prompts = family.prompts if family else Prompts
    if prompts.render is not Prompts.render:
        return f"{model_type} models are asked without one"
    where, template = find(subject)
    row = known.find(subject.model)
    guard = choose(row.guard if row else None, subject.model, model_type, template)
    question = guard.picture[0] if guard else IMAGE_ALIGNMENT[0]
    tokens = _special_tokens(subject)
    try:
        asked = render(template, question, tokens, prompts.add_generation_prompt, subject.limits)
    except RenderError as error:
        raise Refused(f"the chat template in {where} {error}", _PUT) from None
    if not asked[0]:
        raise Refused(f"the chat template in {where} writes nothing", _PUT)
    if question not in asked[0]:
        raise Refused(f"the chat template in {where} leaves out the question", _PUT)
    if asked[0] == asked[1] or any(part in asked[0] for part in ("'type': 'image'", '"type": "image"')):
        raise Refused(f"the chat template in {where} has no place for a picture", _PUT)
    told = f", asked as the guard {guard.name}" if guard and guard.name != NONE else ""
    return f"{where} renders{told}"


def find(subject: Subject) -> tuple[str, str]:
    """(file, template), in the order that transformers looks for one. Raises `Refused`."""
    for path in ("processor_config.json", "chat_template.json"):
        if subject.has(path) and (template := _of(subject.json(path))):
            return path, template
    if subject.has("chat_template.jinja"):
        return "chat_template.jinja", subject.text("chat_template.jinja")
    if template := _of(subject.json("tokenizer_config.json")):
        return "tokenizer_config.json", template
    raise Refused("it has no chat template", _PUT)


def render(
    template: str, question: str, tokens: dict[str, str], add_generation_prompt: bool, limits: Limits
) -> tuple[str, str]:
    """The prompt of a question about a picture, and of the question alone (empty where that fails).

    Raises `RenderError`: it runs too long, needs too much memory, writes too much, or fails.
    """
    text = {"type": "text", "text": question}
    asked = {
        "template": template,
        "conversations": [
            [{"role": "user", "content": [{"type": "image"}, text]}],
            [{"role": "user", "content": [text]}],
        ],
        "variables": {**tokens, "add_generation_prompt": add_generation_prompt},
        "cpu": limits.template_cpu,
        "memory": limits.template_memory,
        "output": _OUTPUT,
    }
    return _render(json.dumps(asked), limits)


@lru_cache(maxsize=16)  # an adapter's base, a second try: most templates come again
def _render(asked: str, limits: Limits) -> tuple[str, str]:
    # A file and not a pipe: its size can be limited.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                [sys.executable, "-E", "-P", "-B", str(_CHILD)],
                input=asked.encode(),
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                env={},
                timeout=limits.template_cpu + _START,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RenderError("does not come to an end") from None
        output.seek(0)
        written = output.read(_OUTPUT)
    if done.returncode == _signal("SIGXCPU") or done.returncode == _signal("SIGKILL"):
        raise RenderError(f"runs longer than {limits.template_cpu} seconds")
    try:
        answer = json.loads(written)
    except ValueError:
        raise RenderError(f"ends its process (status {done.returncode})") from None
    if answer.get("long"):
        raise RenderError(f"writes more than {amount(_OUTPUT)}")
    if answer.get("memory"):
        raise RenderError(f"needs more than {amount(limits.template_memory)} of memory")
    if "error" in answer:
        raise RenderError(f"fails: {quoted(answer['error'], 200)}")
    first, second = answer["texts"]
    return str(first), str(second)


@cache
def _signal(name: str) -> int:
    import signal

    return -int(getattr(signal, name))


def _of(settings: dict[str, Any]) -> str | None:
    """The template in a file of settings: a text, or the one named `default` in a list or table."""
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {str(row.get("name")): row.get("template") for row in found if isinstance(row, dict)}
    if isinstance(found, dict):
        found = found.get("default")
    return found if isinstance(found, str) and found else None


def _special_tokens(subject: Subject) -> dict[str, str]:
    settings = subject.json("special_tokens_map.json") | subject.json("tokenizer_config.json")
    found: dict[str, str] = {}
    for name, value in settings.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[name] = text
    return found
