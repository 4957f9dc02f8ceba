"""What the tokens cost, at prices that the user gives; nothing is claimed without them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ucbench.errors import UcbenchError
from ucbench.record import Usage

#: Prices are given for as many tokens.
PER = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Price of a million tokens, in whatever currency the user thinks in; None: not known."""

    input: float | None = None
    output: float | None = None

    def __post_init__(self) -> None:
        """Raises `UcbenchError` for what is no price."""
        for option, price in (("--price-input", self.input), ("--price-output", self.output)):
            if price is not None and not (math.isfinite(price) and price >= 0):
                raise UcbenchError(f"{option} must be a price of a million tokens, not {price}")

    def usage(self, input_tokens: int, output_tokens: int, thinking_tokens: int) -> Usage:
        """Tokens with what they cost; no cost unless both prices are known and tokens were counted."""
        cost = None
        if self.input is not None and self.output is not None and input_tokens + output_tokens:
            cost = round((input_tokens * self.input + output_tokens * self.output) / PER, 6)
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            thinking_tokens=thinking_tokens,
            price_input=self.input,
            price_output=self.output,
            cost=cost,
        )
