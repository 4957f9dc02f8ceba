"""The formats of guard models, a file each maker."""

from __future__ import annotations

from ucbench.errors import UnknownNameError
from ucbench.models.guards.base import Guard
from ucbench.models.guards.llama import LLAMA_GUARD_3_VISION, LLAMA_GUARD_4
from ucbench.models.guards.llavaguard import LLAVAGUARD
from ucbench.models.guards.shieldgemma import SHIELDGEMMA_2

__all__ = [
    "ALL", "LLAMA_GUARD_3_VISION", "LLAMA_GUARD_4", "LLAVAGUARD", "NONE", "SHIELDGEMMA_2", "Guard", "choose",
    "find", "of_identity",
]  # fmt: skip

ALL = (LLAMA_GUARD_3_VISION, LLAMA_GUARD_4, SHIELDGEMMA_2, LLAVAGUARD)
#: The word of --guard for asking a guard the benchmark's questions, like any other model.
NONE = "none"


def find(name: str) -> Guard:
    """The guard of that name. Raises `UnknownNameError`."""
    for guard in ALL:
        if guard.name == name:
            return guard
    raise UnknownNameError(
        f"there is no guard {name!r}; use one of {', '.join([NONE, *(guard.name for guard in ALL)])}"
    )


def of_identity(identity: str) -> Guard:
    """The guard that an entry or an answer names. Raises `UnknownNameError`."""
    return find(identity.partition("@")[0])


def choose(name: str | None, model: str, model_type: str, chat_template: object) -> Guard | None:
    """The guard whose format a checkpoint is asked in; None for a model that answers questions.

    `name` is the user's choice. Without one, the list of known models tells, or the checkpoint itself:
    its type, or what its chat template asks. Raises `UnknownNameError` for a guard that does not fit.
    """
    from ucbench.models import known

    row = known.find(model)
    name = name or (row.guard if row else None)
    if name is None:
        template = chat_template if isinstance(chat_template, str) else ""
        return next((guard for guard in ALL if guard.recognises(model_type, template)), None)
    if name == NONE:
        return None
    guard = find(name)
    if model_type not in guard.model_types:
        raise UnknownNameError(
            f"the guard {name} is for {', '.join(guard.model_types)} models, and {model} is a {model_type} "
            f"model; use --guard {NONE} or another guard"
        )
    return guard
