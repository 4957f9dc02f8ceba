"""Renders a chat template that nobody vouches for. Runs as a script, in a process of its own.

Reads {template, conversations, variables, cpu, memory, output} as JSON and writes {texts}, {error},
{memory: true} or {long: true}. Imports nothing of ucbench or transformers: it starts quickly and has little
within reach. The environment is that of transformers' apply_chat_template (utils/chat_template_utils.py).
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """`{% generation %}` marks what an assistant said; here it writes its body."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Any) -> Any:
        """The statements up to `{% endgeneration %}`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def limit(cpu: int, memory: int, output: int) -> None:
    """So much and no more, for this process and for good."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output, output))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def environment() -> ImmutableSandboxedEnvironment:
    """What transformers renders chat templates with."""

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def main() -> None:
    """Answer what stands on standard input."""
    asked = json.load(sys.stdin)
    limit(asked["cpu"], asked["memory"], asked["output"])
    try:
        template = environment().from_string(asked["template"])
        first, second = asked["conversations"]
        texts = [template.render(messages=first, **asked["variables"])]
        try:
            texts.append(template.render(messages=second, **asked["variables"]))
        except Exception:  # some take nothing but pictures
            texts.append("")
        answer: dict[str, Any] = {"texts": texts}
    except MemoryError:
        answer = {"memory": True}
    except RecursionError:
        answer = {"error": "it calls itself without an end"}
    except Exception as error:  # a template may raise anything
        answer = {"error": str(error)[:500] or type(error).__name__}
    written = json.dumps(answer)
    sys.stdout.write(written if len(written) <= asked["output"] else json.dumps({"long": True}))


if __name__ == "__main__":
    main()
