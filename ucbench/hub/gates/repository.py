"""Is it there, whose is it, and which commit is meant? Everything else is read at that commit."""

from __future__ import annotations

import re
from dataclasses import replace

from ucbench.hub.gates.base import Finding, Note, Refused, Subject, quoted
from ucbench.hub.gates.name import check_id
from ucbench.hub.gates.reader import Info, NotAllowed, NotThere, is_sha

_HASH = re.compile(r"[0-9a-f]{4,40}")


def look_at_repository(subject: Subject) -> Finding:
    """Does the repository exist, and is it public?"""
    try:
        info = _info(subject)
    except NotThere:
        raise Refused(
            f"the Hub shows no model {subject.name}: there is none, or it is private",
            "check the spelling; make a private model public in its settings",
        ) from None
    except NotAllowed:
        raise Refused(
            f"{subject.name} may not be looked at", "open it to everybody, then submit it again"
        ) from None
    if info.private:
        raise Refused(
            f"{subject.name} is private, and the board evaluates what everybody can check",
            "make it public in its settings, or evaluate it yourself with `ucbench evaluate`",
        )
    if info.disabled:
        raise Refused(f"the Hub has disabled {subject.name}", "submit another model")
    check_id(info.id)
    subject.info, subject.model = info, info.id
    if info.id.lower() != subject.name.lower():
        return Note(f"{subject.name} is called {info.id} now", "submit it by its new name next time")
    return f"{info.id} is public"


def _info(subject: Subject) -> Info:
    """The repository at the wanted revision; without a commit where only the revision is missing."""
    try:
        return subject.reader.info(subject.name, subject.wanted)
    except NotThere as missing:
        if missing.what != "revision" or subject.wanted is None:
            raise
        return replace(subject.reader.info(subject.name, None), sha="")


def look_at_revision(subject: Subject) -> Finding:
    """Which commit is meant, and is it one of the owner's?

    Anybody's pull request to a repository can be read by its commit as if it belonged there: what is on no
    branch would stand on the board under a name that is not its author's.
    """
    assert subject.info is not None
    wanted, sha = subject.wanted, subject.info.sha
    if not is_sha(sha):
        raise Refused(
            f"{subject.model} has no revision {quoted(wanted or 'main')}",
            "give a branch, a tag or a full hash from the page Files, History",
        )
    try:
        if wanted is not None:
            _check_is_owners(subject, wanted, sha)
        subject.files = subject.reader.files(subject.model, sha)
    except (NotThere, NotAllowed):
        raise Refused(
            f"the files of {subject.model} cannot be listed", "open it to everybody, then submit it again"
        ) from None
    subject.sha = sha
    subject.adapter = subject.has("adapter_config.json")
    return f"{wanted or 'main'} is pinned to {sha[:12]}" if wanted != sha else f"pinned to {sha[:12]}"


def _check_is_owners(subject: Subject, wanted: str, sha: str) -> None:
    branches = subject.reader.branches(subject.model)
    if wanted in branches or sha in branches.values():
        return
    if is_sha(wanted) and wanted != sha:
        raise Refused(f"the Hub gives commit {sha[:12]} for {wanted[:12]}", "give the full hash of a commit")
    if _HASH.fullmatch(wanted) and sha in subject.reader.commits(subject.model):
        return
    raise Refused(
        f"{quoted(wanted)} is on no branch of {subject.model}; it may come from a pull request",
        f"merge it, or submit a branch or a tag (or one of main's last {subject.limits.commits:,} commits)",
    )


def look_at_access(subject: Subject) -> Finding:
    """Can a worker without an account read it?"""
    assert subject.info is not None
    gated = subject.info.gated
    if gated is None:
        return "open to everybody"
    how = "its owner decides on each request" if gated == "manual" else "everybody who asks gets in"
    owner = subject.model.partition("/")[0]
    if subject.by is not None and owner.lower() == subject.by.lower():
        advice = (
            "open it (settings, Access requests) until the result is on the board, or evaluate it yourself "
            "with `ucbench evaluate` and publish the run with `ucbench publish`"
        )
    else:
        advice = (
            f"only {owner} can open it; if you have access, evaluate it yourself with `ucbench evaluate` and "
            "publish the run with `ucbench publish`, which marks it self-reported"
        )
    raise Refused(
        f"{subject.model} is gated by {owner} ({how}); workers fetch submitted models without an account and "
        "never with yours",
        advice,
    )
