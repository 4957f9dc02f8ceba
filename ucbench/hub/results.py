"""The published results of a store: adding a run, and the board made anew, in one commit.

`store.json` names the store's workers, the accounts whose runs count as measured. `takedown.json` lists what
must no longer be shown (`ucbench.withheld`). What else lies there is written by us: the runs, the board and
its tables, and a card that says how to read them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ucbench import board as boards
from ucbench import runs, withheld
from ucbench.errors import StoreError, UcbenchError
from ucbench.files import write_text
from ucbench.hub.cards import dataset as cards
from ucbench.hub.dataset import Commit, DatasetStore
from ucbench.hub.mirror import CARD, TAKEDOWN, WORKERS, Progress, is_result, mirror_of
from ucbench.hub.publishable import check_publishable
from ucbench.hub.redact import readable
from ucbench.hub.store import HUB, Changes, ForbiddenError, MissingError, Store, change, open_store
from ucbench.record import Frozen, Provenance, RunRecord
from ucbench.runs import Run
from ucbench.verify import check_run

TASKS = "eval.yaml"
#: Where the manifest names runs in the store that are not on the board.
_LEFT_OUT = "left_out"
#: A manifest that others have changed so often in a row is not looked behind.
_CHANGES = 100
#: How the Hub ends the title of a pull request's commit when it is merged.
_MERGED = re.compile(r"\(#\d+\)\s*$")
Prepare = Callable[[str], Changes]

#: Under what circumstances a run was made; another run with the same answers differs in these.
_CIRCUMSTANCES = (
    "started_at", "seconds", "packages", "hardware", "engine", "usage", "code_version", "code_revision",
    "provenance", "source",
)  # fmt: skip


class AlreadyThereError(StoreError):
    """Another run with the same id has been published; nothing was changed."""


class Settings(Frozen):
    """`store.json`."""

    workers: tuple[str, ...] = Field((), description="Accounts whose runs count as measured.")
    maintainers: tuple[str, ...] = Field((), description="Accounts that may cancel and retry all requests.")


def settings(store: Store, head: str | None = None) -> Settings:
    """The settings of a results store. Without the file a local folder trusts its user, the Hub nobody.

    Raises `StoreError`.
    """
    try:
        content = store.read(WORKERS, head=head)
    except MissingError:
        content = None
    return _settings(store, content)


def _settings(store: Store, content: bytes | None) -> Settings:
    if content is None:
        return Settings(workers=() if store.address.startswith(HUB) else ("local",))
    try:
        return Settings.model_validate_json(content)
    except ValidationError as error:
        raise StoreError(
            f'{WORKERS} of {store.address} is damaged; write {{"workers": ["ACCOUNT", ...]}}'
        ) from error


def provenance_of(store: Store, account: str, record: RunRecord, head: str | None = None) -> Provenance:
    """What a run counts as when that account publishes it, whatever its record says.

    Raises `ForbiddenError` for figures reported by others, which only the store's people may add.
    """
    people = settings(store, head)
    if record.provenance == "reported" and not _is_ours(store, account, people):
        raise ForbiddenError(
            f"figures reported by others have no answers that could be checked, so only those named in "
            f"{WORKERS} of {store.address} add them, and {account} is not"
        )
    if record.provenance in ("imported", "reported"):
        return record.provenance
    return "measured" if account in people.workers else "self-reported"


def publish_run(
    results: Store,
    run: Run,
    *,
    provenance: Provenance,
    source: str | None = None,
    ids_only: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Prepare:
    """What to commit so that a run is published: a `prepare` for `store.change` and `queue.done`.

    The record gets `provenance` and, where given, `source`. `ids_only` withholds all texts of questions and
    answers. No changes come back when the same run is there already; a measured run takes the place of a
    self-reported one with the same id. `prepare` raises `AlreadyThereError` when another run of that id is
    there, `StoreError` for a run that cannot be published or a damaged store.
    """
    record = check_publishable(run)
    changes: dict[str, Any] = {"provenance": provenance} | ({"source": source} if source else {})
    record = record.model_copy(update=changes)

    def prepare(head: str) -> Changes:
        with _viewed(results, head, progress) as view:
            before, place = _paths(view), _place(results, head, view)
            there = Run(view / record.entry.slug / record.run_id)
            # What a stranger has put where a worker's run belongs does not stand in its way.
            squatter = record.provenance == "measured" and there.folder in place.strange
            if there.exists() and not squatter and not _replaces(record, there.record(), results.address):
                return {}
            for path in _files(there.folder):
                path.unlink()
            _copy(run, there, record)
            if ids_only:
                withheld.withhold(there, lambda _row: True)
            return _rebuilt(place, there, before)

    return prepare


def with_tasks(results: Store, prepare: Prepare) -> Prepare:
    """The same commit with `eval.yaml`, by which the Hub lists a dataset as a benchmark."""

    def more(head: str) -> Changes:
        content = cards.tasks().encode()
        try:
            known = results.read(TASKS, head=head) == content
        except MissingError:
            known = False
        return {**prepare(head), **({} if known else {TASKS: content})}

    return more


def rebuild(results: Store, *, progress: Progress = lambda _done, _total: None) -> Prepare:
    """What to commit so that the board is that of the runs which are there now; as `publish_run` else."""

    def prepare(head: str) -> Changes:
        with _viewed(results, head, progress) as view:
            return _rebuilt(_place(results, head, view), None, _paths(view))

    return prepare


def published(results: Store, run_id: str, head: str | None = None) -> RunRecord | None:
    """The record of a published run, None when there is none of that id. Raises `StoreError`."""
    for path in results.paths(head=head):
        if is_result(path) and path.endswith(f"/{run_id}/{runs.RECORD}"):
            try:
                return RunRecord.model_validate_json(results.read(path, head=head))
            except ValidationError as error:
                raise StoreError(
                    f"{path} of {results.address} does not fit the schema of a record"
                ) from error
    return None


def build_there(address: str, progress: Progress) -> tuple[int, dict[str, str]]:
    """Make the board of a store anew where it is, in one commit.

    Returns the number of files that changed, and the folders of runs that were left out, with the reason.

    Raises `ForbiddenError` on the Hub for an account that is none of the store's people.
    """
    store = open_store(address)
    if not _is_ours(store, (account := store.whoami()), settings(store)):
        raise ForbiddenError(
            f"{account} is neither a worker nor a maintainer in {WORKERS} of {address}, so nobody could rely "
            "on the board; let its owner add the account there"
        )
    prepare, counted = rebuild(store, progress=progress), [0]

    def counting(head: str) -> Changes:
        changes = prepare(head)
        counted[0] = len(changes)
        return changes

    head = change(store, counting, message="The board, built anew")
    told: dict[str, Any] = _manifest(store.read(boards.MANIFEST, head=head)).get(_LEFT_OUT, {})
    return counted[0], {name: str(about["why"]) for name, about in told.items()}


@contextmanager
def folders(
    addresses: Sequence[str],
    progress: Progress = lambda _done, _total: None,
    *,
    tables_only: bool = False,
) -> Iterator[list[Path]]:
    """Stores as folders to read: those on the Hub as of now, only while the block lasts.

    `tables_only` fetches the board without the runs behind it. Raises as the stores do.
    """
    with ExitStack() as stack:
        found: dict[str, Path] = {}  # a store that is named twice is read once
        for address in addresses:
            if not address.startswith(HUB):
                found[address] = Path(address)
            if address in found:
                continue
            store = open_store(address)
            head = store.head()
            if not tables_only:
                found[address] = stack.enter_context(_viewed(store, head, progress))
                continue
            if boards.MANIFEST not in store.paths(boards.MANIFEST, head=head):
                raise StoreError(f"there is no board in {address} yet; publish a run to it first")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for name in _TABLES:
                with suppress(MissingError):
                    (folder / name).write_bytes(store.read(name, head=head))
            found[address] = folder
        yield [found[address] for address in addresses]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a board is made anew: the store's files at `head`, in a folder to work in.

    `told` is the manifest that is relied on, `strange` the folders of runs that it does not vouch for.
    """

    store: Store
    view: Path
    people: Settings
    told: dict[str, Any]
    strange: frozenset[Path]


def _place(store: Store, head: str, view: Path) -> _Place:
    people = _settings(store, _content(view / WORKERS))
    told = _relied_on(store, head, view, people)
    return _Place(store, view, people, told, frozenset(_strange(store.address, view, told, people)))


@contextmanager
def _viewed(store: Store, head: str, progress: Progress) -> Iterator[Path]:
    """The store as a folder (`Mirror.at`); errors name the store and not that folder."""
    with mirror_of(store).at(head, progress) as view:
        try:
            yield view
        except StoreError as error:
            if type(error) is not StoreError or str(view) not in str(error):
                raise
            raise StoreError(str(error).replace(str(view), store.address)) from error


def _check_alone(view: Path) -> None:
    """Refuse a store where two folders claim one run."""
    seen: dict[str, Path] = {}
    for run in runs.find(view):
        other = seen.setdefault(run.run_id, run.folder)
        if other != run.folder:
            names = " and ".join(sorted(folder.parent.name for folder in (other, run.folder)))
            raise StoreError(
                f"the results store holds run {run.run_id} twice, below {names}; remove the wrong one"
            )


def _replaces(new: RunRecord, old: RunRecord, address: str) -> bool:
    """Whether to put `new` in the place of `old`; False when it says the same. Raises `AlreadyThereError`."""
    better = (old.provenance, new.provenance) == ("self-reported", "measured")
    if better:
        return True
    left, right = (json.loads(each.model_dump_json(exclude=set(_CIRCUMSTANCES))) for each in (old, new))
    if left == right:
        return False
    differs = min(key for key in left if left[key] != right[key])
    raise AlreadyThereError(
        f"another run {new.run_id} of {new.entry.model} is in {address} already ({old.provenance}, its "
        f"{differs} differs); nothing was changed"
    )


def _copy(run: Run, target: Run, record: RunRecord) -> None:
    target.folder.mkdir(parents=True, exist_ok=True)
    for path in _files(run.folder):
        place = target.folder / path.relative_to(run.folder)
        if path.name != runs.RECORD:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    target.write_record(record)


def _files(folder: Path) -> list[Path]:
    """The files of a run that are published, and no others."""
    found = [folder / runs.RECORD, folder / runs.ANSWERS, *(folder / runs.JUDGEMENTS).glob("*.parquet")]
    return sorted(path for path in found if path.is_file())


def _paths(view: Path) -> set[str]:
    return {path.relative_to(view).as_posix() for path in view.rglob("*") if path.is_file()}


def _rebuilt(place: _Place, came: Run | None, before: set[str]) -> Changes:
    """All files that the new board makes different, the run that came in among them."""
    view, told = place.view, place.told
    ours = _is_ours(place.store, place.store.whoami(), place.people)
    strangers = [run for run in runs.find(view) if run.folder in place.strange and run != came]
    left_out = _leave_out(place, strangers, came)
    _check_alone(view)
    old = {path: (view / path).read_bytes() for path in (*_TABLES, CARD) if (view / path).is_file()}
    touched = {came.folder} if came else set()
    for run in strangers:
        if run.exists() and (record := run.record()).provenance == "measured":
            run.write_record(record.model_copy(update={"provenance": "self-reported"}))
            touched.add(run.folder)
    takedown, list_of = withheld.read(view / TAKEDOWN), view / TAKEDOWN
    stamp = boards.digest(list_of) if list_of.is_file() else None
    for run in runs.find(view):
        # Runs that are there were gone through when this list was new, by one of ours: what others change in
        # them is no longer what a worker published.
        due = takedown.items and (run == came or (ours and told.get("takedown") != stamp))
        if due and _has_answers(run) and withheld.withhold(run, _covered(takedown, run)):
            touched.add(run.folder)
    cache = mirror_of(place.store).cache
    stamp = stamp if ours else told.get("takedown")
    also: dict[str, Any] = {"takedown": stamp} if stamp else {}
    board = boards.build([view], view, cache, also=also | ({_LEFT_OUT: left_out} if left_out else {}))
    card = cards.render(place.store.address, board, old.get(CARD, b"").decode("utf-8", "replace"))
    write_text(view / CARD, card)

    changes: dict[str, bytes | Path | None] = {}
    for path in (*_TABLES, CARD):
        content = (view / path).read_bytes()
        if old.get(path) != content:
            changes[path] = content
    for folder in sorted(touched):
        name = folder.relative_to(view).as_posix()
        changes |= {path: None for path in before if path.startswith(f"{name}/")}
        changes |= {path.relative_to(view).as_posix(): path.read_bytes() for path in _files(folder)}
    return changes


_TABLES = (boards.BOARD, boards.BREAKDOWNS, boards.RANKS, boards.SCHEMA, boards.MANIFEST)


def _covered(takedown: withheld.Takedown, run: Run) -> Callable[[withheld.Row], bool]:
    return lambda row: takedown.covers(run.run_id, row)


def _has_answers(run: Run) -> bool:
    return (run.folder / runs.ANSWERS).is_file()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _strange(address: str, view: Path, told: dict[str, Any], people: Settings) -> list[Path]:
    """The folders of runs that none of the store's people has published as they are.

    A merged pull request can hold any record. What came by our way stands in a manifest of ours with its
    digests.
    """
    if "local" in people.workers and not address.startswith(HUB):
        return []  # whoever can write into a folder of this machine is its worker
    listed = told.get("runs")
    vouched: dict[str, Any] = listed if isinstance(listed, dict) else {}
    there = list(runs.find(view))
    times = Counter(run.run_id for run in there)
    found = []
    for run in there:
        known = vouched.get(run.run_id)
        same = isinstance(known, dict) and _digests(run).items() <= known.items()
        if not same or (times[run.run_id] > 1 and not _is_in_its_place(run)):
            found.append(run.folder)
    return found


def _is_in_its_place(run: Run) -> bool:
    try:
        return run.record().entry.slug == run.folder.parent.name
    except StoreError:
        return False


def _digests(run: Run) -> dict[str, str]:
    return {path.relative_to(run.folder).as_posix(): boards.digest(path) for path in _files(run.folder)}


def _leave_out(place: _Place, strangers: Iterable[Run], came: Run | None) -> dict[str, dict[str, str]]:
    """Take runs of strangers that do not bear checking out of the view; folder -> reason, for the manifest.

    They stay in the store. One broken or forged run, merged unseen, must not keep all others from the board.
    """
    known = place.told.get(_LEFT_OUT)
    known = known if isinstance(known, dict) else {}
    published = {run.run_id for run in runs.find(place.view) if run.folder not in place.strange}
    published |= {came.run_id} if came else set()
    found: dict[str, dict[str, str]] = {}
    for run in strangers:
        name = run.folder.relative_to(place.view).as_posix()
        files = hashlib.sha256(json.dumps(_digests(run), sort_keys=True).encode()).hexdigest()
        before = known.get(name)
        if isinstance(before, dict) and before.get("files") == files:
            why = str(before.get("why"))  # looked at before
        else:
            why = "there is a run of that id already" if run.run_id in published else _fault(run)
        if why:
            why = readable(why.replace(str(place.view), place.store.address))[:500]
            found[name] = {"why": why, "files": files}
            shutil.rmtree(run.folder)
        else:
            published.add(run.run_id)
    return found


def _fault(run: Run) -> str:
    """Why a stranger's run cannot be shown; nothing where it bears checking."""
    try:
        record = check_publishable(run)
        if run.folder.parent.name != record.entry.slug:
            return f"it lies in the folder of another entry than {record.entry.slug}"
        if record.provenance == "reported":
            return f"figures reported by others are added by those named in {WORKERS} alone"
        return next(iter(check_run(run).problems), "")
    except UcbenchError as error:
        return str(error)
    except Exception as error:  # files of strangers can be wrong in any way
        return f"it cannot be read ({type(error).__name__})"


def unvouched(address: str, progress: Progress = lambda _done, _total: None) -> set[str]:
    """The ids of runs in a store that say they were measured, and that no worker has published as they are.

    Raises as the store does.
    """
    store = open_store(address)
    head = store.head()
    found: set[str] = set()
    with _viewed(store, head, progress) as view:
        for folder in _place(store, head, view).strange:
            with suppress(StoreError):  # of a damaged record, which claims nothing
                if Run(folder).record().provenance == "measured":
                    found.add(folder.name)
    return found


def _is_ours(store: Store, account: str, people: Settings) -> bool:
    """Whether an account is one of a store's people; in a folder everybody is who can write there."""
    if not store.address.startswith(HUB):
        return True
    owner = store.address.removeprefix(HUB).partition("/")[0]
    return account.lower() in {name.lower() for name in (*people.workers, *people.maintainers, owner)}


def _relied_on(store: Store, head: str, view: Path, people: Settings) -> dict[str, Any]:
    """The manifest as one of the store's people last wrote it.

    On the Hub the author of a pull request could bring a manifest along that vouches for the rest of it. Who
    made a commit, and that it is a pull request's, is written by the Hub.
    """
    if not isinstance(store, DatasetStore):
        return _manifest(_content(view / boards.MANIFEST))

    def is_ours(commit: Commit) -> bool:
        named = bool(commit.authors) and all(_is_ours(store, each, people) for each in commit.authors)
        return named and not _MERGED.search(commit.title)

    found = store.last_change(boards.MANIFEST, head=head)
    if found is None:  # never there, or others have removed it
        for commit in islice(store.commits(head=head), _CHANGES):
            if is_ours(commit) and (found := store.last_change(boards.MANIFEST, head=commit.id)):
                break
    for _ in range(_CHANGES):
        if found is None:
            return {}
        if is_ours(found):
            return _manifest(store.read(boards.MANIFEST, head=found.id))
        found = store.last_change(boards.MANIFEST, head=found.before) if found.before else None
    raise StoreError(
        f"{boards.MANIFEST} of {store.address} was changed {_CHANGES} times in a row by accounts that are "
        f"not in its {WORKERS}; let one that is put it back as it was"
    )


def _manifest(content: bytes | None) -> dict[str, Any]:
    try:
        told = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def title(record: RunRecord) -> str:
    """One line for the commit: the name is somebody else's text, so only its plain signs are kept."""
    name = re.sub(r"[^A-Za-z0-9._/+:@-]+", "-", record.entry.model)[:80]
    return f"Run {record.run_id}: {name} on {record.track.id}"
