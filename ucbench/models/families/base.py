"""What a family is: all that the engine has to know about an architecture, as data.

Models of one family are asked alike; a further model of a known family is a row in known.yaml, nothing here.
Models of no family are asked too, one question at a time through their own processor and chat template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ucbench.models.inputs import Inputs
from ucbench.models.prompts import Prompts

#: The ways of asking, told in models/paths.py.
SHARED_PREFIX, SHARED_VISION = "shared_prefix", "shared_vision"
BATCHED, ONE_AT_A_TIME = "batched", "one_at_a_time"


def nothing(processor: Any, config: Any) -> None:
    """Most checkpoints are complete."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a model remembers of a prefix outside its cache.

    `take(model)` after a prefix [1, ...]; `give(model, rows)` before its questions, one for each row.
    """

    take: Callable[[Any], Any]
    give: Callable[[Any, Sequence[Any]], None]


@dataclass(frozen=True, slots=True)
class Family:
    """Architectures that are asked alike.

    name          the word on the command line's lists
    model_types   `model_type` of their config.json
    paths         how the engine may ask them, best first (see models/paths.py); the first that the
                  checkpoint at hand allows is taken, and one at a time always works
    why           where the best path is not shared_prefix: why
    complete      gets (processor, model config) after loading, for what checkpoints leave out
    assemble      names a processor class of ours by the class that the checkpoint names, where the
                  original cannot be used
    limit_pixels  gets (processor, n): no picture takes more than n pixels; None: pictures have one size
    prompts       how a question becomes a prompt
    inputs        how pictures and prompts become tensors
    carried       what to keep of a prefix beside its keys and values
    wrapper       the class of transformers that loads the weights, where AutoModelForImageTextToText cannot;
                  what is asked is its attribute `model`
    aligns        whether `ucbench align` trains it
    """

    name: str
    model_types: tuple[str, ...]
    paths: tuple[str, ...]
    why: str = ""
    complete: Callable[[Any, Any], None] = nothing
    assemble: Callable[[str], type | None] = lambda _: None
    limit_pixels: Callable[[Any, int], None] | None = None
    prompts: type[Prompts] = Prompts
    inputs: type[Inputs] = Inputs
    carried: Carried | None = None
    wrapper: str | None = None
    aligns: bool = False


def edge(pixels: int) -> int:
    """The side of a square of at most that many pixels."""
    return max(1, int(pixels**0.5))
