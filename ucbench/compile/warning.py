"""What everybody must know before pictures of sensitive concepts are searched for or shown."""

from __future__ import annotations

#: Typed where `--i-understand` is not given.
PHRASE = "I understand"

REPORTING = (
    "If a picture may be illegal, such as child sexual abuse material: stop, do not copy, send or keep it, "
    "and report where it lies to the hotline of your country (inhope.org lists them) or to the police. "
    "What you must and may do differs by country; where in doubt, ask somebody who knows your law before you "
    "go on."
)


def before_ranking(source: str) -> str:
    """The warning before a source is ranked by concept."""
    return (
        f"This ranks every picture of {source} by how well it fits each concept of the list, so that the "
        "most sensitive ones come first. Pictures are read where they are; none is copied at this step. "
        f"Work only on a collection that you have the right to work on.\n{REPORTING}"
    )
