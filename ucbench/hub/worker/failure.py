"""Why an evaluation came to nothing, as the queue takes it."""

from __future__ import annotations

import errno

from ucbench.errors import UcbenchError
from ucbench.hub import reasons

#: Errors of the system that no request has a part in: a disk that is full, worn or read-only.
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error says that this machine cannot work at the moment, whatever it is given."""
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return True
    # Libraries that are not written in Python tell it in words.
    return "No space left on device" in str(error)


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
