"""Publishing a run to a store of results, and an aligned model to a repository of its own.

What is going to be published is an `Offer`, which can be looked at before anything is sent. One commit makes
all of it public or none; the same offer made again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ucbench.align.report_record import AlignReport
from ucbench.errors import AccessError, UcbenchError
from ucbench.hub import models, results
from ucbench.hub.cards.model import OURS, UNKNOWN, is_hub_id
from ucbench.hub.mirror import Progress
from ucbench.hub.publishable import check_publishable
from ucbench.hub.repository import Landed, Repository
from ucbench.hub.store import HUB, Changes, ForbiddenError, Store, change
from ucbench.runs import Run
from ucbench.tracks import registry as tracks
from ucbench.verify import check_run

#: What only a whole model has, and what only an adapter has.
_WHOLE = ("config.json", "model.safetensors", "model.safetensors.index.json")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Offer:
    """What is going to be published where; `notes` are sentences for whoever publishes it."""

    where: str
    title: str
    look: Callable[[Progress], Changes]
    send: Callable[[Progress], Landed]
    notes: tuple[str, ...] = ()


def sizes(changes: Changes) -> Mapping[str, int | None]:
    """Bytes by path; None for a file that is removed."""
    return {
        path: None
        if content is None
        else content.stat().st_size
        if isinstance(content, Path)
        else len(content)
        for path, content in sorted(changes.items())
    }


def offer_run(
    run: Run,
    store: Store,
    *,
    ids_only: bool = False,
    pull_request: bool = False,
    beta: bool = False,
) -> Offer:
    """A run for a store of results: its files, and the board with it, in one commit.

    Who publishes decides what it counts as. Without write access it becomes a pull request with the run's
    files alone, whose board is made anew once it is merged. `beta` adds `eval.yaml`. Raises `StoreError` for
    a run that cannot be published, or whose scores do not follow from its answers; `AccessError` when nobody
    is logged in.
    """
    record = check_publishable(run)
    if problems := check_run(run).problems:
        raise UcbenchError(f"{run.folder} does not bear checking, so it is not published: {problems[0]}")
    account = store.whoami()
    _check_there(store, account)
    provenance = results.provenance_of(store, account, record)
    if pull_request and not store.address.startswith(HUB):
        raise UcbenchError(f"--pr is for stores on the Hub; {store.address} is a folder, leave it out")
    if pull_request and provenance == "measured":
        provenance = "self-reported"
    source = record.source or (f"published by {account}" if provenance == "self-reported" else None)
    title = results.title(record)
    folder = f"{record.entry.slug}/{record.run_id}/"

    def of_run(changes: Changes) -> Changes:
        return {path: content for path, content in changes.items() if path.startswith(folder)}

    def prepared(progress: Progress) -> results.Prepare:
        prepare = results.publish_run(
            store, run, provenance=provenance, source=source, ids_only=ids_only, progress=progress
        )
        return results.with_tasks(store, prepare) if beta else prepare

    def look(progress: Progress) -> Changes:
        changes = prepared(progress)(store.head())
        return of_run(changes) if pull_request else changes

    def propose(prepare: results.Prepare) -> Landed:
        files = of_run(prepare(store.head()))
        if not files:
            return Landed(_page(store.address), 0)
        text = f"Run `{record.run_id}`, {provenance}. The board is made anew once this is merged."
        return Repository("dataset", store.address.removeprefix(HUB)).propose(files, title, text)

    def send(progress: Progress) -> Landed:
        prepare = prepared(progress)
        if pull_request:
            return propose(prepare)
        sent: dict[str, int] = {}

        def counted(head: str) -> Changes:
            changes = prepare(head)
            sent["files"] = len(changes)
            return changes

        try:
            change(store, counted, message=title)
        except ForbiddenError:
            if not store.address.startswith(HUB):
                raise
            return propose(prepare)
        return Landed(_page(store.address), sent["files"])

    return Offer(store.address, title, look, send, _run_notes(run, provenance, account, store, ids_only))


def _check_there(store: Store, account: str) -> None:
    """Say what to do where there is no such dataset yet. Raises `AccessError`."""
    if not store.address.startswith(HUB):
        return
    name = store.address.removeprefix(HUB)
    if Repository("dataset", name).private() is None:
        raise AccessError(
            f"there is no {store.address} that {account} can see; check the name, or make the dataset with "
            f"`hf repos create {name} --repo-type dataset`, then run this again"
        )


def _run_notes(run: Run, provenance: str, account: str, store: Store, ids_only: bool) -> tuple[str, ...]:
    record = run.record()
    notes = []
    if provenance == "self-reported":
        notes.append(
            f"it counts as self-reported, since {account} is none of the workers in store.json of "
            f"{store.address}"
        )
    elif provenance != "measured":
        notes.append(f"it counts as {provenance}")
    if record.status != "complete":
        notes.append(f"it is a run of status {record.status}, which is shown without a rank")
    if record.provenance != "reported":
        n = f"{record.counts.questions:,}"
        if ids_only:
            notes.append(f"of {n} questions ids, verdicts and scores are published, no texts")
        else:
            own = tracks.row(record.track.id).needs_data
            whose = "texts of that dataset's questions among them; " if own else ""
            notes.append(
                f"{n} questions are published with the texts of questions and answers ({whose}"
                "--ids-only leaves all texts out); pictures never are"
            )
    return tuple(notes)


def offer_model(
    folder: Path,
    repo: str,
    *,
    merged: bool = False,
    private: bool = False,
    pull_request: bool = False,
    base: str | None = None,
    report: AlignReport | None = None,
    store: str | None = None,
    beta: bool = False,
) -> Offer:
    """The outcome of `ucbench align` for the model repository `repo`: adapter or whole model, and its card.

    `report` gives the card its scores; `base` names a local base as others find it; `store` is the address
    of the results that `beta` refers to. Raises `UcbenchError` and its kinds: see `models.prepared`.
    """
    if not is_hub_id(repo):
        raise UcbenchError(f"--to takes OWNER/NAME, not {repo!r}")
    model = models.prepared(folder, merged=merged, base=base, report=report)
    if not model.merged and repo.lower() == model.record.base.model.lower():
        raise UcbenchError(f"{repo} is the base model; give the adapter a repository of its own with --to")
    files = models.files(model, repo, results=store, beta=beta)
    hub = Repository("model", repo)
    what = "model" if model.merged else "adapter"
    title = f"{what.capitalize()} aligned by {model.record.method.upper()} with ucbench"

    def look(_progress: Progress) -> Changes:
        there = hub.private()
        return files if there is None else hub.pending(files)

    def send(_progress: Progress) -> Landed:
        hub.account()
        is_private = hub.private()
        if is_private is None and pull_request:
            raise UcbenchError(f"there is no {repo} to open a pull request in; leave out --pr to make it")
        if private and is_private is False:
            raise UcbenchError(f"{repo} is there already and public; make it private on its page first")
        if is_private is None:
            hub.create(private=private)
        else:
            _check_target(hub, model.merged, pull_request)
        if pull_request:
            return hub.propose(files, title, "Its card has the numbers before and after.")
        return hub.publish(files, title)

    notes = []
    if model.outcome is None:
        notes.append(
            "the card has numbers on held-back pictures only; `ucbench align-report` measures the test "
            "split, and --report names its outcome"
        )
    if model.licence == UNKNOWN:
        notes.append(f"the licence of the base {model.record.base.model} is unknown; the card says so")
    return Offer(hub.url, title, look, send, tuple(notes))


def _check_target(hub: Repository, merged: bool, pull_request: bool) -> None:
    """Refuse to overwrite what is not ours, or to mix an adapter with a whole model."""
    if other := hub.has(*(_ADAPTER if merged else _WHOLE)):
        held, wanted = ("an adapter", "a whole model") if merged else ("a whole model", "an adapter")
        raise UcbenchError(
            f"{hub.id} holds {held} ({other[0]}), and this is {wanted}; give it a repository of its own "
            "with --to"
        )
    card = hub.read(models.CARD)
    if card is not None and OURS.encode() not in card and card.strip() and not pull_request:
        raise UcbenchError(
            f"the card of {hub.id} was written by somebody else and is not overwritten; open a pull request "
            "with --pr, or remove that README.md first"
        )


def _page(address: str) -> str:
    from huggingface_hub import constants

    if not address.startswith(HUB):
        return address
    return f"{constants.ENDPOINT.rstrip('/')}/datasets/{address.removeprefix(HUB)}"
