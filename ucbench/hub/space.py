"""A Space of the Hub that serves the site: its files, the datasets behind it, its variables.

Pushing is the same command the first time and every time after: what is there already is left as it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ucbench.errors import StoreError, UcbenchError
from ucbench.hub.cards.model import is_hub_id
from ucbench.hub.mirror import WORKERS
from ucbench.hub.repository import Repository
from ucbench.hub.store import HUB, Changes

#: What the site needs to run, as paths of the repository; the image is built from nothing else.
SHIPPED = (
    "Dockerfile", ".dockerignore", ".streamlit", "app.py", "app_pages", "ucbench", "results",
    "pyproject.toml", "setup.py", "MANIFEST.in", "requirements.txt", "LICENSE", "CHANGELOG.md",
    "docs/site.png",
)  # fmt: skip
CARD = "README.md"
#: By these a clone is known as one of the project.
_TELLING = ("Dockerfile", "app.py", "ucbench/__init__.py")
#: So many files are named in a sentence.
_NAMED = 5
_LINK = re.compile(r"(?<!!)\[(?P<said>[^\]]+)\]\((?!\w+:|#)(?P<path>[^)\s#]+)[^)]*\)")

#: The Space's settings, as the Hub reads them from the head of its README.
FRONT_MATTER: dict[str, Any] = {
    "title": "ucbench",
    "colorFrom": "blue",
    "colorTo": "yellow",
    "sdk": "docker",
    "app_port": 8501,
    "hf_oauth": True,
    "hf_oauth_scopes": ["inference-api"],
    "license": "apache-2.0",
    "short_description": "Do VLMs recognise unsafe content, seen and said?",
}

#: The secret with which the site writes requests; nothing else of it is secret.
TOKEN = "HF_TOKEN"

_QUEUE_CARD = """---
license: cc0-1.0
pretty_name: ucbench requests
---

# Requests to evaluate a model

The queue of a ucbench board: one JSON file a request under `requests/<yyyy-mm>/`, written by
`ucbench submit`, by the board's site and by its workers. It holds account names of submitters and the ends
of logs, and no answers. [ucbench]({space}) shows it.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A Space and the two datasets behind it, which may be one and the same."""

    space: str
    requests: str
    results: str
    private: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """What the site is told of its stores; public."""
        return {
            "UCBENCH_STORE": f"{HUB}{self.requests}",
            "UCBENCH_RESULTS_STORE": f"{HUB}{self.results}",
        }


def plan(space: str, requests: str | None, results: str | None, *, private: bool = False) -> Plan:
    """The plan for a Space `OWNER/NAME`; the datasets are by default `OWNER/NAME-requests` and `-results`.

    Raises `UcbenchError` for a name that the Hub would not take.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported lazily

    made = Plan(
        space,
        f"{space}-requests" if requests is None else requests,
        f"{space}-results" if results is None else results,
        private,
    )
    for option, name in (("--repo", made.space), ("--requests", made.requests), ("--results", made.results)):
        try:
            validate_repo_id(name)
        except HFValidationError:
            taken = False
        else:
            taken = is_hub_id(name)  # with an owner
        if not taken:
            raise UcbenchError(f"{option} takes OWNER/NAME, not {name!r}")
    return made


@dataclass
class Pushed:
    """What a push did, in order, and what is left to do by hand; empty `done` means nothing changed.

    `notes`: how the clone differs from its last commit, as far as that matters here.
    """

    url: str
    notes: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)


def clone_around(folder: Path) -> Path:
    """The top of the clone of the project that a folder lies in. Raises `StoreError` where there is none."""
    top = Path(_git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
    # Any folder may lie in a clone of something else, even of another site.
    lacking = [name for name in (*_TELLING, CARD) if not (top / name).is_file()]
    if lacking:
        raise StoreError(f"{top} has no {' and no '.join(lacking)}; push from a clone of the project")
    return top


def shipped(top: Path) -> dict[str, Path]:
    """The files of a clone that the Space is made of: those that git tracks, as they lie there now.

    Raises `StoreError` where git cannot tell.
    """
    listed = _git(top, "ls-files", "-z", "--", *SHIPPED).split("\0")
    return {name: top / name for name in sorted(set(listed)) if name and (top / name).is_file()}


def differences(top: Path) -> list[str]:
    """What a push takes that is not in the last commit, and what it leaves out; a sentence each."""
    told = _git(top, "status", "--porcelain", "--no-renames", "-z", "--", *SHIPPED, CARD).split("\0")
    unknown = sorted(each[3:] for each in told if each.startswith("??"))
    changed = sorted(each[3:] for each in told if each and not each.startswith("??"))
    found = []
    if changed:
        found.append(f"pushed as they lie here, which is not as they were committed: {_some(changed)}")
    if unknown:
        found.append(f"left out, because git does not track them (`git add`): {_some(unknown)}")
    return found


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _git(folder: Path, *command: str) -> str:
    """What git says. Raises `StoreError`."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, timeout=60)
    except FileNotFoundError as error:
        raise StoreError(
            "git is not installed here, and a Space is made of the files that git tracks; install it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"git has not answered about {folder} for a minute; try again") from error
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0].removeprefix("fatal: ")
        raise StoreError(
            f"{folder.resolve()} is no clone of the project that git can read, and a Space is made from one "
            f"({why}); `git clone` the project and push from there"
        )
    return done.stdout.decode("utf-8", "surrogateescape")


def card(readme: str, files: Collection[str]) -> bytes:
    """The Space's README: its settings, then the project's own, without links to what is not there."""

    def kept(link: re.Match[str]) -> str:
        path = link["path"].removeprefix("./").rstrip("/")
        there = path in files or any(name.startswith(f"{path}/") for name in files)
        return link[0] if there else link["said"]

    settings = yaml.safe_dump(FRONT_MATTER, sort_keys=False)
    return f"---\n{settings}---\n\n{_LINK.sub(kept, readme)}".encode()


def push(what: Plan, folder: Path, say: Callable[[str], object] = lambda _line: None) -> Pushed:
    """Create or update the Space, its two datasets and its variables, from the clone around `folder`.

    Files of an earlier push that the clone no longer has are removed. Raises `StoreError` outside a clone,
    `AccessError` where nobody is logged in, may not, or has no plan that allows it. Whatever fails, the same
    command goes on where it was.
    """
    top = clone_around(folder)
    files = shipped(top)
    readme = card((top / CARD).read_text(encoding="utf-8"), files.keys())
    space = Repository("space", what.space)
    account = space.account()
    pushed = Pushed(space.url, notes=differences(top))
    for note in pushed.notes:
        say(note)

    def done(line: str) -> None:
        pushed.done.append(line)
        say(line)

    # The Space first: it is what a plan may not allow, and then nothing has been made.
    if space.private() is None:
        space.create(private=what.private)
        done(f"made the Space {space.url}")
    for name in dict.fromkeys((what.requests, what.results)):
        _dataset(name, what, account, done, space.url)
    # Before the files: each change of a variable would start the site anew.
    _variables(space, what, done)
    _files(space, files, readme, done)
    pushed.by_hand = _by_hand(space, what)
    return pushed


def _dataset(name: str, what: Plan, account: str, done: Callable[[str], None], space: str) -> None:
    dataset = Repository("dataset", name)
    if dataset.private() is None:
        dataset.create(private=what.private)
        done(f"made the dataset {dataset.url}")
    first: dict[str, bytes | Path | None] = {}
    # Neither file is ours to change once somebody has written it.
    if name == what.results and not dataset.has(WORKERS):
        first[WORKERS] = (json.dumps({"workers": [account], "maintainers": [account]}) + "\n").encode()
    if name == what.requests and not dataset.has(CARD):
        first[CARD] = _QUEUE_CARD.format(space=space).encode()
    if first and dataset.publish(first, "The board's own files").changed:
        done(f"wrote {' and '.join(sorted(first))} to {dataset.name}")


def _files(space: Repository, files: dict[str, Path], readme: bytes, done: Callable[[str], None]) -> None:
    changes: dict[str, bytes | Path | None] = {**files, CARD: readme}
    left_over = [name for name in space.files() if _ours(name) and name not in changes]
    changed: Changes = changes | dict.fromkeys(left_over)
    with warnings.catch_warnings():
        # The client takes the board's tables for a dataset that lost its way; the site reads them.
        warnings.filterwarnings("ignore", message="It seems that you are about to commit a data file")
        number = space.publish(changed, "The site").changed
    if number:
        done(f"brought {number:,} file{'s' * (number > 1)} up to date")


def _ours(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}/") for each in SHIPPED)


def _variables(space: Repository, what: Plan, done: Callable[[str], None]) -> None:
    known = space.patiently(lambda: space.api.get_space_variables(space.id))
    for key, value in what.variables.items():
        if key not in known or known[key].value != value:

            def tell(key: str = key, value: str = value) -> object:
                return space.api.add_space_variable(space.id, key, value)

            space.patiently(tell)
            done(f"set the variable {key} to {value}")


def _by_hand(space: Repository, what: Plan) -> list[str]:
    left = []
    if TOKEN not in space.patiently(lambda: space.api.get_space_secrets(space.id)):
        may, without = f"write to {HUB}{what.requests}", "visitors can look, not submit"
        if what.results != what.requests and Repository("dataset", what.results).private():
            may += f", read {HUB}{what.results}, which is private,"
            without = "visitors see the results that came with the Space, and cannot submit"
        left.append(
            f"give the Space the secret {TOKEN} at {space.url}/settings: a fine-grained token that may {may} "
            f"and do nothing else (without it {without})"
        )
    address = f"--store {HUB}{what.requests}"
    if what.results != what.requests:
        address += f" --results {HUB}{what.results}"
    left.append(
        f"run a worker where there is a GPU, logged in as one of the accounts in {WORKERS} of "
        f"{HUB}{what.results}: `ucbench worker {address}`"
    )
    return left
