"""Models that others serve, through Hugging Face Inference Providers, for a visitor's own account.

Whoever asks pays: the key is the visitor's. Which one it is, what may be sent and how often is decided here;
the asking itself is `ucbench.models.endpoint`.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from ucbench.errors import UcbenchError
from ucbench.models.endpoint import failures
from ucbench.models.endpoint.client import Service
from ucbench.models.endpoint.retries import Policy
from ucbench.site.trial.models import HUB_ID, SERVED

#: Where the providers are reached, and the variable that names another such place.
ROUTER = "https://router.huggingface.co/v1"
PLACE = "UCBENCH_INFERENCE_URL"
#: Hugging Face chooses the provider.
AUTO = "auto"

#: Seconds that an answer may take, and how many are asked for at once.
SECONDS = 90.0
AT_ONCE = 4
#: A visitor waits: few tries, short pauses.
POLICY = Policy(attempts=2, rate_limited=2, longest_pause=10.0)


@dataclass(frozen=True, slots=True)
class Served:
    """A model by its Hub id, and the provider that serves it (`auto`: whichever Hugging Face picks)."""

    model: str
    via: str = AUTO

    def __post_init__(self) -> None:
        """Raises `UcbenchError` for what is no Hub id and no provider."""
        if not HUB_ID.fullmatch(self.model):
            raise UcbenchError(
                "Write the model's id on the Hugging Face Hub, such as Qwen/Qwen2.5-VL-7B-Instruct."
            )
        if self.via != AUTO and self.via not in names():
            raise UcbenchError(f"No provider is called {self.via[:40]}.")

    @property
    def id(self) -> str:
        """As on the board."""
        return f"{SERVED}:{self.via}:{self.model}"

    @property
    def name(self) -> str:
        """For people."""
        return self.model if self.via == AUTO else f"{self.model} at {self.via}"

    @property
    def who(self) -> str:
        """Who gets what is asked."""
        if self.via == AUTO:
            return "Hugging Face and the provider that it picks"
        return "Hugging Face" if self.via == "hf-inference" else f"Hugging Face and {self.via}"

    @property
    def service(self) -> Service:
        """What is called."""
        name = self.model if self.via == AUTO else f"{self.model}:{self.via}"
        return Service(name, endpoint=router(), timeout=SECONDS, concurrency=AT_ONCE)


@cache
def names() -> tuple[str, ...]:
    """The providers that chat, as huggingface_hub knows them."""
    from huggingface_hub.inference._providers import PROVIDERS

    return tuple(sorted(name for name, tasks in PROVIDERS.items() if "conversational" in tasks))


def router() -> str:
    """Where requests go. Raises `UcbenchError` for an address that keys must not be sent to."""
    place = os.environ.get(PLACE) or ROUTER
    parts = urlsplit(place)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise UcbenchError(f"{PLACE} must be an https address, since visitors' keys are sent there.")
    if place == ROUTER:
        from huggingface_hub.constants import is_offline_mode

        if is_offline_mode():
            raise UcbenchError("This site runs offline (HF_HUB_OFFLINE), so no provider can be asked.")
    return place


_NO_PICTURES = re.compile(
    r"multi-?modal|image|vision|picture|content (?:must be|should be) a (?:valid )?string", re.IGNORECASE
)
_STATUS = re.compile(r"\((\d{3})\b")


def sentence(failure: failures.ChatError, served: Served, *, picture: bool) -> str:
    """One sentence for a visitor about a request without a reply; `picture` says that it had one.

    What a service says of itself is quoted only where nothing else helps, without keys.
    """
    who = "Hugging Face" if served.via in (AUTO, "hf-inference") else served.via
    status = found[1] if (found := _STATUS.search(failure.reason)) else ""
    if isinstance(failure, failures.RefusedError):
        return "The provider's content filter stopped this question."
    if isinstance(failure, failures.ExhaustedError):
        if status == "402" or "quota" in failure.reason:
            return (
                f"Your Hugging Face account has no inference credit left ({status or 402}); add some in its "
                "billing settings."
            )
        return f"{who} asks to wait for long (429); try again later, or another provider."
    if isinstance(failure, failures.DeniedError):
        if status == "403":
            return (
                f"Your account may not ask {served.model} (403); accept its terms on the Hub, or ask another."
            )
        return f"{who} did not accept your sign-in (401); sign out and in again."
    if isinstance(failure, failures.NotFoundError):
        return f"No provider serves {served.name} for chat (404); check its id, or choose another provider."
    if isinstance(failure, failures.RateLimitedError):
        return f"{who} allows no more requests at the moment (429); wait a minute and ask again."
    if isinstance(failure, failures.TimedOutError):
        return f"{served.name} gave no answer within {SECONDS:,.0f} seconds; ask again, it may be starting."
    if isinstance(failure, failures.BadRequestError):
        if picture and _NO_PICTURES.search(failure.reason):
            return f"{served.model} takes no pictures; choose a vision-language model."
        return f"{served.name} did not take the request: {failure.reason}."
    if isinstance(failure, failures.UnreachableError):
        return f"{who} cannot be reached from this site at the moment; try again later."
    return f"{who} failed to answer; try again, or choose another provider."


class Allowance:
    """So many questions to providers within a time, an account each: nobody empties a purse by accident."""

    def __init__(
        self, most: int = 60, seconds: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.seconds = most, seconds
        self._clock = clock
        self._asked: defaultdict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def take(self, who: str, n: int) -> None:
        """Count `n` questions of `who`. Raises `UcbenchError` for too many; then none is counted."""
        with self._lock:
            now = self._clock()
            for name in [
                name for name, times in self._asked.items() if not times or times[-1] <= now - self.seconds
            ]:
                del self._asked[name]
            times = self._asked[who]
            while times and times[0] <= now - self.seconds:
                times.popleft()
            if len(times) + n > self.most:
                free = times[len(times) + n - self.most - 1] if n <= self.most else now
                minutes = max(1, math.ceil((free + self.seconds - now) / 60))
                if not times:
                    del self._asked[who]
                raise UcbenchError(
                    f"{self.most} questions to providers in {self.seconds / 60:,.0f} minutes is the most "
                    f"that this site sends for one account; try again in {minutes} "
                    f"minute{'s' if minutes != 1 else ''}."
                )
            times.extend([now] * n)
