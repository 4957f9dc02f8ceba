"""Why an evaluation came to nothing, as the queue takes it."""

from __future__ import annotations

from ucbench.errors import UcbenchError
from ucbench.hub import reasons


class JobError(UcbenchError):
    """An attempt that ended badly: a code of `ucbench.hub.reasons`, particulars, and the end of a log.

    The message is a sentence for the submitter. `retryable` says whether another attempt may end otherwise.
    """

    def __init__(
        self, reason: str, detail: str = "", *, log: str = "", retryable: bool | None = None
    ) -> None:
        super().__init__(reasons.sentence(reason, detail))
        self.reason, self.log = reason, log
        self.retryable = reasons.reason(reason).retryable if retryable is None else retryable
