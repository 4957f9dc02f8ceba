"""Was the same asked for before, and may this account ask for more?"""

from __future__ import annotations

from ucbench.hub.gates.base import Finding, Refused
from ucbench.hub.queue import DuplicateError, Queue, Quota, QuotaError
from ucbench.hub.request import Request


def look_for_same(queue: Queue, request: Request) -> Finding:
    """No request for the same model, commit, dtype, track and version of the benchmark stands in the way."""
    try:
        queue.check(request)
    except DuplicateError as error:
        earlier = error.earlier
        told = f"the same was submitted as request {earlier.id}, which is {earlier.state}"
        place = queue.place(earlier.id)
        if place is not None:
            told += f", number {place} in the queue"
        if earlier.run_id is not None:
            told += f", as run {earlier.run_id}"
        raise Refused(
            told,
            "look there for its result; push something new or name another dtype or track to submit again",
        ) from None
    return "nobody asked for the same before"


def look_at_quota(queue: Queue, submitter: str, quota: Quota | None) -> Finding:
    """The account has not used up what it may submit."""
    if quota is None:
        return "no limit"
    try:
        queue.check_quota(submitter, quota)
    except QuotaError as error:
        found, _, advice = str(error).partition("; ")
        raise Refused(found, advice) from None
    return f"at most {quota.unfinished} unfinished requests and {quota.per_day} a day"
